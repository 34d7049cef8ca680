"""Phones that a running adb server holds, reached through it with adbutils.

A server is used when it runs and never started: starting one would take the phones away from
whoever uses them without it. adbutils starts one by itself when a connection is refused, and its
``shell2`` breaks on commands that call ``exit``; so only its connection and its server commands
are used, and the services are spoken by our own code as over every other transport.

Source: AOSP packages/modules/adb/SERVICES.TXT.
"""

import errno
import logging
import os
import socket
from dataclasses import dataclass
from typing import final

from android_harness.parse.devices import USABLE, DeviceLine, parse_device_lines
from android_harness.transport.deadline import Pace
from android_harness.transport.foreign import Doing, mapped, server_said
from android_harness.transport.stream import Stream
from android_harness.transport.stream_transport import StreamTransport

_log = logging.getLogger(__name__)

DEFAULT_PORT = 5037
_PROBE_S = 1.0
_ANSWER_S = 5.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where an adb server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def server_address() -> Server | None:
    """Where adb would look for its server; None when that is not a TCP port.

    Source: AOSP packages/modules/adb/client/commandline.cpp: ADB_SERVER_SOCKET goes before
    ANDROID_ADB_SERVER_ADDRESS and ANDROID_ADB_SERVER_PORT.
    """
    spec = os.environ.get("ADB_SERVER_SOCKET")
    if spec:
        kind, _, rest = spec.partition(":")
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and port.isdigit():
            return Server(host=host.strip("[]") or "127.0.0.1", port=int(port))
        _log.warning("ADB_SERVER_SOCKET=%s is not tcp:host:port; no adb server is used", spec)
        return None
    text = os.environ.get("ANDROID_ADB_SERVER_PORT", "")
    host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1"
    return Server(host=host, port=int(text) if text.isdigit() else DEFAULT_PORT)


def running_server() -> Server | None:
    """The adb server that runs, or None; none is started."""
    server = server_address()
    if server is None:
        return None
    try:
        with socket.create_connection((server.host, server.port), timeout=_PROBE_S) as probe:
            probe.sendall(b"000chost:version")
            answered = probe.recv(4, socket.MSG_WAITALL)
    except OSError:
        return None
    if answered != b"OKAY":
        _log.warning("what listens at %s is no adb server", server)
        return None
    return server


def list_server_phones(server: Server) -> tuple[DeviceLine, ...]:
    """Every phone the server lists, in any state.

    Raises:
        TransportError: the server is gone.
    """
    doing = Doing(str(server), "listing the adb server's phones", True, _ANSWER_S)
    return parse_device_lines(_asked(server, "host:devices-l", doing))


def connect_endpoint(server: Server, endpoint: str) -> str:
    """Have the server connect to host:port, and return its words."""
    doing = Doing(endpoint, "connecting through the adb server", True, _ANSWER_S)
    return _asked(server, f"host:connect:{endpoint}", doing)


@final
class AdbServerTransport(StreamTransport):
    """One phone of a running adb server."""

    def __init__(self, server: Server, serial: str) -> None:
        super().__init__(serial, f"through the adb server at {server}, which holds this phone")
        self.server = server
        self._stream: Stream | None = None  # the last one opened; one is in use at a time

    def _connect(self, pace: Pace) -> None:
        lines = list_server_phones(self.server)
        line = next((line for line in lines if line.serial == self.endpoint), None)
        if line is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the adb server does not list it")
        if line.state != USABLE:
            raise server_said(line.state, Doing(self.endpoint, "connecting", True))
        text = ask(self.server, f"host-serial:{self.endpoint}:features", pace)
        self.features = frozenset(f for f in text.split(",") if f)
        names = {"product": "name"}  # what the list calls product is ro.product.name
        self.banner = {f"ro.product.{names.get(k, k)}": v for k, v in line.product.items()}

    def _open(self, service: str, pace: Pace) -> Stream:
        from android_harness.transport.adb_server_stream import open_service

        self._stream = open_service(self.server, self.endpoint, service, pace)
        return self._stream

    def _disconnect(self) -> None:
        """Close what was broken off; between calls nothing is held open."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def ask(server: Server, request: str, pace: Pace) -> str:
    """One question to the server itself."""
    from android_harness.transport.adb_server_stream import ask

    return ask(server, request, pace)


def _asked(server: Server, request: str, doing: Doing) -> str:
    try:
        return ask(server, request, Pace(doing.timeout_s))
    except Exception as error:
        ours = mapped(error, doing)
        raise (error if ours is None else ours) from error
