"""Temperatures and throttling as the thermal service tells of them; pure.

Source: AOSP frameworks/base/services/core/java/com/android/server/power/ThermalManagerService.java
(dump), hardware/interfaces/thermal TemperatureType and ThrottlingSeverity.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import final

from android_harness.errors import ParseError


class ThermalStatus(IntEnum):
    """ThrottlingSeverity: how hard the phone is throttling."""

    NONE = 0
    LIGHT = 1
    MODERATE = 2
    SEVERE = 3
    CRITICAL = 4
    EMERGENCY = 5
    SHUTDOWN = 6


class Block(StrEnum):
    """Where a row stands: what the service remembers, or what the hardware says now."""

    CACHED = "cached"
    HAL = "hal"
    ZONES = "zones"  # the kernel's thermal zones, where there is no service (before Android 10)


# TemperatureType; the rows of the types in _NOT_CELSIUS are voltages, currents and percentages.
_TYPES = {
    -1: "UNKNOWN",
    0: "CPU",
    1: "GPU",
    2: "BATTERY",
    3: "SKIN",
    4: "USB_PORT",
    5: "POWER_AMPLIFIER",
    6: "BCL_VOLTAGE",
    7: "BCL_CURRENT",
    8: "BCL_PERCENTAGE",
    9: "NPU",
    10: "TPU",
    11: "DISPLAY",
    12: "MODEM",
    13: "SOC",
    14: "WIFI",
    15: "CAMERA",
    16: "FLASHLIGHT",
    17: "SPEAKER",
    18: "AMBIENT",
    19: "POGO",
}
_NOT_CELSIUS = {6, 7, 8}
# Below: not fitted (-99.9) or not read (0.0 exactly); above: another unit. Chips stop near 125.
_CELSIUS = (-40.0, 150.0)

# What a zone's name tells; the first word found counts ("cpu-skin" is a skin sensor).
_ZONE_WORDS = (
    ("skin", "SKIN"),
    ("batt", "BATTERY"),
    ("gpu", "GPU"),
    ("cpu", "CPU"),
    ("npu", "NPU"),
    ("usb", "USB_PORT"),
)

_FLOAT = r"-?\d+(?:\.\d+)?(?:[Ee][-+]?\d+)?|NaN"
_ROW = re.compile(
    rf"\bTemperature\{{mValue=({_FLOAT}), mType=(-?\d+), mName=(.*?), mStatus=(-?\d+)\}}"
)
_STATUS = re.compile(r"^Thermal Status: (-?\d+)\s*$", re.MULTILINE)
_OVERRIDE = re.compile(r"^IsStatusOverride: (true|false)\s*$", re.MULTILINE)
_READY = re.compile(r"^HAL Ready: (true|false)\s*$", re.MULTILINE)
_HEADING = re.compile(r"^([A-Z][^:\n]*):[ \t]*$", re.MULTILINE)
_BLOCKS = {"Cached temperatures": Block.CACHED, "Current temperatures from HAL": Block.HAL}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """One row; ``celsius`` is None where the row holds no temperature."""

    name: str
    kind: str  # "SKIN", "CPU" ...: from the name where the phone's numbers are shifted
    number: int  # mType as printed
    raw: float | None
    celsius: float | None
    status: int
    block: Block


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal:
    """What ``dumpsys thermalservice`` says."""

    status: ThermalStatus | None
    overridden: bool
    hal_ready: bool | None
    rows: tuple[Temperature, ...]
    notes: tuple[str, ...] = ()

    @property
    def now(self) -> tuple[Temperature, ...]:
        """The hardware's rows, or the remembered ones where there are none."""
        hal = tuple(row for row in self.rows if row.block is Block.HAL)
        return hal or self.rows

    def hottest_c(self, kind: str) -> float | None:
        """The highest present temperature of a kind, or None when none is known."""
        return max(
            (row.celsius for row in self.now if row.kind == kind and row.celsius is not None),
            default=None,
        )

    @property
    def skin_c(self) -> float | None:
        """The hottest skin sensor."""
        return self.hottest_c("SKIN")


