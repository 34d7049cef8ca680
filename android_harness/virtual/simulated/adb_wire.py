"""The adb wire protocol as bytes: packets, shell frames, sync messages. Pure, no sockets.

Source: protocol.txt, SYNC.TXT and file_sync_protocol.h in AOSP packages/modules/adb;
shell_protocol.h there for the shell frames.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import final

from android_harness.errors import ParseError

# A_VERSION_MIN: every payload carries its byte sum; A_VERSION_SKIP_CHECKSUM: the sum is 0.
VERSION_CHECKSUM = 0x01000000
VERSION_NO_CHECKSUM = 0x01000001
MAX_PAYLOAD_BYTES = 1024 * 1024  # MAX_PAYLOAD in adb.h
SYNC_DATA_MAX_BYTES = 64 * 1024  # SYNC_DATA_MAX: no DATA message holds more
SYNC_PATH_MAX_BYTES = 1024  # longest path adbd takes

_HEADER = struct.Struct("<6I")
_SHELL_HEADER = struct.Struct("<BI")
_SYNC_HEADER = struct.Struct("<4sI")
_STAT_V1 = struct.Struct("<4sIII")  # id, mode, size, mtime
_STAT_V2 = struct.Struct("<4sIQQIIIIQqqq")
_DIRENT_V1 = struct.Struct("<4sIIII")  # id, mode, size, mtime, name length


class Command(IntEnum):
    """What a packet is: four ASCII letters, little-endian."""

    SYNC = 0x434E5953
    CNXN = 0x4E584E43
    AUTH = 0x48545541
    OPEN = 0x4E45504F
    OKAY = 0x59414B4F
    CLSE = 0x45534C43
    WRTE = 0x45545257


class AuthKind(IntEnum):
    """``arg0`` of an AUTH packet."""

    TOKEN = 1
    SIGNATURE = 2
    PUBLIC_KEY = 3


class ShellFrame(IntEnum):
    """The kinds of shell v2 frames."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One adb packet; for streams ``arg0`` is the sender's stream id, ``arg1`` the receiver's."""

    command: Command
    arg0: int = 0
    arg1: int = 0
    payload: bytes = b""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileStat:
    """What sync tells of one file; all zero and an errno when it cannot be read."""

    error: int = 0  # errno, stat_v2 only
    dev: int = 0
    ino: int = 0
    mode: int = 0  # st_mode, 0 = no such file (v1)
    nlink: int = 0
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    atime_s: int = 0
    mtime_s: int = 0
    ctime_s: int = 0


def checksum(payload: bytes) -> int:
    """The sum of all bytes, which protocol 0x01000000 calls data_crc32."""
    return sum(payload) & 0xFFFFFFFF


def encode_packet(packet: Packet, *, with_checksum: bool) -> bytes:
    """Header and payload, ready for one send."""
    size_bytes = len(packet.payload)
    total = checksum(packet.payload) if with_checksum else 0
    magic = packet.command ^ 0xFFFFFFFF
    fields = (packet.command, packet.arg0, packet.arg1, size_bytes, total, magic)
    return _HEADER.pack(*fields) + packet.payload


@final
class PacketDecoder:
    """Cuts a byte stream into packets; bytes may arrive in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.verify_checksum = False  # set once both sides agreed on protocol 0x01000000

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield every packet that ``data`` completes.

        Raises:
            ParseError: an unknown command, a wrong magic or sum, or a payload over 1 MiB.
        """
        self._buffer += data
        while (packet := self._take()) is not None:
            yield packet

    def _take(self) -> Packet | None:
        if len(self._buffer) < _HEADER.size:
            return None
        fields = _HEADER.unpack_from(self._buffer)
        command, arg0, arg1, size_bytes, total, magic = fields
        _check_header(command, size_bytes, magic)
        end = _HEADER.size + size_bytes
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[_HEADER.size : end])
        del self._buffer[:end]
        if self.verify_checksum and total != checksum(payload):
            raise ParseError("adb packet", payload[:32].hex(), "the payload's sum is wrong")
        return Packet(command=Command(command), arg0=arg0, arg1=arg1, payload=payload)


