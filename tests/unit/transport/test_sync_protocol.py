import io
import struct
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.transport.stream import Bytes, Stream
from android_harness.transport.sync_protocol import (
    RemoteStat,
    SyncProtocolError,
    SyncReader,
    SyncRefused,
    push_packets,
    request,
)


class Played(Stream):
    """A stream that says what it was given, in pieces."""

    max_packet_bytes = 4096

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = deque(pieces)

    def send(self, data: Bytes) -> None:
        raise AssertionError("nothing is sent here")

    def receive(self) -> Bytes:
        return self._pieces.popleft() if self._pieces else b""

    def answered(self) -> bool:
        return bool(self._pieces)

    def close(self) -> None:
        self._pieces.clear()


def cut(data: bytes, sizes: list[int]) -> Played:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return Played(*(piece for piece in [*pieces, data] if piece))


class Whole(io.BytesIO):
    """A file that, like a raw one, may give less than was asked for."""

    def __init__(self, data: bytes, at_most: int) -> None:
        super().__init__(data)
        self._at_most = at_most

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return super().readinto(buffer[: self._at_most])


def unpacked(data: bytes) -> tuple[bytes, bytes, int]:
    """SEND's path, the file, and DONE's time."""
    kind, length = struct.unpack_from("<4sI", data)
    assert kind == b"SEND"
    path, rest, whole = data[8 : 8 + length], data[8 + length :], b""
    while True:
        kind, length = struct.unpack_from("<4sI", rest)
        if kind == b"DONE":
            assert len(rest) == 8
            return path, whole, length
        assert kind == b"DATA"
        assert 0 < length <= 65_536
        whole, rest = whole + rest[8 : 8 + length], rest[8 + length :]


@given(st.binary(max_size=9000), st.integers(2048, 5000), st.integers(1, 4000))
def test_a_push_holds_the_whole_file(data: bytes, packet_bytes: int, at_most: int) -> None:
    packets, marks = [], []
    for packet, done in push_packets(Whole(data, at_most), "/p,q", 0o755, 12345, packet_bytes):
        assert len(packet) <= packet_bytes
        packets.append(bytes(packet))
        marks.append(done)
    assert unpacked(b"".join(packets)) == (b"/p,q,33261", data, 12345)
    assert marks[-1] == len(data)
    assert marks == sorted(marks)


def test_large_files_use_full_data_packets() -> None:
    data = bytes(1 << 21)
    packets = [bytes(p) for p, _ in push_packets(io.BytesIO(data), "/p", 0o644, 0, 1 << 20)]
    assert unpacked(b"".join(packets))[1] == data
    assert len(packets) == 3


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.lists(st.integers(1, 40)))
def test_a_pull_cut_anywhere_gives_the_whole_file(blocks: list[bytes], sizes: list[int]) -> None:
    data = b"".join(struct.pack("<4sI", b"DATA", len(b)) + b for b in blocks)
    reader = SyncReader(cut(data + struct.pack("<4sI", b"DONE", 0), sizes))
    assert b"".join(bytes(piece) for piece in reader.read_file()) == b"".join(blocks)


def test_a_refusal_in_a_pull_keeps_the_phones_words() -> None:
    words = b"open failed: Permission denied"
    reader = SyncReader(Played(struct.pack("<4sI", b"FAIL", len(words)), words))
    with pytest.raises(SyncRefused, match="Permission denied"):
        list(reader.read_file())


def test_a_pull_that_is_cut_off_is_no_file() -> None:
    reader = SyncReader(Played(struct.pack("<4sI", b"DATA", 10), b"half"))
    with pytest.raises(EOFError):
        list(reader.read_file())


@pytest.mark.parametrize("kind", [b"OKAY", b"\0\0\0\0", b"HTTP"])
def test_other_packets_in_a_pull_are_refused(kind: bytes) -> None:
    with pytest.raises(SyncProtocolError):
        list(SyncReader(Played(struct.pack("<4sI", kind, 0))).read_file())


def test_a_reason_without_end_is_refused() -> None:
    with pytest.raises(SyncProtocolError):
        SyncReader(Played(struct.pack("<4sI", b"FAIL", 1 << 31))).read_outcome()


def test_the_outcome_of_a_push() -> None:
    SyncReader(Played(struct.pack("<4sI", b"OKAY", 0))).read_outcome()
    with pytest.raises(SyncRefused, match="No space"):
        SyncReader(Played(struct.pack("<4sI", b"FAIL", 8), b"No space")).read_outcome()


def stat_v2(error: int, mode: int, size: int) -> bytes:
    return b"LST2" + struct.pack("<IQQIIIIQqqq", error, 1, 2, mode, 1, 0, 0, size, 0, 0, 0)


@pytest.mark.parametrize(
    ("version", "data", "size", "trouble"),
    [
        (1, b"STAT" + struct.pack("<III", 0o100644, 7, 0), 7, None),
        (1, b"STAT" + struct.pack("<III", 0, 0, 0), 0, "no such file"),
        (1, b"STAT" + struct.pack("<III", 0o40755, 0, 0), 0, "is a directory"),
        (2, stat_v2(0, 0o100644, 5 << 32), 5 << 32, None),
        (2, stat_v2(2, 0, 0), 0, "no such file"),
        (2, stat_v2(0, 0o120777, 9), 9, "is not a regular file"),
    ],
)
def test_what_the_phone_says_of_a_path(
    version: int, data: bytes, size: int, trouble: str | None
) -> None:
    found = SyncReader(Played(data)).read_stat(version)
    assert (found.size_bytes, found.trouble) == (size, trouble)


def test_an_answer_of_another_kind_is_refused() -> None:
    with pytest.raises(SyncProtocolError):
        SyncReader(Played(b"FAIL" + bytes(80))).read_stat(2)


def test_requests_carry_their_path_in_utf_8() -> None:
    assert request(b"RECV", "ü") == b"RECV\2\0\0\0\xc3\xbc"


def test_a_stat_of_nothing_is_no_file() -> None:
    assert RemoteStat(mode=0, size_bytes=0).trouble == "no such file"
