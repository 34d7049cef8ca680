"""Talking to an adb server over adbutils' connection; importing this imports adbutils (0.4 s)."""

import select
import socket
from typing import TYPE_CHECKING, final

from adbutils import AdbConnection

from android_harness.transport.deadline import Pace
from android_harness.transport.stream import Bytes, Stream

if TYPE_CHECKING:
    from android_harness.transport.adb_server import Server

_READ_BYTES = 256 << 10
_PACKET_BYTES = 256 << 10


@final
class _Talk(AdbConnection):  # type: ignore[misc]
    """A connection that never starts a server, and whose reads keep to a deadline."""

    def __init__(self, server: "Server", pace: Pace) -> None:
        self.pace = pace
        self._address = (server.host, server.port)
        super().__init__(server.host, server.port)

    def _safe_connect(self) -> socket.socket:
        try:
            found = socket.create_connection(self._address, timeout=self.pace.wait_s())
        except TimeoutError as error:
            raise self.pace.stalled() from error
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def close(self) -> None:
        """Close at once; adbutils waits 10 ms in every call."""
        self.conn.close()

    def command(self, text: str) -> None:
        """Send a request and take its OKAY.

        Raises:
            AdbError: the server's reason.
        """
        data = text.encode()
        self.conn.settimeout(self.pace.wait_s())
        try:
            self.conn.sendall(f"{len(data):04x}".encode() + data)
            self.check_okay()
        except TimeoutError as error:
            raise self.pace.stalled() from error


def ask(server: "Server", request: str, pace: Pace) -> str:
    """One question, one block of text."""
    with _Talk(server, pace) as talk:
        talk.command(request)
        answer: str = talk.read_string_block()
        return answer


def open_service(server: "Server", serial: str, service: str, pace: Pace) -> "ServerStream":
    """Open a service of one phone."""
    talk = _Talk(server, pace)
    try:
        talk.command(f"host:transport:{serial}")
        talk.command(service)
    except BaseException:
        talk.close()
        raise
    return ServerStream(talk)


@final
class ServerStream(Stream):
    """One service; the server cuts what is sent into packets."""

    max_packet_bytes = _PACKET_BYTES

    def __init__(self, talk: _Talk) -> None:
        self._talk = talk

    def send(self, data: Bytes) -> None:
        """See Stream."""
        view = memoryview(data)
        try:
            while view:
                self._talk.conn.settimeout(self._talk.pace.wait_s())
                view = view[self._talk.conn.send(view) :]
        except TimeoutError as error:
            raise self._talk.pace.stalled() from error

    def receive(self) -> Bytes:
        """See Stream."""
        self._talk.conn.settimeout(self._talk.pace.wait_s())
        try:
            return bytes(self._talk.conn.recv(_READ_BYTES))
        except TimeoutError as error:
            raise self._talk.pace.stalled() from error

    def answered(self) -> bool:
        """See Stream."""
        poll = select.poll()
        poll.register(self._talk.conn, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """See Stream; the server then closes the phone's side."""
        self._talk.close()
