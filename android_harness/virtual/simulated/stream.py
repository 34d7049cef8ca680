"""One stream of an adb connection, as the phone sees it.

A stream sends one WRTE and waits for OKAY, as adb without delayed_ack does; a received WRTE is
acknowledged when its service takes it, so that a slow service slows the host down.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol, final

from android_harness.virtual.simulated.adb_wire import Command, Packet
from android_harness.virtual.simulated.faults import During


class LinkEnded(Exception):
    """The connection or the stream is gone; the service stops."""


class Carrier(Protocol):
    """The connection that a stream belongs to."""

    max_payload_bytes: int

    def send(self, packet: Packet) -> None:
        """Send one packet whole."""

    def forget(self, local_id: int) -> None:
        """The phone closed this stream."""

    def pass_through(
        self, during: During, done_bytes: int, data: bytes, deliver: Callable[[bytes], None]
    ) -> None:
        """Deliver ``data``, or what comes before a fault, which then strikes."""


@final
class Stream:
    """One OPEN of the host: bytes both ways until either side closes."""

    def __init__(self, link: Carrier, local_id: int, remote_id: int) -> None:
        self.link, self._local_id, self._remote_id = link, local_id, remote_id
        self._changed = threading.Condition()
        self._inbox: deque[bytes] = deque()
        self._rest = b""
        self._ready = True  # the host took our last WRTE
        self._closed = False
        self.on_close: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        """Whether either side, or the connection, ended the stream."""
        return self._closed

    def read(self) -> bytes:
        """The next bytes of the host, at least one.

        Raises:
            LinkEnded: the host closed the stream.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._inbox or self._closed)
            if not self._inbox:
                raise LinkEnded
            data = self._inbox.popleft()
        self._send(Command.OKAY)
        return data

    def read_exactly(self, size_bytes: int) -> bytes:
        """Exactly so many bytes of the host.

        Raises:
            LinkEnded: the host closed the stream before.
        """
        pieces, missing = [self._rest], size_bytes - len(self._rest)
        while missing > 0:
            pieces.append(self.read())
            missing -= len(pieces[-1])
        whole = b"".join(pieces)
        self._rest = whole[size_bytes:]
        return whole[:size_bytes]

    def write(self, data: bytes) -> None:
        """Send bytes to the host, waiting for its acknowledgement of the packet before.

        Raises:
            LinkEnded: the stream was closed.
        """
        step = self.link.max_payload_bytes
        for start in range(0, len(data), step):
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._closed)
                if self._closed:
                    raise LinkEnded
                self._ready = False
            self._send(Command.WRTE, data[start : start + step])

    def close(self) -> None:
        """End the stream after the host took everything."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._closed)
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self.link.forget(self._local_id)
        self._send(Command.CLSE)

    def receive(self, data: bytes) -> None:
        """A WRTE of the host came in."""
        with self._changed:
            self._inbox.append(data)
            self._changed.notify_all()

    def acknowledge(self) -> None:
        """An OKAY of the host came in."""
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def end(self) -> None:
        """The host closed the stream, or the connection is gone."""
        with self._changed:
            was_closed, self._closed = self._closed, True
            self._changed.notify_all()
        if not was_closed and self.on_close is not None:
            self.on_close()

    def answer_close(self) -> None:
        """Confirm the host's CLSE, as adbd does."""
        self._send(Command.CLSE)

    def accept(self) -> None:
        """Tell the host that the service exists."""
        self._send(Command.OKAY)

    def _send(self, command: Command, payload: bytes = b"") -> None:
        self.link.send(
            Packet(command=command, arg0=self._local_id, arg1=self._remote_id, payload=payload)
        )
