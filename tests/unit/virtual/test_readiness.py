import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from android_harness.virtual.readiness import Answer, knock, wait


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += connection.recv(count - len(data))
    return data


@contextmanager
def phone(*answers: bytes | None) -> Iterator[int]:
    """A listener that gives each caller the next answer; None keeps silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                held.append(connection)
                command, _, maximum, length, check, magic = struct.unpack(
                    "<6I", receive(connection, 24)
                )
                banner = receive(connection, length)
                assert (command, magic) == (0x4E584E43, 0x4E584E43 ^ 0xFFFFFFFF)
                assert (maximum, check) == (1 << 20, sum(banner))
                if answer is not None:
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)
            for connection in held:
                connection.close()


def header(command: bytes) -> bytes:
    (number,) = struct.unpack("<I", command)
    return struct.pack("<6I", number, 0x01000001, 1 << 20, 0, 0, number ^ 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (header(b"CNXN"), Answer.CONNECTED),
        (header(b"AUTH"), Answer.ASKS_FOR_KEY),
        (header(b"CLSE"), Answer.NONE),
        (header(b"CNXN")[:10], Answer.NONE),
        (b"", Answer.NONE),
    ],
)
def test_answers_are_told_apart(answer: bytes, expected: Answer) -> None:
    with phone(answer) as port:
        assert knock(port, 5.0) is expected


def test_silence_is_no_answer() -> None:
    with phone(None) as port:
        assert knock(port, 0.05) is Answer.NONE


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert knock(port, 0.5) is Answer.NONE


def once_then(value: bool) -> Callable[[], bool]:
    """False at the first call, then ``value``."""
    values = iter([False])
    return lambda: next(values, value)


def test_waits_until_android_has_booted_too() -> None:
    with phone(header(b"CNXN")) as port:
        assert wait(port, 20.0, booted=once_then(True), alive=lambda: True)


def test_waits_until_adbd_answers_too() -> None:
    with phone(b"", b"", header(b"AUTH")) as port:
        assert wait(port, 20.0, booted=lambda: True, alive=lambda: True)


def test_gives_up_at_once_when_the_phone_has_ended() -> None:
    with phone(b"") as port:
        assert not wait(port, 600.0, booted=lambda: True, alive=lambda: False)


def test_gives_up_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not wait(port, 0.1, booted=lambda: True, alive=lambda: True)
