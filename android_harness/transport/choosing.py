"""Which transport reaches a phone, and why that one."""

import re

from android_harness.parse.devices import USABLE, DeviceLine
from android_harness.transport.adb_server import (
    AdbServerTransport,
    Server,
    list_server_phones,
    running_server,
)
from android_harness.transport.adb_shell_tcp import DEFAULT_PORT, AdbShellTcp
from android_harness.transport.adb_shell_usb import AdbShellUsb
from android_harness.transport.seam import Transport
from android_harness.transport.stream_transport import StreamTransport

_EMULATOR = re.compile(r"emulator-(\d{1,5})")
_HOST_PORT = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?"
)
_NO_SERVER = "no adb server runs"
_NOT_LISTED = "the adb server does not list it"


def open_transport(selector: str, *, authorize_wait_s: float = 0.0) -> Transport:
    """Connect to a phone by whatever holds it.

    A running adb server that lists the phone is used; then host:port goes over TCP, and anything
    else is looked for on USB. No server is ever started.

    Args:
        selector: a serial as adb prints it, ``host:port``, ``emulator-5554``, or ``usb:1-4``.
        authorize_wait_s: how long to wait for somebody to accept our key on the phone.

    Raises:
        TransportError: refused, silent, unauthorized, offline.
        ToolMissing: it could only be on USB, and libusb is not installed.
    """
    server = running_server()
    line = _listed(server, selector)
    if server is not None and line is not None and not _only_for_server(line):
        transport: StreamTransport = AdbServerTransport(server, selector)
    else:
        why = _NO_SERVER if server is None else _NOT_LISTED
        transport = _direct(selector, authorize_wait_s, why)
    try:
        transport.connect()
    except BaseException:
        transport.close()
        raise
    return transport


def parse_endpoint(selector: str) -> tuple[str, int] | None:
    """Host and port of a selector that names them; None when it is a serial.

    ``emulator-5554`` listens for adb one port above its console. A bare IPv6 address needs
    brackets when a port follows, as adb wants it.
    """
    emulator = _EMULATOR.fullmatch(selector)
    if emulator is not None:
        return "127.0.0.1", int(emulator[1]) + 1
    found = _HOST_PORT.fullmatch(selector)
    if found is None or selector.startswith("usb:"):
        return None
    host, port = found["v6"] or found["host"], found["port"]
    if port is None and found["v6"] is None and not re.fullmatch(r"[\d.]+|localhost", host):
        return None  # a word without a port is a serial
    number = int(port) if port else DEFAULT_PORT
    return (host, number) if 0 < number < 65536 else None


def _listed(server: Server | None, selector: str) -> DeviceLine | None:
    if server is None:
        return None
    return next((line for line in list_server_phones(server) if line.serial == selector), None)


def _only_for_server(line: DeviceLine) -> bool:
    """Whether the server's own connection is of no use, while ours may be.

    A server that was connected before its key was accepted stays "unauthorized", and a phone that
    restarted stays "offline" there; a TCP endpoint takes a second connection.
    """
    return line.state != USABLE and parse_endpoint(line.serial) is not None


def _direct(selector: str, authorize_wait_s: float, why: str) -> StreamTransport:
    endpoint = parse_endpoint(selector)
    if endpoint is not None:
        return AdbShellTcp(*endpoint, authorize_wait_s=authorize_wait_s, why=why)
    return AdbShellUsb(selector, authorize_wait_s=authorize_wait_s, why=why)


def second_connection(transport: Transport) -> Transport | None:
    """Another connection to the same phone, for what runs beside a command; None over bare USB.

    A transport does one thing at a time, and a USB interface has one owner.

    Raises:
        TransportError: the phone does not answer.
    """
    match transport:
        case AdbServerTransport():
            other: StreamTransport = AdbServerTransport(transport.server, transport.endpoint)
        case AdbShellTcp():
            other = AdbShellTcp(*transport.address)
        case _:
            return None
    other.connect()
    return other
