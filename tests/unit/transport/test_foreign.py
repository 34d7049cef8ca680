import errno
import inspect
import pickle
import socket
import struct

import adb_shell.exceptions
import adbutils.errors
import pytest

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
from android_harness.transport.foreign import Doing, mapped, meaning, refused_file, server_said
from android_harness.transport.stream import ServiceRefused, WantsTls

CONNECTING = Doing("p:1", "connecting", True, 3.0)
PUSHING = Doing("p:1", "pushing x", False, 3.0)


def classes(module: object) -> list[type[Exception]]:
    found = inspect.getmembers(module, inspect.isclass)
    return [kind for _, kind in found if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", classes(adb_shell.exceptions) + classes(adbutils.errors))
def test_every_exception_of_the_libraries_is_known(kind: type[Exception]) -> None:
    assert meaning(kind.__new__(kind)) is not None


def test_every_exception_of_libusb_is_known() -> None:
    usb1 = pytest.importorskip("usb1")
    kinds = [kind for kind in classes(usb1) if issubclass(kind, usb1.USBError)]
    assert kinds
    assert all(meaning(kind.__new__(kind)) for kind in kinds)


@pytest.mark.parametrize(
    ("error", "doing", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), CONNECTING, PhoneRefused),
        (OSError(errno.EHOSTUNREACH, "no route"), CONNECTING, PhoneRefused),
        (socket.gaierror(-2, "unknown name"), CONNECTING, PhoneRefused),
        (TimeoutError(), CONNECTING, PhoneSilent),
        (Stalled(3.0, overall=True), CONNECTING, PhoneSilent),
        (ConnectionResetError("gone"), CONNECTING, PhoneLost),
        (WantsTls(), CONNECTING, PhoneNeedsTls),
        (adb_shell.exceptions.DeviceAuthError("no"), CONNECTING, PhoneUnauthorized),
        (Stalled(3.0, overall=False), PUSHING, PhoneLost),
        (BrokenPipeError(), PUSHING, PhoneLost),
        (EOFError("cut"), PUSHING, PhoneLost),
        (ValueError("not a packet"), PUSHING, PhoneLost),
        (struct.error("short"), PUSHING, None),
        (ServiceRefused("sync"), PUSHING, PhoneLost),
        (adb_shell.exceptions.InvalidCommandError("x"), PUSHING, PhoneLost),
        (adbutils.errors.AdbTimeout("x"), PUSHING, PhoneLost),
        (adbutils.errors.AdbError("device offline"), PUSHING, PhoneOffline),
        (ZeroDivisionError(), PUSHING, None),
    ],
)
def test_what_becomes_of_it(
    error: Exception, doing: Doing, expected: type[HarnessError] | None
) -> None:
    found = mapped(error, doing)
    assert type(found) is (type(None) if expected is None else expected)
    if isinstance(found, TransportError):
        assert "p:1" in str(found)
        assert type(pickle.loads(pickle.dumps(found))) is expected


def test_our_own_errors_pass_as_they_are() -> None:
    error = RemoteFileError("p:1", "/x", "no")
    assert mapped(error, PUSHING) is error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", PhoneUnauthorized),
        ("device still authorizing", PhoneUnauthorized),
        ("device offline", PhoneOffline),
        ("insufficient permissions for device: user in plugdev group", PhoneLost),
        ("no permissions (missing udev rules?)", PhoneOffline),
        ("device '127.0.0.1:5555' not found", PhoneLost),
        ("closed", PhoneLost),
    ],
)
def test_what_a_server_says(words: str, expected: type[TransportError]) -> None:
    assert type(server_said(words, CONNECTING)) is expected


def test_a_full_disk_is_told_from_other_refusals() -> None:
    full = refused_file("write failed: No space left on device", "p:1", "/x", 10)
    assert isinstance(full, NoSpace)
    assert full.needed_bytes == 10
    assert isinstance(refused_file("Permission denied", "p:1", "/x", 10), RemoteFileError)
