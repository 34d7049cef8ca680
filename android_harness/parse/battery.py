"""The battery as dumpsys and the kernel tell of it; pure.

Nothing is guessed: a value that cannot be in the documented unit is None, and a note says what the
phone printed.

Source: AOSP frameworks/base/services/core/java/com/android/server/BatteryService.java (dump).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import final

from android_harness.errors import ParseError

_BANNER = "Current Battery Service state:"
_LINE = re.compile(r"^[ \t]+([A-Za-z][A-Za-z ]*?): (.*?)[ \t]*$", re.MULTILINE)
_STOPPED = "UPDATES STOPPED"

# No phone's battery works outside these; a value beyond them is in another unit, or no value.
_VOLTAGE_MV = range(2000, 30_000)  # one cell discharged .. tablets with several in series
_TEMPERATURE_TENTHS_C = range(-400, 1200)
# BatteryManager documents uAh. A phone's gauge holds at least 20 mAh while the phone is on; some
# print mAh, and those numbers lie below.
_COUNTER_UAH = range(20_000, 60_000_000)


class BatteryStatus(IntEnum):
    """BatteryManager.BATTERY_STATUS_*."""

    UNKNOWN = 1
    CHARGING = 2
    DISCHARGING = 3
    NOT_CHARGING = 4
    FULL = 5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """What ``dumpsys battery`` says; None is explained by a note."""

    level_percent: float | None
    temperature_c: float | None
    voltage_mv: int | None
    charge_counter_uah: int | None
    status: BatteryStatus | None
    powered_by: tuple[str, ...]  # "AC", "USB", "Wireless", "Dock"
    present: bool | None
    health: int | None  # BatteryManager.BATTERY_HEALTH_*: 2 good, 3 overheat
    technology: str | None
    updates_stopped: bool  # somebody set the values by hand; they are not the battery's
    notes: tuple[str, ...] = ()
    # Kernel's current_now, raw: sign and unit differ between phones, and only a calibration of
    # this model can tell them.
    current_now_raw: int | None = None
    current_now_node: str | None = None

    @property
    def charging(self) -> bool | None:
        """Whether a charger feeds the phone, as far as is known."""
        if self.powered_by:
            return True
        return None if self.status is None else self.status is BatteryStatus.CHARGING


def parse_battery(text: str) -> Battery:
    """Parse ``dumpsys battery``.

    Raises:
        ParseError: it is not the battery service's text.
    """
    _, banner, body = text.partition(_BANNER)
    if not banner:
        raise ParseError("dumpsys battery", text, "no battery state")
    fields: dict[str, str] = {}
    for key, value in _LINE.findall(body.replace("\r", "")):
        fields.setdefault(key, value)  # vendors append their own lines, some with the same words
    notes: list[str] = []
    stopped = _STOPPED in body
    if stopped:
        notes.append("updates are stopped: the values were set by hand (dumpsys battery reset)")
    return Battery(
        level_percent=_level(fields, notes),
        temperature_c=_temperature_c(fields, notes),
        voltage_mv=_bounded(fields, "voltage", _VOLTAGE_MV, "mV", notes),
        charge_counter_uah=_counter(fields, notes),
        status=_status(fields, notes),
        powered_by=tuple(
            kind
            for kind in ("AC", "USB", "Wireless", "Dock")
            if fields.get(f"{kind} powered") == "true"
        ),
        present=_flag(fields, "present"),
        health=_number(fields, "health"),
        technology=fields.get("technology") or None,
        updates_stopped=stopped,
        notes=tuple(notes),
    )


def _number(fields: Mapping[str, str], key: str) -> int | None:
    text = fields.get(key, "")
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None


def _flag(fields: Mapping[str, str], key: str) -> bool | None:
    return {"true": True, "false": False}.get(fields.get(key, ""))


def _level(fields: Mapping[str, str], notes: list[str]) -> float | None:
    level, scale = _number(fields, "level"), _number(fields, "scale")
    if level is None or scale is None or scale <= 0 or not 0 <= level <= scale:
        notes.append(f"level {fields.get('level')} of {fields.get('scale')} is not a charge level")
        return None
    if fields.get("present") == "false":
        notes.append("no battery is present, so its level means nothing")
        return None
    return 100.0 * level / scale


def _temperature_c(fields: Mapping[str, str], notes: list[str]) -> float | None:
    tenths = _number(fields, "temperature")
    if tenths is None:
        notes.append("no battery temperature")
        return None
    if tenths == 0 and _number(fields, "voltage") in (0, None):
        notes.append("temperature 0 beside no voltage: there is no sensor")
        return None
    if tenths not in _TEMPERATURE_TENTHS_C:
        notes.append(f"temperature {tenths} is not in 0.1 C")
        return None
    if _wrong_units(fields):
        notes.append(f"temperature {tenths}: this phone prints other units than Android's")
        return None
    return tenths / 10.0


def _wrong_units(fields: Mapping[str, str]) -> bool:
    """A board that prints whole volts does not print tenths of a degree either."""
    voltage = _number(fields, "voltage")
    return voltage is not None and 0 < voltage < _VOLTAGE_MV.start


def _bounded(
    fields: Mapping[str, str], key: str, bounds: range, unit: str, notes: list[str]
) -> int | None:
    value = _number(fields, key)
    if value is None or value == 0:
        notes.append(f"no {key}")
        return None
    if value not in bounds:
        notes.append(f"{key} {value} is not in {unit}")
        return None
    return value


def _counter(fields: Mapping[str, str], notes: list[str]) -> int | None:
    value = _bounded(fields, "Charge counter", _COUNTER_UAH, "uAh", notes)
    if value is not None and _wrong_units(fields):
        notes.append(f"Charge counter {value}: this phone prints other units than Android's")
        return None
    return value


def _status(fields: Mapping[str, str], notes: list[str]) -> BatteryStatus | None:
    number = _number(fields, "status")
    try:
        return BatteryStatus(number or 0)
    except ValueError:
        notes.append(f"unknown battery status {fields.get('status')}")
        return None
