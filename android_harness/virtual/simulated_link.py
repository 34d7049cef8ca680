"""One connection to a simulated phone: handshake, streams, flow control, and its faults.

A stream sends one WRTE and waits for OKAY, as adb without delayed_ack does; a received WRTE is
acknowledged when its service takes it, so that a slow service slows the host down.
"""

import contextlib
import logging
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError
from android_harness.virtual.adb_wire import (
    VERSION_CHECKSUM,
    VERSION_NO_CHECKSUM,
    AuthKind,
    Command,
    Packet,
    PacketDecoder,
    encode_banner,
    encode_packet,
)
from android_harness.virtual.simulated_config import OLD_FEATURES, SimulatedConfig
from android_harness.virtual.simulated_faults import (
    DropConnection,
    During,
    FaultPlan,
    Freeze,
    OldPhone,
    Slow,
    Unauthorized,
)
from android_harness.virtual.simulated_keys import (
    TOKEN_BYTES,
    PublicKey,
    is_signed_by,
    parse_public_key,
)

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 256 * 1024
# A slow link moves so many pieces a second.
_PIECES_PER_S = 20
# How long a dropped connection stays half open, so that the host sees an end and no reset.
_DROPPED_OPEN_S = 5.0
_LINGER_RESET = struct.pack("ii", 1, 0)


class LinkEnded(Exception):
    """The connection or the stream is gone; the service stops."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the phone behaves on one connection, after the faults of connecting were chosen."""

    version: int
    max_payload_bytes: int
    features: tuple[str, ...]
    keys: tuple[PublicKey, ...] | None  # None: nobody is asked
    bytes_per_s: int | None

    @classmethod
    def choose(cls, config: SimulatedConfig, faults: FaultPlan) -> "Manner":
        """Ask the faults that belong to a connection as a whole."""
        old = faults.strike(OldPhone)
        slow = faults.strike(Slow)
        texts = () if faults.strike(Unauthorized) else config.authorized_keys
        return cls(
            version=VERSION_CHECKSUM if old else config.protocol_version,
            max_payload_bytes=old.max_payload_bytes if old else config.max_payload_bytes,
            features=OLD_FEATURES if old else config.features,
            keys=None if texts is None else tuple(map(parse_public_key, texts)),
            bytes_per_s=slow.bytes_per_s if slow else None,
        )


@final
class Stream:
    """One OPEN of the host: bytes both ways until either side closes."""

    def __init__(self, link: "Link", local_id: int, remote_id: int) -> None:
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


# Opens a service: returns what to run in a thread, or None when there is no such service.
Services = Callable[[Stream, str], Callable[[], None] | None]


