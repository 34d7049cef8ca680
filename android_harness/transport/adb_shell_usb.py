"""Phones on USB, reached without any adb program; needs libusb1.

Where an adb server runs it holds the phones' interfaces: then they are reached through it.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from android_harness.errors import PhoneRefused, ToolMissing
from android_harness.transport.adb_shell_tcp import AdbShellTransport

if TYPE_CHECKING:
    from android_harness.transport.adb_shell_device import Link

_log = logging.getLogger(__name__)

_INSTALL = "pip install 'deploy-bench[usb]' (libusb1), and apt-get install libusb-1.0-0"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class UsbPhone:
    """A phone's adb interface as seen on the bus."""

    path: str  # "1-4.2": bus and ports
    serial: str | None  # None: no permission to read it
    trouble: str | None  # why it cannot be opened


def usb_trouble() -> str | None:
    """Why USB cannot be used here at all, or None."""
    try:
        import adb_shell.transport.usb_transport  # noqa: F401 its import opens the bus
    except ImportError:
        return f"libusb1 is not installed: {_INSTALL}"
    except (OSError, AttributeError) as error:  # the C library is missing, or has no bus
        return f"libusb cannot be used: {error}"
    except Exception as error:  # noqa: BLE001 usb1.USBError, raised while a class body runs
        return f"libusb cannot open the bus: {error}"
    return None


def list_usb_phones() -> tuple[UsbPhone, ...]:
    """Every adb interface on the bus; empty when USB cannot be used here."""
    trouble = usb_trouble()
    if trouble:
        _log.debug("USB: %s", trouble)
        return ()
    return tuple(_seen(transport) for transport in _transports())


@final
class AdbShellUsb(AdbShellTransport):
    """The phone with this serial number, or at this bus path ("usb:1-4")."""

    def __init__(self, selector: str, *, authorize_wait_s: float = 0.0, why: str = "") -> None:
        reason = f" ({why})" if why else ""
        super().__init__(selector, f"adb-shell over USB{reason}", authorize_wait_s=authorize_wait_s)

    def _link(self) -> "Link":
        trouble = usb_trouble()
        if trouble:
            raise ToolMissing("libusb", f"the phone {self.endpoint} on USB", _INSTALL)
        for transport in _transports():
            seen = _seen(transport)
            if self.endpoint in (seen.serial, f"usb:{seen.path}"):
                from android_harness.transport.usb_link import UsbLink

                return UsbLink(transport._device, transport._setting)
        raise PhoneRefused(self.endpoint)


def _transports() -> Iterator[Any]:
    from adb_shell.transport.usb_transport import UsbTransport

    return iter(UsbTransport.find_all_adb_devices())


def _seen(transport: Any) -> UsbPhone:
    import usb1

    bus, *ports = transport.port_path
    path = f"{bus}-{'.'.join(map(str, ports))}"
    try:
        return UsbPhone(path=path, serial=transport.serial_number, trouble=None)
    except usb1.USBErrorAccess:
        return UsbPhone(path=path, serial=None, trouble="no permissions")
    except usb1.USBError as error:
        return UsbPhone(path=path, serial=None, trouble=str(error))