def _check_header(command: int, size_bytes: int, magic: int) -> None:
    facts = f"{command:#x} {size_bytes} {magic:#x}"
    if magic != command ^ 0xFFFFFFFF:
        raise ParseError("adb packet", facts, "magic is not the complement of the command")
    if command not in Command.__members__.values():
        raise ParseError("adb packet", facts, "unknown command")
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise ParseError("adb packet", facts, "the payload is over 1 MiB")


def encode_banner(properties: Mapping[str, str], features: Sequence[str]) -> bytes:
    """The payload of a phone's CNXN: ``device::name=value;...;features=a,b``."""
    pairs = [f"{name}={value}" for name, value in properties.items()]
    pairs.append("features=" + ",".join(features))
    return ("device::" + ";".join(pairs)).encode()


def parse_banner(payload: bytes) -> tuple[str, dict[str, str], frozenset[str]]:
    """System type, properties and features of a CNXN payload; what is missing is empty."""
    text = payload.rstrip(b"\0").decode("utf-8", "replace")
    system, _, rest = text.partition(":")
    _, _, pairs = rest.partition(":")
    # A host's banner starts with "host::features=", a phone's with "device::ro.product...".
    found = dict(pair.split("=", 1) for pair in pairs.split(";") if "=" in pair)
    features = frozenset(filter(None, found.pop("features", "").split(",")))
    return system, found, features


def encode_shell_frame(kind: ShellFrame, data: bytes) -> bytes:
    """One frame of a shell v2 stream; EXIT holds one byte, the exit code."""
    return _SHELL_HEADER.pack(kind, len(data)) + data


@final
class ShellDecoder:
    """Cuts a shell v2 stream into frames; frames may span packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[ShellFrame, bytes]]:
        """Yield every frame that ``data`` completes.

        Raises:
            ParseError: a frame of a kind that shell v2 does not have.
        """
        self._buffer += data
        while len(self._buffer) >= _SHELL_HEADER.size:
            kind, size_bytes = _SHELL_HEADER.unpack_from(self._buffer)
            end = _SHELL_HEADER.size + size_bytes
            if kind not in ShellFrame.__members__.values():
                raise ParseError("shell v2 frame", f"{kind} {size_bytes}", "unknown kind")
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[_SHELL_HEADER.size : end])
            del self._buffer[:end]
            yield ShellFrame(kind), body


def encode_sync(kind: bytes, data: bytes = b"") -> bytes:
    """A sync message with a length and data: requests, DATA, OKAY, FAIL."""
    return _SYNC_HEADER.pack(kind, len(data)) + data


def encode_sync_number(kind: bytes, number: int) -> bytes:
    """A sync message whose length field holds a number: DONE with the mtime."""
    return _SYNC_HEADER.pack(kind, number)


def decode_sync_header(data: bytes) -> tuple[bytes, int]:
    """Kind and length (or number) of a sync message of 8 bytes."""
    kind, number = _SYNC_HEADER.unpack(data)
    return kind, number


def encode_stat_v1(stat: FileStat) -> bytes:
    """The answer to STAT: sizes beyond 4 GiB wrap, as on a phone."""
    return _STAT_V1.pack(b"STAT", stat.mode, stat.size_bytes & 0xFFFFFFFF, stat.mtime_s)


def encode_stat_v2(kind: bytes, stat: FileStat) -> bytes:
    """The answer to STA2 or LST2 (72 bytes), and the head of a DNT2."""
    owner = (stat.mode, stat.nlink, stat.uid, stat.gid)
    times = (stat.atime_s, stat.mtime_s, stat.ctime_s)
    return _STAT_V2.pack(kind, stat.error, stat.dev, stat.ino, *owner, stat.size_bytes, *times)


def encode_dirent_v1(name: bytes, stat: FileStat) -> bytes:
    """One DENT of an answer to LIST."""
    fields = (stat.mode, stat.size_bytes & 0xFFFFFFFF, stat.mtime_s, len(name))
    return _DIRENT_V1.pack(b"DENT", *fields) + name


def encode_dirent_v2(name: bytes, stat: FileStat) -> bytes:
    """One DNT2 of an answer to LIS2."""
    return encode_stat_v2(b"DNT2", stat) + struct.pack("<I", len(name)) + name


# LIST and LIS2 end with a message as long as a DENT or DNT2 without a name.
LIST_END_V1 = b"DONE".ljust(_DIRENT_V1.size, b"\0")
LIST_END_V2 = b"DONE".ljust(_STAT_V2.size + 4, b"\0")