@final
class Link:
    """One TCP connection. ``run`` reads until the end; every stream's service has a thread."""

    def __init__(
        self, sock: socket.socket, config: SimulatedConfig, faults: FaultPlan, services: Services
    ) -> None:
        self._sock, self._config, self._faults, self._services = sock, config, faults, services
        self._manner = Manner.choose(config, faults)
        self._decoder = PacketDecoder()
        self._with_checksum = True
        self.max_payload_bytes = self._manner.max_payload_bytes
        self._send_lock = threading.Lock()
        self._ended = threading.Event()
        self._frozen = threading.Event()
        self._dropped = False
        self._streams: dict[int, Stream] = {}
        self._streams_lock = threading.Lock()
        self._next_id = 1
        self._threads: list[threading.Thread] = []
        self._token = b""
        self._version = VERSION_CHECKSUM
        self._welcomed = False

    def run(self) -> None:
        """Serve the connection until it ends."""
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pass_through(During.CONNECT, 0, b"", lambda _: None)
            while data := self._receive():
                for packet in self._decoder.feed(data):
                    self._handle(packet)
        except LinkEnded:
            pass
        except ParseError as error:
            log.warning("the host broke the adb protocol: %s", error)
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._streams_lock:
            streams = tuple(self._streams.values())
        for stream in streams:
            stream.end()
        if self._dropped:
            self._ended.wait(_DROPPED_OPEN_S)
        self.end()
        for thread in self._threads:
            thread.join()
        self._sock.close()

    def end(self, *, reset: bool = False) -> None:
        """End the connection; ``run`` returns soon after."""
        self._ended.set()
        with contextlib.suppress(OSError):
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self._sock.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> bytes:
        rate = self._manner.bytes_per_s
        size = max(1, rate // _PIECES_PER_S) if rate else _RECEIVE_BYTES
        try:
            data = self._sock.recv(min(size, _RECEIVE_BYTES))
        except OSError:
            return b""
        self._thaw()
        if rate:
            self._ended.wait(len(data) / rate)
        return data

    def send(self, packet: Packet) -> None:
        """Send one packet whole.

        Raises:
            LinkEnded: the connection is gone.
        """
        data = encode_packet(packet, with_checksum=self._with_checksum)
        rate = self._manner.bytes_per_s
        step = max(1, rate // _PIECES_PER_S) if rate else len(data)
        with self._send_lock:
            for start in range(0, len(data), step):
                self._send_piece(data[start : start + step], rate)

    def _send_piece(self, data: bytes, rate: int | None) -> None:
        self._thaw()
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise LinkEnded from error
        if rate:
            self._ended.wait(len(data) / rate)

    def _thaw(self) -> None:
        """Wait for the end when the phone is frozen."""
        if self._frozen.is_set():
            self._ended.wait()
            raise LinkEnded

    def pass_through(
        self, during: During, done_bytes: int, data: bytes, deliver: Callable[[bytes], None]
    ) -> None:
        """Deliver ``data``, or only what comes before a fault, which then strikes.

        Raises:
            LinkEnded: the connection was dropped, or the phone froze until its end.
        """
        total = done_bytes + len(data)
        trouble = self._faults.strike(
            DropConnection, lambda fault: fault.during == during and fault.after_bytes <= total
        ) or self._faults.strike(
            Freeze, lambda fault: fault.during == during and fault.after_bytes <= total
        )
        if trouble is None:
            deliver(data)
            return
        deliver(data[: max(0, trouble.after_bytes - done_bytes)])
        self._suffer(trouble)

    def _suffer(self, trouble: DropConnection | Freeze) -> None:
        if isinstance(trouble, Freeze):
            self._frozen.set()
            self._ended.wait()
        elif trouble.reset:
            self.end(reset=True)
        else:
            self._dropped = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        raise LinkEnded

    def forget(self, local_id: int) -> None:
        """The phone closed a stream."""
        with self._streams_lock:
            self._streams.pop(local_id, None)

    def _handle(self, packet: Packet) -> None:
        match packet.command:
            case Command.CNXN:
                self._greet(packet)
            case Command.AUTH:
                self._authenticate(packet)
            case Command.OPEN:
                self._open(packet)
            case Command.OKAY | Command.WRTE | Command.CLSE:
                self._to_stream(packet)
            case Command.SYNC:
                pass  # internal to each side, never on the wire

    def _greet(self, packet: Packet) -> None:
        self._version = min(packet.arg0, self._manner.version)
        self.max_payload_bytes = min(packet.arg1, self._manner.max_payload_bytes)
        if self._manner.keys is None:
            self._welcome()
        else:
            self._ask()

    def _ask(self) -> None:
        self._token = os.urandom(TOKEN_BYTES)
        self.send(Packet(command=Command.AUTH, arg0=AuthKind.TOKEN, payload=self._token))

    def _authenticate(self, packet: Packet) -> None:
        keys = self._manner.keys or ()
        if packet.arg0 != AuthKind.SIGNATURE:
            log.info("a host asks to be allowed; nobody answers the dialog")
        elif any(is_signed_by(key, self._token, packet.payload) for key in keys):
            self._welcome()
        else:
            self._ask()

    def _welcome(self) -> None:
        banner = encode_banner(self._config.banner(), self._manner.features)
        manner = self._manner
        self.send(
            Packet(
                command=Command.CNXN,
                arg0=manner.version,
                arg1=manner.max_payload_bytes,
                payload=banner,
            )
        )
        self._welcomed = True
        self._with_checksum = self._version < VERSION_NO_CHECKSUM
        self._decoder.verify_checksum = self._with_checksum

    def _open(self, packet: Packet) -> None:
        if not self._welcomed:
            raise LinkEnded
        stream = Stream(self, self._next_id, packet.arg0)
        service = self._services(stream, packet.payload.rstrip(b"\0").decode("utf-8", "replace"))
        if service is None:
            self.send(Packet(command=Command.CLSE, arg1=packet.arg0))
            return
        with self._streams_lock:
            self._streams[self._next_id] = stream
        self._next_id += 1
        stream.accept()
        thread = threading.Thread(target=_serve, args=(stream, service), daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()] + [thread]
        thread.start()

    def _to_stream(self, packet: Packet) -> None:
        with self._streams_lock:
            stream = self._streams.get(packet.arg1)
        if stream is None:
            return  # closed by the phone a moment ago
        if packet.command is Command.WRTE:
            stream.receive(packet.payload)
        elif packet.command is Command.OKAY:
            stream.acknowledge()
        else:
            self.forget(packet.arg1)
            stream.end()
            stream.answer_close()


def _serve(stream: Stream, service: Callable[[], None]) -> None:
    try:
        service()
        stream.close()
    except LinkEnded:
        pass
