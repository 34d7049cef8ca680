"""The packets of adb's file transfer; pure but for reading the file that is pushed.

Source: AOSP packages/modules/adb/SYNC.TXT, file_sync_protocol.h.
"""

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, final

from android_harness.transport.stream import Stream

_HEAD = struct.Struct("<4sI")
_STAT_V1 = struct.Struct("<III")  # mode, size, mtime
_STAT_V2 = struct.Struct("<IQQIIIIQqqq")  # error, dev, ino, mode, nlink, uid, gid, size, times
# SYNC_DATA_MAX: adbd drops the connection at a larger DATA packet.
_MAX_DATA_BYTES = 64 << 10
_MAX_REASON_BYTES = 64 << 10


class SyncProtocolError(ValueError):
    """The phone's packets do not follow the sync protocol."""


class SyncRefused(Exception):
    """The phone answered FAIL; holds its own words."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteStat:
    """What the phone says of a path, links not followed."""

    mode: int
    size_bytes: int

    @property
    def trouble(self) -> str | None:
        """Why this cannot be pulled as a file, or None."""
        if self.mode == 0:
            return "no such file"
        if stat.S_ISREG(self.mode):
            return None
        return "is a directory" if stat.S_ISDIR(self.mode) else "is not a regular file"


def request(kind: bytes, text: str) -> bytes:
    """A request with a path, e.g. ``RECV`` of ``/data/local/tmp/x``."""
    data = text.encode()
    return _HEAD.pack(kind, len(data)) + data


def push_packets(
    source: BinaryIO, remote: str, mode: int, mtime_s: int, packet_bytes: int
) -> Iterator[tuple[memoryview, int]]:
    """A whole push, cut into packets: SEND, DATA ..., DONE.

    The file is read straight into one buffer that is used again for every packet.

    Args:
        source: an unbuffered file.
        remote: where to on the phone.
        mode: permission bits.
        mtime_s: time of change that the file shall have on the phone, seconds since 1970.
        packet_bytes: size of a full packet, at least 2 KiB.

    Yields:
        The packet, valid until the next step, and how many bytes of the file it ends with.
    """
    buffer = bytearray(packet_bytes)
    view = memoryview(buffer)
    start = request(b"SEND", f"{remote},{stat.S_IFREG | mode}")
    used, done = len(start), 0
    view[:used] = start
    while True:
        room = min(packet_bytes - used - _HEAD.size, _MAX_DATA_BYTES)
        if room <= 0:
            yield view[:used], done
            used = 0
            continue
        got = source.readinto(view[used + _HEAD.size : used + _HEAD.size + room])  # type: ignore[attr-defined]
        if not got:
            break
        _HEAD.pack_into(buffer, used, b"DATA", got)
        used += _HEAD.size + got
        done += got
    _HEAD.pack_into(buffer, used, b"DONE", mtime_s)
    yield view[: used + _HEAD.size], done


@final
class SyncReader:
    """Reads answers off a sync stream, cut anywhere."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    def read_stat(self, version: int) -> RemoteStat:
        """The answer to STAT (1) or LST2 (2)."""
        kind = bytes(self._exactly(4))
        match version, kind:
            case 1, b"STAT":
                mode, size, _ = _STAT_V1.unpack(self._exactly(_STAT_V1.size))
                return RemoteStat(mode=mode, size_bytes=size)
            case 2, b"LST2":
                error, _, _, mode, _, _, _, size, *_ = _STAT_V2.unpack(self._exactly(_STAT_V2.size))
                return RemoteStat(mode=0 if error else mode, size_bytes=size)
            case _:
                raise SyncProtocolError(f"answer {kind!r} to a stat request")

    def read_outcome(self) -> None:
        """The answer to a push.

        Raises:
            SyncRefused: the phone's reason.
        """
        kind, length = self._head()
        if kind == b"FAIL":
            raise SyncRefused(self._reason(length))
        if kind != b"OKAY":
            raise SyncProtocolError(f"answer {kind!r} to a push")

    def read_file(self) -> Iterator[memoryview]:
        """The pieces of a pulled file, up to DONE.

        Raises:
            SyncRefused: the phone's reason.
        """
        while True:
            kind, length = self._head()
            match kind:
                case b"DATA":
                    yield from self._pieces(length)
                case b"DONE":
                    return
                case b"FAIL":
                    raise SyncRefused(self._reason(length))
                case _:
                    raise SyncProtocolError(f"packet {kind!r} in a pull")

    def _head(self) -> tuple[bytes, int]:
        kind, length = _HEAD.unpack(self._exactly(_HEAD.size))
        return kind, length

    def _reason(self, length: int) -> str:
        if length > _MAX_REASON_BYTES:
            raise SyncProtocolError(f"a reason of {length} bytes")
        return bytes(self._exactly(length)).decode("utf-8", "replace")

    def _pieces(self, length: int) -> Iterator[memoryview]:
        while length:
            piece = self._some(length)
            yield piece
            length -= len(piece)

    def _exactly(self, length: int) -> memoryview | bytes:
        first = self._some(length) if length else memoryview(b"")
        if len(first) == length:
            return first
        return bytes(first) + b"".join(bytes(p) for p in self._pieces(length - len(first)))

    def _some(self, at_most: int) -> memoryview:
        if not self._rest:
            self._rest = memoryview(self._stream.receive())
            if not self._rest:
                raise EOFError("the phone closed the file transfer")
        piece, self._rest = self._rest[:at_most], self._rest[at_most:]
        return piece
