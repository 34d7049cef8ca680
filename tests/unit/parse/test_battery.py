"""One text for each way in which phones differ; the values are made up, the shapes are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.parse.battery import BatteryStatus, parse_battery

PLAIN = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 2210000
  status: 3
  health: 2
  present: true
  level: 61
  scale: 100
  voltage: 3912
  temperature: 273
  technology: Li-poly
"""


def changed(old: str, new: str) -> str:
    assert old in PLAIN
    return PLAIN.replace(old, new)


def test_a_plain_phone() -> None:
    battery = parse_battery(PLAIN)
    assert battery.level_percent == 61.0
    assert battery.temperature_c == 27.3
    assert battery.voltage_mv == 3912
    assert battery.charge_counter_uah == 2_210_000
    assert battery.status is BatteryStatus.DISCHARGING
    assert battery.powered_by == ("USB",)
    assert battery.charging is True
    assert battery.technology == "Li-poly"
    assert battery.notes == ()
    assert not battery.updates_stopped


@pytest.mark.parametrize("newline", ["\r\n", "\r\r\n"])
def test_old_line_ends(newline: str) -> None:
    assert parse_battery(PLAIN.replace("\n", newline)) == parse_battery(PLAIN)


def test_tabs_instead_of_blanks() -> None:
    assert parse_battery(PLAIN.replace("\n  ", "\n\t")) == parse_battery(PLAIN)


def test_capacity_level_is_not_the_level() -> None:
    text = changed("  level: 61\n", "") + "  Capacity level: 3\n  Charging policy: 1\n"
    assert parse_battery(text).level_percent is None


def test_a_vendors_own_lines_do_not_replace_androids() -> None:
    text = PLAIN + "  charge counter: 1\n  current now: 1531\n  Charge counter: 7\n  level: 3\n"
    battery = parse_battery(text)
    assert battery.charge_counter_uah == 2_210_000
    assert battery.level_percent == 61.0


def test_lines_that_talk_of_a_value_are_not_the_value() -> None:
    words = " The last voltage value sent via the battery changed broadcast: 4001\n"
    assert parse_battery(PLAIN + words).voltage_mv == 3912


@pytest.mark.parametrize(
    ("level", "scale", "percent"),
    [("61", "100", 61.0), ("25", "50", 50.0), ("0", "100", 0.0), ("100", "100", 100.0)],
)
def test_the_level_is_scaled(level: str, scale: str, percent: float) -> None:
    text = changed("level: 61", f"level: {level}").replace("scale: 100", f"scale: {scale}")
    assert parse_battery(text).level_percent == percent


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scale: 100", "scale: 0"),
        ("  scale: 100\n", ""),
        ("  level: 61\n", ""),
        ("level: 61", "level: -1"),
        ("level: 61", "level: 161"),
        ("level: 61", "level: full"),
        ("present: true", "present: false"),
    ],
)
def test_a_level_that_means_nothing_is_none_with_a_note(old: str, new: str) -> None:
    battery = parse_battery(changed(old, new))
    assert battery.level_percent is None
    assert any("level" in note for note in battery.notes)


@pytest.mark.parametrize("tenths", [-95, 0, 273, 520])
def test_temperatures_are_tenths_of_a_degree(tenths: int) -> None:
    text = changed("temperature: 273", f"temperature: {tenths}")
    assert parse_battery(text).temperature_c == tenths / 10


def test_zero_beside_no_voltage_is_no_sensor() -> None:
    text = changed("voltage: 3912", "voltage: 0").replace("temperature: 273", "temperature: 0")
    battery = parse_battery(text)
    assert (battery.temperature_c, battery.voltage_mv) == (None, None)
    assert any("no sensor" in note for note in battery.notes)


def test_a_board_with_units_of_its_own_is_not_guessed() -> None:
    """It prints whole volts; what its 31 degrees or its counter mean, nobody knows."""
    text = changed("voltage: 3912", "voltage: 12").replace("temperature: 273", "temperature: 31")
    battery = parse_battery(text)
    assert battery.voltage_mv is None
    assert battery.temperature_c is None
    assert battery.charge_counter_uah is None
    assert any("12" in note for note in battery.notes)


def test_a_counter_in_mah_is_not_scaled() -> None:
    battery = parse_battery(changed("Charge counter: 2210000", "Charge counter: 3970"))
    assert battery.charge_counter_uah is None
    assert "Charge counter 3970 is not in uAh" in battery.notes


def test_a_counter_of_zero_is_no_counter() -> None:
    assert parse_battery(changed("2210000", "0")).charge_counter_uah is None


def test_values_set_by_hand_are_marked() -> None:
    text = PLAIN.replace(
        "Service state:\n", "Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n"
    )
    battery = parse_battery(text)
    assert battery.updates_stopped
    assert any("by hand" in note for note in battery.notes)


def test_held_at_a_limit_it_is_powered_but_not_charging() -> None:
    battery = parse_battery(changed("status: 3", "status: 4"))
    assert battery.status is BatteryStatus.NOT_CHARGING
    assert battery.charging is True


def test_unplugged_and_discharging() -> None:
    assert parse_battery(changed("USB powered: true", "USB powered: false")).charging is False


@pytest.mark.parametrize("status", ["0", "6", "-3", "charging", ""])
def test_an_unknown_status_is_none(status: str) -> None:
    battery = parse_battery(changed("status: 3", f"status: {status}"))
    assert battery.status is None
    assert any("status" in note for note in battery.notes)


@pytest.mark.parametrize("text", ["", "Can't find service: battery\n", "level: 50\nscale: 100\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_battery(text)


@given(st.text(max_size=300))
def test_whatever_follows_the_banner_is_read_without_a_crash(text: str) -> None:
    battery = parse_battery(f"Current Battery Service state:\n{text}")
    assert battery.level_percent is None or 0.0 <= battery.level_percent <= 100.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["level", "scale", "voltage", "temperature", "status"]),
            st.integers(-(10**20), 10**20),
        ),
        max_size=8,
    )
)
def test_no_number_gets_through_that_cannot_be(lines: list[tuple[str, int]]) -> None:
    body = "".join(f"  {key}: {value}\n" for key, value in lines)
    battery = parse_battery(f"Current Battery Service state:\n{body}")
    assert battery.voltage_mv is None or 2000 <= battery.voltage_mv < 30_000
    assert battery.temperature_c is None or -40.0 <= battery.temperature_c < 120.0
