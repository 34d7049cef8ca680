"""One text for each way in which phones differ; the values are made up, the shapes are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.parse.thermal import Block, ThermalStatus, parse_thermal, parse_zones

PIXEL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
ThermalStatusListeners:
\tcallbacks: 1
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=51.25, mType=3, mName=VIRTUAL-SKIN, mStatus=1}
\tTemperature{mValue=48.0, mType=0, mName=BIG, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=36.5, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
\tTemperature{mValue=33.125, mType=3, mName=skin-back, mStatus=0}
\tTemperature{mValue=-3.5, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=7.1E1, mType=0, mName=BIG, mStatus=0}
\tTemperature{mValue=NaN, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=-99.9, mType=5, mName=pa, mStatus=0}
\tTemperature{mValue=0.0, mType=9, mName=TPU, mStatus=0}
\tTemperature{mValue=3987.0, mType=6, mName=vbat, mStatus=0}
\tTemperature{mValue=-1204.0, mType=7, mName=ibat, mStatus=0}
\tTemperature{mValue=11900.0, mType=-1, mName=ocp_cpu2, mStatus=0}
\tTemperature{mValue=25.0, mType=77, mName=new, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
\tTemperatureThreshold{mType=3, mName=VIRTUAL-SKIN, mHotThrottlingThresholds=[NaN, 39.0, 43.0]}
"""


def test_what_the_hardware_says_now_counts() -> None:
    thermal = parse_thermal(PIXEL)
    assert thermal.status is ThermalStatus.LIGHT
    assert thermal.skin_c == 36.5
    assert thermal.hottest_c("BATTERY") == -3.5
    assert thermal.hottest_c("CPU") == 71.0
    assert thermal.hal_ready is True


def test_every_row_is_read() -> None:
    thermal = parse_thermal(PIXEL)
    assert len(thermal.rows) == 13
    assert [row.block for row in thermal.rows].count(Block.CACHED) == 2
    assert [row.number for row in thermal.now] == [3, 3, 2, 0, 1, 5, 9, 6, 7, -1, 77]


@pytest.mark.parametrize("name", ["GPU", "pa", "TPU", "vbat", "ibat", "ocp_cpu2"])
def test_what_is_no_temperature_is_none(name: str) -> None:
    (row,) = (row for row in parse_thermal(PIXEL).now if row.name == name)
    assert row.celsius is None


def test_raw_values_are_kept() -> None:
    raw = {row.name: row.raw for row in parse_thermal(PIXEL).now}
    assert raw["vbat"] == 3987.0
    assert raw["ibat"] == -1204.0
    assert raw["GPU"] is None


def test_a_new_kind_keeps_its_number() -> None:
    (row,) = (row for row in parse_thermal(PIXEL).now if row.name == "new")
    assert (row.kind, row.celsius) == ("TYPE_77", 25.0)


def test_thresholds_are_no_temperatures() -> None:
    """Text that ends in thresholds once made a cool-down read 3 degrees."""
    assert all(row.celsius != 3.0 for row in parse_thermal(PIXEL).rows)
    assert parse_thermal(PIXEL).skin_c == 36.5


def test_without_hardware_rows_the_remembered_ones_are_used_with_a_note() -> None:
    text = PIXEL.partition("HAL Ready")[0] + "HAL Ready: false\n"
    thermal = parse_thermal(text)
    assert thermal.hal_ready is False
    assert thermal.skin_c == 51.25
    assert any("may be old" in note for note in thermal.notes)


SHIFTED = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
 Temperature{mValue=30.1, mType=4, mName=TYPE_SKIN, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{mValue=29.0, mType=1, mName=TYPE_CPU, mStatus=0}
\tTemperature{mValue=27.5, mType=3, mName=TYPE_BATTERY, mStatus=0}
\tTemperature{mValue=30.3, mType=4, mName=TYPE_SKIN, mStatus=0}
"""


def test_type_numbers_one_too_high_are_noticed_by_their_names() -> None:
    thermal = parse_thermal(SHIFTED)
    assert thermal.skin_c == 30.3
    assert thermal.hottest_c("BATTERY") == 27.5
    assert thermal.hottest_c("CPU") == 29.0
    assert any("one higher" in note for note in thermal.notes)


def test_right_numbers_with_such_names_are_left_alone() -> None:
    text = SHIFTED.replace("mType=1", "mType=0").replace("mType=3", "mType=2")
    assert parse_thermal(text.replace("mType=4", "mType=3")).skin_c == 30.3


def test_an_override_is_marked() -> None:
    thermal = parse_thermal(PIXEL.replace("IsStatusOverride: false", "IsStatusOverride: true"))
    assert thermal.overridden
    assert any("by hand" in note for note in thermal.notes)


@pytest.mark.parametrize("newline", ["\r\n", "\r\r\n", "  \n"])
def test_line_ends(newline: str) -> None:
    assert parse_thermal(PIXEL.replace("\n", newline)).rows == parse_thermal(PIXEL).rows


def test_a_new_status_is_none_with_a_note() -> None:
    thermal = parse_thermal(PIXEL.replace("Thermal Status: 1", "Thermal Status: 9"))
    assert thermal.status is None
    assert "unknown thermal status 9" in thermal.notes


@pytest.mark.parametrize("text", ["", "Can't find service: thermalservice\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_thermal(text)


@given(st.floats(-1e6, 1e6), st.integers(-5, 40))
def test_no_temperature_gets_through_that_cannot_be(value: float, number: int) -> None:
    row = f"Temperature{{mValue={value}, mType={number}, mName=x, mStatus=0}}"
    thermal = parse_thermal(f"Thermal Status: 0\nCurrent temperatures from HAL:\n\t{row}\n")
    (found,) = thermal.rows
    assert found.raw == value
    assert found.celsius is None or -40.0 <= found.celsius <= 150.0


def test_kernel_zones_are_thousandths_of_a_degree() -> None:
    text = "41500 cpu-0-0-usr\n-2500 battery\n30250 quiet-skin-usr\n37 tsens\n-40000 gpu\n0 npu\n"
    zones = parse_zones(text)
    assert zones.hottest_c("CPU") == 41.5
    assert zones.hottest_c("BATTERY") == -2.5
    assert zones.skin_c == 30.25
    assert zones.status is None
    assert [row.celsius for row in zones.rows if row.name == "tsens"] == [None]
    assert all(row.block is Block.ZONES for row in zones.rows)


def test_no_zones() -> None:
    assert parse_zones("cat: Permission denied\n").rows == ()


def test_a_service_without_any_block_has_no_rows():
    found = parse_thermal("IsStatusOverride: false\nThermal Status: 2\nHAL Ready: true\n")
    assert (found.status, found.rows) == (ThermalStatus.MODERATE, ())
