import pytest

from android_harness.parse.battery import parse_battery
from android_harness.parse.thermal import parse_thermal
from android_harness.phone import PhoneState
from device_bench.gate import wait_until_calm

BATTERY = """Current Battery Service state:
  USB powered: {powered}
  status: 3
  health: 2
  present: true
  level: {level}
  scale: 100
  voltage: 4100
  temperature: {tenths}
  technology: Li-ion
"""
THERMAL = "IsStatusOverride: false\nThermal Status: {status}\nHAL Ready: true\n"


class OddPhone:
    """Gives the states it was made with, one after the other; the last one stays."""

    def __init__(self, *states):
        self._states = list(states)
        self.asked = 0

    def read_state(self):
        self.asked += 1
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


def state(level=80, celsius=28.0, status=0, powered="false"):
    battery = BATTERY.format(level=level, tenths=round(celsius * 10), powered=powered)
    return PhoneState(
        battery=parse_battery(battery),
        thermal=parse_thermal(THERMAL.format(status=status)),
        load1=0.1,
        screen="asleep",
        cpu_khz=None,
    )


def test_a_calm_phone_starts_at_once():
    phone = OddPhone(state())
    found, flags = wait_until_calm(phone, 60.0, lambda text: None)
    assert flags == ()
    assert (found.battery_percent, found.battery_temperature_c) == (80.0, 28.0)
    assert (found.charging, found.thermal_status, phone.asked) == ("discharging", "none", 1)


@pytest.mark.parametrize(
    ("odd", "flag"),
    [
        (state(celsius=45.0), "hot: battery at 45.0 °C"),
        (state(status=2), "hot: thermal status moderate"),
        (state(level=12), "low battery: 12 %"),
    ],
)
def test_what_does_not_pass_is_flagged_not_hidden(odd, flag):
    _, flags = wait_until_calm(OddPhone(odd), 0.0, lambda text: None)
    assert flags == (flag,)


def test_a_phone_that_cools_is_waited_for(monkeypatch):
    said = []
    monkeypatch.setattr("device_bench.gate.POLL_S", 0.01)
    phone = OddPhone(state(celsius=45.0), state(celsius=40.0), state(celsius=36.0))
    found, flags = wait_until_calm(phone, 60.0, said.append)
    assert flags == ()
    assert (found.battery_temperature_c, phone.asked, len(said)) == (36.0, 3, 2)


def test_charging_is_told_with_its_source():
    found, _ = wait_until_calm(OddPhone(state(powered="true")), 0.0, lambda text: None)
    assert found.charging == "discharging, powered by USB"
