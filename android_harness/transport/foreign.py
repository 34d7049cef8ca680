"""The one place where exceptions of other libraries become ours.

Classes are named, not imported, so that neither adb-shell, adbutils nor libusb is loaded for it.
"""

import errno
from typing import NamedTuple

from android_harness.errors import (
    HarnessError,
    NoSpace,
    PhoneLost,
    PhoneNeedsTls,
    PhoneOffline,
    PhoneRefused,
    PhoneSilent,
    PhoneUnauthorized,
    RemoteFileError,
    TransportError,
)
from android_harness.transport.deadline import Stalled
from android_harness.transport.stream import ServiceRefused, WantsTls


class Doing(NamedTuple):
    """What was being done when an exception came."""

    endpoint: str
    what: str
    connecting: bool = False
    timeout_s: float = 0.0


# Every exception of adb-shell, adbutils and libusb1 by what it means, named by package and class:
# the modules inside the packages move. A test holds this table complete.
_MEANING = {
    "adb_shell.AdbCommandFailureException": "lost",
    "adb_shell.AdbConnectionError": "lost",
    "adb_shell.AdbTimeoutError": "timeout",
    "adb_shell.DeviceAuthError": "unauthorized",
    "adb_shell.DevicePathInvalidError": "lost",
    "adb_shell.InvalidChecksumError": "lost",
    "adb_shell.InvalidCommandError": "lost",
    "adb_shell.InvalidResponseError": "lost",
    "adb_shell.InvalidTransportError": "lost",
    "adb_shell.PushFailedError": "lost",
    "adb_shell.TcpTimeoutException": "timeout",
    "adb_shell.UsbDeviceNotFoundError": "lost",
    "adb_shell.UsbReadFailedError": "lost",
    "adb_shell.UsbWriteFailedError": "lost",
    "adbutils.AdbConnectionError": "server",
    "adbutils.AdbError": "server",
    "adbutils.AdbInstallError": "server",
    "adbutils.AdbSyncError": "server",
    "adbutils.AdbTimeout": "timeout",
    "usb1.USBError": "lost",
    "usb1.USBErrorAccess": "no permissions",
    "usb1.USBErrorBusy": "busy",
    "usb1.USBErrorTimeout": "timeout",
}

_REFUSING = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}


def meaning(error: BaseException) -> str | None:
    """What an exception of another library means, or None when it is not known."""
    for kind in type(error).__mro__:
        package = kind.__module__.partition(".")[0]
        found = _MEANING.get(f"{package}.{kind.__qualname__}")
        if found is not None:
            return found
    return None


def mapped(error: Exception, doing: Doing) -> HarnessError | None:
    """Our error for an exception of another library; None when it is a defect of our own."""
    match error:
        case HarnessError():
            return error
        case WantsTls():
            return PhoneNeedsTls(doing.endpoint)
        case ServiceRefused():
            return PhoneLost(doing.endpoint, doing.what, f"it refuses the service {error}")
        case Stalled():
            return _stalled(doing, error.seconds)
        case TimeoutError():
            return _stalled(doing, doing.timeout_s)
        case OSError():
            return _os_error(error, doing)
        case EOFError() | ValueError():  # our own readers', and adb-shell's unpack
            return PhoneLost(doing.endpoint, doing.what, str(error))
        case _:
            return _by_meaning(error, doing)


def _by_meaning(error: Exception, doing: Doing) -> HarnessError | None:
    match meaning(error):
        case "timeout":
            return _stalled(doing, doing.timeout_s)
        case "unauthorized":
            return PhoneUnauthorized(doing.endpoint)
        case "no permissions":
            return PhoneOffline(doing.endpoint, "no permissions")
        case "busy":
            return PhoneOffline(doing.endpoint, "held by another program (an adb server?)")
        case "server":
            return server_said(str(error), doing)
        case "lost":
            return PhoneLost(doing.endpoint, doing.what, str(error))
        case _:
            return None


def server_said(words: str, doing: Doing) -> TransportError:
    """An adb server's own words as one of our errors.

    Source: AOSP packages/modules/adb/transport.cpp acquire_one_transport().
    """
    text = words.lower()
    if "unauthorized" in text or "authorizing" in text:
        return PhoneUnauthorized(doing.endpoint)
    if "no permissions" in text:
        return PhoneOffline(doing.endpoint, "no permissions")
    if "offline" in text:
        return PhoneOffline(doing.endpoint, "offline")
    return PhoneLost(doing.endpoint, doing.what, words.strip())


def refused_file(words: str, endpoint: str, path: str, needed_bytes: int) -> HarnessError:
    """The phone's words about a file as one of our errors."""
    if "no space left" in words.lower():
        return NoSpace(endpoint, path, needed_bytes, None)
    return RemoteFileError(endpoint, path, words)


def _stalled(doing: Doing, seconds: float) -> TransportError:
    if doing.connecting:
        return PhoneSilent(doing.endpoint, seconds)
    return PhoneLost(doing.endpoint, doing.what, f"no answer for {seconds:.0f} s")


def _os_error(error: OSError, doing: Doing) -> TransportError:
    if doing.connecting and (error.errno in _REFUSING or type(error).__name__ == "gaierror"):
        return PhoneRefused(doing.endpoint)
    return PhoneLost(doing.endpoint, doing.what, error.strerror or str(error))
