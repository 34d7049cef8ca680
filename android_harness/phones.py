"""Which phones are there, and how to get hold of one."""

import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import final

from android_harness.errors import (
    HarnessError,
    PhoneOffline,
    PhoneRefused,
    PhoneSilent,
    PhoneUnauthorized,
    TransportError,
)
from android_harness.parse.devices import USABLE, DeviceLine
from android_harness.phone import Identity, Phone
from android_harness.transport.adb_server import list_server_phones, running_server
from android_harness.transport.adb_shell_usb import UsbPhone, list_usb_phones
from android_harness.transport.choosing import open_transport
from android_harness.transport.seam import Transport

_log = logging.getLogger(__name__)

_AT_ONCE = 8

# What to do about each state in which a phone cannot be used.
# Source: AOSP packages/modules/adb/adb.cpp connection_state_name(), SERVICES.TXT.
_ADVICE = {
    "unauthorized": "unlock the phone and accept 'Allow USB debugging'",
    "authorizing": "unlock the phone and accept 'Allow USB debugging'",
    "offline": "reconnect its cable, or run `adb reconnect offline`",
    "connecting": "wait a moment and try again",
    "bootloader": "start Android: `fastboot reboot`",
    "recovery": "start Android: `adb reboot`",
    "rescue": "start Android: `adb reboot`",
    "sideload": "start Android: `adb reboot`",
    "detached": "attach it again: `adb attach`",
    "no permissions": (
        "give this user access to USB: install the distribution's Android udev rules "
        "(Debian: apt-get install android-sdk-platform-tools-common), join the group plugdev, "
        "and reconnect the cable"
    ),
    "refused": "nothing listens there; turn on adb over TCP (`adb tcpip 5555`) or start the phone",
    "silent": "it took the connection but does not answer; it may still be booting",
}
_UNKNOWN_STATE = "this state is not known; reconnect the phone"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPhone:
    """One phone, usable or not."""

    serial: str  # what ``connect`` takes
    state: str  # adb's word; "device" is the usable one
    transport: str  # which one reaches it, and why
    model: str | None
    android: str | None
    soc: str | None
    abis: tuple[str, ...]
    battery_percent: float | None
    advice: str | None  # what to do so that it can be used; None when it can
    identity: Identity | None = None  # None when it could not be asked


def connect(selector: str, *, authorize_wait_s: float = 0.0) -> Transport:
    """Connect to the phone that ``list_phones`` or the user names.

    Args:
        selector: a serial, ``host:port``, ``emulator-5554`` or ``usb:1-4``.
        authorize_wait_s: how long to wait for somebody to accept our key on the phone.

    Raises:
        TransportError: refused, silent, unauthorized, offline.
        ToolMissing: it could only be on USB, and libusb is not installed.
    """
    return open_transport(selector, authorize_wait_s=authorize_wait_s)


def list_phones(endpoints: Sequence[str] = ()) -> tuple[ListedPhone, ...]:
    """Every phone that is connected in whatever way, each once.

    Looks at a running adb server, the USB bus, $ANDROID_SERIAL and ``endpoints``; whatever is
    usable is asked who it is, several at once.

    Args:
        endpoints: serials or ``host:port`` that the user named.
    """
    listed, usb = _server_lines(), list_usb_phones()
    known = {line.serial for line in listed}
    named = [e for e in (os.environ.get("ANDROID_SERIAL", ""), *endpoints) if e]
    selectors = [line.serial for line in listed if line.state == USABLE]
    selectors += [_usb_selector(p) for p in usb if p.trouble is None and p.serial not in known]
    selectors += [name for name in dict.fromkeys(named) if name not in {*known, *selectors}]
    unusable = [_from_line(line) for line in listed if line.state != USABLE]
    unusable += [_from_usb(phone) for phone in usb if phone.trouble is not None]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        asked = list(pool.map(_ask, dict.fromkeys(selectors)))
    return tuple(_each_once([*asked, *unusable]))


def _server_lines() -> tuple[DeviceLine, ...]:
    server = running_server()
    if server is None:
        return ()
    try:
        return list_server_phones(server)
    except HarnessError as error:
        _log.warning("the adb server at %s cannot be asked: %s", server, error)
        return ()


def _ask(selector: str) -> ListedPhone:
    try:
        with connect(selector) as transport:
            phone = Phone(transport)
            identity, state = phone.identity, phone.read_state()
            return ListedPhone(
                serial=selector,
                state=USABLE,
                transport=transport.description,
                model=f"{identity.manufacturer} {identity.model}",
                android=identity.android,
                soc=identity.soc,
                abis=identity.abis,
                battery_percent=None if state.battery is None else state.battery.level_percent,
                advice=None,
                identity=identity,
            )
    except HarnessError as error:
        return _unusable(selector, _state_of(error), str(error))


def _state_of(error: HarnessError) -> str:
    match error:
        case PhoneUnauthorized():
            return "unauthorized"
        case PhoneOffline():
            return error.state
        case PhoneRefused():
            return "refused"
        case PhoneSilent():
            return "silent"
        case TransportError():
            return "offline"
        case _:
            return "unknown"


def _from_line(line: DeviceLine) -> ListedPhone:
    model = line.product.get("model")
    return replace(
        _unusable(line.serial, line.state, None),
        model=model.replace("_", " ") if model else None,
        transport="adb server",
    )


def _from_usb(phone: UsbPhone) -> ListedPhone:
    found = _unusable(_usb_selector(phone), phone.trouble or "unknown", None)
    return replace(found, transport="adb-shell over USB")


def _unusable(selector: str, state: str, reason: str | None) -> ListedPhone:
    return ListedPhone(
        serial=selector,
        state=state,
        transport="none",
        model=None,
        android=None,
        soc=None,
        abis=(),
        battery_percent=None,
        advice=advice_for(state) or reason or _UNKNOWN_STATE,
    )


def advice_for(state: str) -> str | None:
    """What to do about a phone in this state; None when nothing is known of it.

    adb adds details in brackets to ``no permissions``, so the beginning decides.
    """
    return next((advice for word, advice in _ADVICE.items() if state.startswith(word)), None)


def _usb_selector(phone: UsbPhone) -> str:
    return phone.serial or f"usb:{phone.path}"


def _each_once(phones: Iterable[ListedPhone]) -> Iterable[ListedPhone]:
    """The same phone by USB and Wi-Fi is one; two that share a serial number are two.

    Cheap phones all carry 0123456789ABCDEF, so the id of the boot decides beside the serial.
    """
    seen: set[tuple[str, str | None]] = set()
    for phone in phones:
        if phone.identity is not None:
            key = (phone.identity.serial, phone.identity.boot_id)
            if key in seen:
                continue
            seen.add(key)
        yield phone
