import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from android_harness.virtual import proxy


@contextmanager
def carried() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends that are joined by ``carry`` in both directions."""
    client, outer = socket.socketpair()
    inner, phone = socket.socketpair()
    pairs = ((outer, inner), (inner, outer))
    threads = [threading.Thread(target=proxy.carry, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    try:
        yield client, phone
    finally:
        for end in (client, phone):
            end.close()
        for thread in threads:
            thread.join(10)
        for end in (outer, inner):
            end.close()


def read_all(end: socket.socket) -> bytes:
    data = b""
    while more := end.recv(1 << 16):
        data += more
    return data


def test_bytes_arrive_whole_and_in_order_both_ways() -> None:
    data = bytes(range(256)) * 8192
    with carried() as (client, phone):
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(1)))
        sender.start()
        assert read_all(phone) == data
        sender.join(10)
        phone.sendall(b"answer")  # the other way stays open
        phone.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"answer"


def test_end_of_one_side_ends_the_other() -> None:
    with carried() as (client, phone):
        phone.close()
        assert client.recv(1) == b""


def test_network_of_a_process_that_is_not_there_is_refused() -> None:
    with pytest.raises(FileNotFoundError):
        proxy.enter_network(2**22 + 1)
