"""The phone's state as it is stored: what the parsers found, in the units of the record."""

from datetime import UTC, datetime

from android_harness.parse.battery import Battery
from android_harness.parse.thermal import Thermal
from android_harness.phone import Phone
from device_bench.record import State


def snapshot(phone: Phone) -> State:
    """Read the phone's state once.

    Raises:
        TransportError: the connection failed; a service that a phone lacks is a note instead.
    """
    found = phone.read_state()
    battery, thermal = found.battery, found.thermal
    parts = (battery, thermal)
    notes = (*found.notes, *(note for part in parts if part is not None for note in part.notes))
    return State(
        at_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        battery_percent=battery.level_percent if battery else None,
        battery_temperature_c=battery.temperature_c if battery else None,
        battery_voltage_mv=battery.voltage_mv if battery else None,
        charge_counter_uah=battery.charge_counter_uah if battery else None,
        current_now_raw=battery.current_now_raw if battery else None,
        charging=_charging(battery),
        thermal_status=_status(thermal),
        temperatures_c=_temperatures(thermal),
        load1=found.load1,
        notes=notes,
    )


def _charging(battery: Battery | None) -> str | None:
    if battery is None:
        return None
    status = None if battery.status is None else battery.status.name.lower().replace("_", " ")
    powered = " and ".join(battery.powered_by)
    if powered:
        return f"{status or 'unknown'}, powered by {powered}"
    return status


def _status(thermal: Thermal | None) -> str | None:
    if thermal is None or thermal.status is None:
        return None
    return thermal.status.name.lower()


def _temperatures(thermal: Thermal | None) -> dict[str, float]:
    if thermal is None:
        return {}
    return {row.name: row.celsius for row in thermal.now if row.celsius is not None}