def parse_thermal(text: str) -> Thermal:
    """Parse ``dumpsys thermalservice``.

    Raises:
        ParseError: it is not the thermal service's text.
    """
    plain = text.replace("\r", "")
    status, ready, override = (p.search(plain) for p in (_STATUS, _READY, _OVERRIDE))
    if status is None and ready is None:
        raise ParseError("dumpsys thermalservice", text, "no thermal status")
    notes: list[str] = []
    found = [(block, row) for block, body in _blocks(plain) for row in _ROW.findall(body)]
    shifted = _shifted([row for _, row in found])
    if shifted:
        notes.append("type numbers are one higher than Android's; the names are believed")
    overridden = override is not None and override[1] == "true"
    if overridden:
        notes.append("the status is overridden by hand (cmd thermalservice reset)")
    rows = tuple(_row(block, row, shifted, notes) for block, row in found)
    if not any(row.block is Block.HAL for row in rows):
        notes.append("no rows from the hardware; the remembered ones may be old")
    return Thermal(
        status=_severity(status[1] if status else None, notes),
        overridden=overridden,
        hal_ready=None if ready is None else ready[1] == "true",
        rows=rows,
        notes=tuple(dict.fromkeys(notes)),
    )


def parse_zones(text: str) -> Thermal:
    """Parse ``millidegrees type`` lines of /sys/class/thermal, one a zone.

    The kernel documents thousandths of a degree. Some drivers print whole degrees; a value below
    1000 may be either, so it is kept raw and no temperature is claimed.

    Source: Linux Documentation/driver-api/thermal/sysfs-api.rst.
    """
    notes = ["kinds are taken from the zones' names"]
    rows = []
    for raw, name in re.findall(r"^(-?\d{1,12}) (\S.*?)\s*$", text, re.MULTILINE):
        milli = int(raw)
        celsius = _celsius(milli / 1000.0, 0) if abs(milli) >= 1000 else None
        kind = next((kind for word, kind in _ZONE_WORDS if word in name.lower()), "UNKNOWN")
        rows.append(
            Temperature(
                name=name,
                kind=kind,
                number=-1,
                raw=float(milli),
                celsius=celsius,
                status=0,
                block=Block.ZONES,
            )
        )
    return Thermal(
        status=None, overridden=False, hal_ready=None, rows=tuple(rows), notes=tuple(notes)
    )


def _blocks(text: str) -> list[tuple[Block, str]]:
    """The two blocks of temperatures; thresholds and cooling devices are left aside."""
    heads = list(_HEADING.finditer(text))
    ends = [*(head.start() for head in heads), len(text)][1:]
    return [
        (_BLOCKS[head[1]], text[head.end() : end])
        for head, end in zip(heads, ends, strict=True)
        if head[1] in _BLOCKS
    ]


def _shifted(rows: list[tuple[str, str, str, str]]) -> bool:
    """Old Samsung services number from 1: every row that names its type is one too high."""
    numbers = {name: number for number, name in _TYPES.items()}
    named = [
        (int(number), numbers[name.removeprefix("TYPE_")])
        for _, number, name, _ in rows
        if name.removeprefix("TYPE_") in numbers and name.startswith("TYPE_")
    ]
    return bool(named) and all(number == meant + 1 for number, meant in named)


def _row(
    block: Block, row: tuple[str, str, str, str], shifted: bool, notes: list[str]
) -> Temperature:
    text, number_text, name, status = row
    printed = int(number_text)
    number = printed - 1 if shifted and printed > 0 else printed
    raw = None if text == "NaN" else float(text)
    celsius = _celsius(raw, number)
    if celsius is None and number not in _NOT_CELSIUS:
        notes.append(f"{name}: {text} is no temperature")
    return Temperature(
        name=name,
        kind=_TYPES.get(number, f"TYPE_{number}"),
        number=printed,
        raw=raw,
        celsius=celsius,
        status=int(status),
        block=block,
    )


def _celsius(raw: float | None, number: int) -> float | None:
    if raw is None or number in _NOT_CELSIUS or raw == 0.0:
        return None
    return raw if _CELSIUS[0] <= raw <= _CELSIUS[1] else None


def _severity(text: str | None, notes: list[str]) -> ThermalStatus | None:
    try:
        return ThermalStatus(int(text)) if text is not None else None
    except ValueError:
        notes.append(f"unknown thermal status {text}")
        return None
