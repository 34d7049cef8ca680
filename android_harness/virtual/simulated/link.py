"""One connection to a simulated phone: handshake, its streams, and the link's faults."""

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import final

from android_harness.errors import ParseError
from android_harness.virtual.simulated.adb_wire import (
    VERSION_CHECKSUM,
    VERSION_NO_CHECKSUM,
    AuthKind,
    Command,
    Packet,
    PacketDecoder,
    encode_banner,
    encode_packet,
)
from android_harness.virtual.simulated.config import SimulatedConfig
from android_harness.virtual.simulated.faults import (
    DropConnection,
    During,
    FaultPlan,
    Freeze,
)
from android_harness.virtual.simulated.keys import (
    TOKEN_BYTES,
    is_signed_by,
)
from android_harness.virtual.simulated.manner import Manner
from android_harness.virtual.simulated.stream import LinkEnded, Stream

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 256 * 1024
# A slow link moves so many pieces a second.
_PIECES_PER_S = 20
# How long a dropped connection stays half open, so that the host sees an end and no reset.
_DROPPED_OPEN_S = 5.0
# A service that still sends after so long is ended by FIN, then RST.
_RESET_JOIN_S = 0.5
_LINGER_RESET = struct.pack("ii", 1, 0)


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
        self._resetting = False
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
        if not self._resetting or self._join(_RESET_JOIN_S):
            self.end()
        self._join(None)
        self._sock.close()

    def _join(self, limit_s: float | None) -> bool:
        """Wait for the services; whether one still runs."""
        for thread in self._threads:
            thread.join(limit_s)
        return any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """End the connection; ``run`` returns soon after."""
        self._ended.set()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _end_by_reset(self) -> None:
        # The close that follows sends RST; a full shutdown would send FIN before it.
        self._resetting = True
        self._ended.set()
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self._sock.shutdown(socket.SHUT_RD)

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
            self._end_by_reset()
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
