"""A TCP proxy in this process that spoils the link to a phone, real or simulated.

The proxy knows nothing of adb; faults that need to (half a push, a killed command) are the
simulated phone's. Two proxies may be chained to spoil both ways differently.
"""

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self, final

HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024
# A limited rate is kept piece by piece, so many a second.
_PIECES_PER_S = 50
_BACKLOG = 16
_LINGER_RESET = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """Which bytes a fault counts and changes."""

    UP = "up"  # host to phone
    DOWN = "down"  # phone to host


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """What happens to the bytes of one connection that go ``way``; the others pass.

    Exactly so many bytes as an ``after`` says are delivered before it strikes.
    """

    way: Way = Way.UP
    rate_bytes_per_s: int | None = None
    delay_s: float = 0.0  # before every piece: a slow round trip
    blackhole_after_bytes: int | None = None  # no more is read or delivered; the link stays
    reset_after_bytes: int | None = None  # RST to the host
    end_after_bytes: int | None = None  # FIN to the host, as if the phone had closed
    hang: bool = False  # accept, then neither answer nor read
    times: int | None = None  # connections it happens to, then none; None: all

    def __post_init__(self) -> None:
        limits = (self.blackhole_after_bytes, self.reset_after_bytes, self.end_after_bytes)
        given = [limit for limit in limits if limit is not None]
        if len(given) > 1:
            raise ValueError("give one of blackhole_, reset_ and end_after_bytes; chain proxies")
        if any(limit < 0 for limit in given) or self.delay_s < 0:
            raise ValueError(f"bytes and delays are not negative: {self}")
        if self.rate_bytes_per_s is not None and self.rate_bytes_per_s <= 0:
            raise ValueError("rate_bytes_per_s is positive; a link that carries nothing is hang")

    @property
    def limit_bytes(self) -> int | None:
        """After how many bytes the link fails; None: never."""
        limits = (self.blackhole_after_bytes, self.reset_after_bytes, self.end_after_bytes)
        return next((limit for limit in limits if limit is not None), None)


CLEAN = Chaos()


@final
class ChaosProxy:
    """Listens on a port of its own and carries every connection to ``host:port``."""

    host = HOST

    def __init__(self, target_host: str, target_port: int, chaos: Chaos = CLEAN) -> None:
        self._target = (target_host, target_port)
        self._chaos = chaos
        self._left = chaos.times
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._pairs: list[_Pair] = []
        self._listener = socket.create_server((HOST, 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def endpoint(self) -> str:
        """``host:port``, to connect to instead of the phone."""
        return f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._lock:
            return len(self._pairs)

    def delivered_bytes(self, way: Way) -> int:
        """How many bytes reached the other side, all connections together."""
        with self._lock:
            return sum(pair.delivered_bytes[way] for pair in self._pairs)

    def close(self) -> None:
        """End the proxy and all its connections."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        while True:
            try:
                host, _ = self._listener.accept()
            except OSError:  # closed
                return
            pair = _Pair(host, self._target, self._next_chaos(), self._closing)
            with self._lock:
                self._pairs.append(pair)
            pair.start()

    def _next_chaos(self) -> Chaos:
        if self._left is None:
            return self._chaos
        self._left -= 1
        return self._chaos if self._left >= 0 else CLEAN

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@final
class _Pair:
    """One connection: the host's socket, the phone's, and a thread each way."""

    def __init__(
        self,
        host: socket.socket,
        target: tuple[str, int],
        chaos: Chaos,
        closing: threading.Event,
    ) -> None:
        self._host, self._target, self._chaos, self._closing = host, target, chaos, closing
        self._phone = socket.socket()
        self._threads: list[threading.Thread] = []
        self.delivered_bytes = {Way.UP: 0, Way.DOWN: 0}

    def start(self) -> None:
        if self._chaos.hang:
            return
        try:
            self._phone.connect(self._target)
        except OSError:
            self._reset()  # nothing to carry to: the host sees a reset
            return
        for sock in (self._host, self._phone):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = ((self._host, self._phone, Way.UP), (self._phone, self._host, Way.DOWN))
        self._threads = [
            threading.Thread(target=self._carry, args=way, daemon=True) for way in ways
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for sock in (self._host, self._phone):
            _shutdown(sock)
        for thread in self._threads:
            thread.join()
        for sock in (self._host, self._phone):
            sock.close()

    def _carry(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        chaos = self._chaos if way is self._chaos.way else CLEAN
        with contextlib.suppress(OSError):  # either side ended; the other is told below
            while data := source.recv(_piece_bytes(chaos)):
                if not self._deliver(data, sink, way, chaos):
                    return
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _deliver(self, data: bytes, sink: socket.socket, way: Way, chaos: Chaos) -> bool:
        """Carry one piece; False when the link failed."""
        rate = chaos.rate_bytes_per_s
        self._closing.wait(chaos.delay_s + (len(data) / rate if rate else 0.0))
        limit = chaos.limit_bytes
        room = len(data) if limit is None else limit - self.delivered_bytes[way]
        sink.sendall(data[:room])
        self.delivered_bytes[way] += min(room, len(data))
        if limit is None or room > len(data):
            return True
        self._fail(chaos)
        return False

    def _fail(self, chaos: Chaos) -> None:
        if chaos.blackhole_after_bytes is not None:
            self._closing.wait()
        elif chaos.reset_after_bytes is not None:
            self._reset()
        else:
            _shutdown(self._host)
        _shutdown(self._phone)

    def _reset(self) -> None:
        # close() with this option sends RST, once no thread reads any more: SHUT_RD wakes the
        # reader without the FIN that a full shutdown would send first.
        with contextlib.suppress(OSError):
            self._host.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self._host.shutdown(socket.SHUT_RD)
        self._host.close()


def _piece_bytes(chaos: Chaos) -> int:
    rate = chaos.rate_bytes_per_s
    return min(_PIECE_BYTES, max(1, rate // _PIECES_PER_S)) if rate else _PIECE_BYTES


def _shutdown(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
