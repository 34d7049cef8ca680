import socket
import threading
from collections.abc import Iterator

import pytest

from android_harness.virtual.chaos import Chaos, ChaosProxy, Way

DEADLINE_S = 20.0


class EchoServer:
    """Sends back what it gets; remembers how much came."""

    def __init__(self) -> None:
        self.received = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                try:
                    while data := sock.recv(65536):
                        self.received += data
                        sock.sendall(data)
                except OSError:
                    pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


def connect(proxy: ChaosProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=DEADLINE_S)


def read(sock: socket.socket, size_bytes: int) -> bytes:
    """So many bytes, or fewer when the other side ended."""
    data = b""
    while len(data) < size_bytes and (piece := sock.recv(size_bytes - len(data))):
        data += piece
    return data


def echo(proxy: ChaosProxy, data: bytes) -> bytes:
    with connect(proxy) as sock:
        sock.sendall(data)
        return read(sock, len(data))


def test_a_clean_proxy_changes_nothing(server: EchoServer) -> None:
    data = bytes(range(256)) * 4000
    with ChaosProxy("127.0.0.1", server.port) as proxy:
        sender = connect(proxy)
        thread = threading.Thread(target=sender.sendall, args=(data,))
        thread.start()
        assert read(sender, len(data)) == data
        thread.join()
        sender.close()
    assert proxy.delivered_bytes(Way.UP) == proxy.delivered_bytes(Way.DOWN) == len(data)
    assert proxy.connections == 1


def test_a_slow_link_delivers_everything(server: EchoServer) -> None:
    with ChaosProxy("127.0.0.1", server.port, Chaos(rate_bytes_per_s=100_000)) as proxy:
        assert echo(proxy, b"x" * 10_000) == b"x" * 10_000


def test_a_delay_delivers_everything(server: EchoServer) -> None:
    with ChaosProxy("127.0.0.1", server.port, Chaos(delay_s=0.01, way=Way.DOWN)) as proxy:
        assert echo(proxy, b"hello") == b"hello"


def test_a_blackhole_takes_what_follows_and_says_nothing(server: EchoServer) -> None:
    chaos = Chaos(blackhole_after_bytes=1000)
    with ChaosProxy("127.0.0.1", server.port, chaos) as proxy, connect(proxy) as sock:
        sock.sendall(b"x" * 5000)
        assert read(sock, 1000) == b"x" * 1000
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert bytes(server.received) == b"x" * 1000


@pytest.mark.parametrize("way", list(Way))
def test_a_reset_is_a_reset_for_the_host(server: EchoServer, way: Way) -> None:
    chaos = Chaos(reset_after_bytes=1000, way=way)
    with ChaosProxy("127.0.0.1", server.port, chaos) as proxy, connect(proxy) as sock:
        sock.sendall(b"x" * 1000)
        with pytest.raises(ConnectionResetError):
            read(sock, 5000)
        assert proxy.delivered_bytes(way) == 1000


@pytest.mark.parametrize("way", list(Way))
def test_an_end_is_an_end_for_the_host(server: EchoServer, way: Way) -> None:
    chaos = Chaos(end_after_bytes=1000, way=way)
    with ChaosProxy("127.0.0.1", server.port, chaos) as proxy, connect(proxy) as sock:
        sock.sendall(b"x" * 1000)
        assert len(read(sock, 5000)) <= 1000
        assert proxy.delivered_bytes(way) == 1000


def test_a_hanging_link_accepts_and_is_silent(server: EchoServer) -> None:
    with ChaosProxy("127.0.0.1", server.port, Chaos(hang=True)) as proxy, connect(proxy) as sock:
        sock.sendall(b"hello")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert not server.received


def test_only_the_first_connections_are_spoiled(server: EchoServer) -> None:
    with ChaosProxy("127.0.0.1", server.port, Chaos(end_after_bytes=0, times=1)) as proxy:
        assert echo(proxy, b"hello") == b""
        assert echo(proxy, b"hello") == b"hello"


def test_an_absent_phone_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    # The reset may come before connecting is through.
    with (
        ChaosProxy("127.0.0.1", port) as proxy,
        pytest.raises(ConnectionResetError),
        connect(proxy) as sock,
    ):
        sock.recv(1)


def test_close_ends_open_connections(server: EchoServer) -> None:
    proxy = ChaosProxy("127.0.0.1", server.port)
    with connect(proxy) as sock:
        sock.sendall(b"x")
        assert read(sock, 1) == b"x"
        proxy.close()
        assert sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)


@pytest.mark.parametrize(
    "arguments",
    [
        {"reset_after_bytes": 1, "end_after_bytes": 1},
        {"reset_after_bytes": -1},
        {"delay_s": -0.1},
        {"rate_bytes_per_s": 0},
    ],
)
def test_nonsense_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Chaos(**arguments)
