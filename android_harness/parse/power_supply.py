"""The kernel's own account of a battery: ``/sys/class/power_supply/<node>/uevent``; pure.

Source: Linux Documentation/ABI/testing/sysfs-class-power. What phones print differs from it in
unit and sign (raw values are kept, and nothing is scaled).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError

_LINE = re.compile(r"^(?:POWER_SUPPLY_)?([A-Z0-9_]+)=(.*?)\r*$", re.MULTILINE)
# Drivers leak an error number as the value: -EINVAL, -ENODATA, -ENODEV, -EAGAIN, -ETIMEDOUT.
_ERRORS = {-22, -61, -19, -11, -110}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSupply:
    """Raw values of one node; what cannot be a value is None with a note."""

    name: str
    status: str | None
    capacity_percent: int | None
    current_now_raw: int | None  # uA by the kernel's rule, mA on some phones; sign either way
    voltage_now_raw: int | None  # uV by the kernel's rule, mV on some phones
    charge_counter_raw: int | None
    temperature_raw: int | None  # 0.1 C by the kernel's rule
    fields: Mapping[str, str]
    notes: tuple[str, ...] = ()


def parse_power_supply(text: str) -> PowerSupply:
    """Parse one node's uevent, with or without the ``POWER_SUPPLY_`` prefix.

    Raises:
        ParseError: it names no supply.
    """
    fields = dict(_LINE.findall(text))
    if "NAME" not in fields:
        raise ParseError("power_supply uevent", text, "no POWER_SUPPLY_NAME")
    notes: list[str] = []
    return PowerSupply(
        name=fields["NAME"],
        status=fields.get("STATUS") or None,
        capacity_percent=_capacity(fields, notes),
        current_now_raw=_raw(fields, "CURRENT_NOW", notes),
        voltage_now_raw=_raw(fields, "VOLTAGE_NOW", notes),
        charge_counter_raw=_raw(fields, "CHARGE_COUNTER", notes),
        temperature_raw=_raw(fields, "TEMP", notes),
        fields=fields,
        notes=tuple(notes),
    )


def _raw(fields: Mapping[str, str], key: str, notes: list[str]) -> int | None:
    text = fields.get(key)
    if text is None:
        notes.append(f"no {key}")
        return None
    if not re.fullmatch(r"-?\d{1,18}", text):
        notes.append(f"{key}={text} is not a number")
        return None
    value = int(text)
    if value in _ERRORS:
        notes.append(f"{key}={value} is a kernel error number, not a value")
        return None
    return value


def _capacity(fields: Mapping[str, str], notes: list[str]) -> int | None:
    value = _raw(fields, "CAPACITY", notes)
    if value is not None and not 0 <= value <= 100:
        notes.append(f"CAPACITY={value} is not a percentage")
        return None
    return value
