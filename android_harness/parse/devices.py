r"""The list of phones an adb server gives; pure.

Source: AOSP packages/modules/adb/transport.cpp append_transport(), append_transport_info().
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from android_harness.errors import ParseError

# The one state in which a phone can be worked with.
USABLE: Final = "device"

_BANNER = "List of devices attached"
_STATES = (
    "device",
    "offline",
    "unauthorized",
    "authorizing",
    "connecting",
    "bootloader",
    "recovery",
    "rescue",
    "sideload",
    "host",
    "detached",
    "unknown",
    r"no permissions(?: \(.*?\)(?:; see \[\S*?\])?)?",
)
# Long form: the serial padded with blanks, the state, then key:value pairs. A serial may hold
# blanks and colons; the state is what the pairs follow.
_LONG = re.compile(
    rf"(?P<serial>\S.*?)\s+(?P<state>{'|'.join(_STATES)})(?P<pairs>(?:\s+[a-z_]+:\S+)*)\s*"
)
_PAIR = re.compile(r"([a-z_]+):(\S+)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLine:
    """One phone of the list."""

    serial: str
    state: str
    product: Mapping[str, str]  # product, model, device: what the phone's banner said
    usb_path: str | None = None
    transport_id: int | None = None


def parse_devices(text: str) -> tuple[DeviceLine, ...]:
    """Parse what ``adb devices`` or ``adb devices -l`` printed, daemon noise and all.

    Raises:
        ParseError: the banner is missing, or a line is not understood.
    """
    _, banner, body = text.partition(_BANNER)
    if not banner:
        raise ParseError("adb devices", text, "no banner")
    return parse_device_lines(body)


def parse_device_lines(text: str) -> tuple[DeviceLine, ...]:
    r"""Parse the lines alone: short (``serial\tstate``) or long form.

    Raises:
        ParseError: a line is not understood.
    """
    lines = [line.strip() for line in text.splitlines()]
    return tuple(_line(line) for line in lines if line and not line.startswith("* "))


def _line(line: str) -> DeviceLine:
    serial, tab, state = line.rpartition("\t")
    if tab:
        return DeviceLine(serial=serial.strip(), state=state, product={})
    found = _LONG.fullmatch(line)
    if found is None:
        raise ParseError("adb devices -l", line)
    pairs = dict(_PAIR.findall(found["pairs"]))
    number = pairs.get("transport_id", "")
    return DeviceLine(
        serial=found["serial"].strip(),
        state=found["state"],
        product={k: pairs[k] for k in ("product", "model", "device") if k in pairs},
        usb_path=pairs.get("usb"),
        transport_id=int(number) if number.isdigit() else None,
    )
