import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.parse.power_supply import parse_power_supply

UEVENT = """POWER_SUPPLY_NAME=bms
POWER_SUPPLY_STATUS=Charging
POWER_SUPPLY_CAPACITY=57
POWER_SUPPLY_TEMP=301
POWER_SUPPLY_VOLTAGE_NOW=3991200
POWER_SUPPLY_VOLTAGE_MAX=4400
POWER_SUPPLY_CURRENT_NOW=-182411
POWER_SUPPLY_CHARGE_COUNTER=1901000
POWER_SUPPLY_INPUT_CURRENT_NOW=-22
"""


@pytest.mark.parametrize("prefix", ["POWER_SUPPLY_", ""])
def test_values_stay_raw_with_their_sign(prefix: str) -> None:
    supply = parse_power_supply(UEVENT.replace("POWER_SUPPLY_", prefix))
    assert supply.name == "bms"
    assert supply.status == "Charging"
    assert supply.capacity_percent == 57
    assert supply.current_now_raw == -182_411  # charging, and yet negative
    assert supply.voltage_now_raw == 3_991_200
    assert supply.charge_counter_raw == 1_901_000
    assert supply.temperature_raw == 301
    assert supply.notes == ()


def test_an_error_number_is_no_value() -> None:
    supply = parse_power_supply(UEVENT.replace("NOW=-182411", "NOW=-22"))
    assert supply.current_now_raw is None
    assert "CURRENT_NOW=-22 is a kernel error number, not a value" in supply.notes


def test_what_is_missing_is_none_with_a_note() -> None:
    supply = parse_power_supply("POWER_SUPPLY_NAME=battery\n")
    assert supply.current_now_raw is None
    assert "no CURRENT_NOW" in supply.notes


@pytest.mark.parametrize("capacity", ["-1", "101", "full"])
def test_a_capacity_that_cannot_be(capacity: str) -> None:
    supply = parse_power_supply(f"POWER_SUPPLY_NAME=b\nPOWER_SUPPLY_CAPACITY={capacity}\n")
    assert supply.capacity_percent is None


@pytest.mark.parametrize("text", ["", "cat: No such file or directory\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_power_supply(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_power_supply(f"NAME=x\n{text}")
    except ParseError:
        pytest.fail("it was named")
