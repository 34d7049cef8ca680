"""The ``sync:`` service: stat, list, push and pull of single files.

Source: adb/daemon/file_sync_service.cpp in AOSP; its words and its order of events are kept:
a refused push answers FAIL at once, then reads on to the host's DONE and closes the stream.
"""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, final

from android_harness.virtual.simulated.adb_wire import (
    LIST_END_V1,
    LIST_END_V2,
    SYNC_DATA_MAX_BYTES,
    SYNC_PATH_MAX_BYTES,
    FileStat,
    decode_sync_header,
    encode_dirent_v1,
    encode_dirent_v2,
    encode_stat_v1,
    encode_stat_v2,
    encode_sync,
    encode_sync_number,
)
from android_harness.virtual.simulated.faults import CorruptPush, During, RefusePush
from android_harness.virtual.simulated.inside import Inside
from android_harness.virtual.simulated.stream import LinkEnded, Stream

_HEADER_BYTES = 8
_DEFAULT_MODE = 0o644


class _Refused(Exception):
    """The phone answers FAIL with these words."""


def serve_sync(stream: Stream, inside: Inside) -> None:
    """Answer requests until QUIT or the first failed one.

    Raises:
        LinkEnded: the host or a fault ended the stream.
    """
    session = _Session(stream=stream, inside=inside)
    with contextlib.suppress(_SessionEnd):
        while True:
            session.answer()


class _SessionEnd(Exception):
    """QUIT, or an answer after which adbd closes."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    stream: Stream
    inside: Inside

    def answer(self) -> None:
        kind, size_bytes = decode_sync_header(self.stream.read_exactly(_HEADER_BYTES))
        if size_bytes > SYNC_PATH_MAX_BYTES:
            self._fail("path too long")
            raise _SessionEnd
        argument = self.stream.read_exactly(size_bytes).decode("utf-8", "surrogateescape")
        handler = self._handler(kind)
        if handler is None:
            self._fail(f"unknown command {int.from_bytes(kind, 'little'):08x}")
            raise _SessionEnd
        handler(argument)

    def _handler(self, kind: bytes) -> Callable[[str], None] | None:
        handlers: dict[bytes, Callable[[str], None]] = {
            b"STAT": lambda path: self.stream.write(encode_stat_v1(self._stat(path, link=True))),
            b"STA2": lambda path: self._stat_v2(b"STA2", path),
            b"LST2": lambda path: self._stat_v2(b"LST2", path),
            b"LIST": lambda path: self._list(path, encode_dirent_v1, LIST_END_V1),
            b"LIS2": lambda path: self._list(path, encode_dirent_v2, LIST_END_V2),
            b"SEND": self._receive_file,
            b"RECV": self._send_file,
            b"QUIT": self._quit,
        }
        return handlers.get(kind)

    def _quit(self, _: str) -> None:
        raise _SessionEnd

    def _fail(self, reason: str) -> None:
        self.stream.write(encode_sync(b"FAIL", reason.encode()))

    def _stat(self, path: str, *, link: bool) -> FileStat:
        return _stat_file(self.inside.root.locate(path), link=link)

    def _stat_v2(self, kind: bytes, path: str) -> None:
        self.stream.write(encode_stat_v2(kind, self._stat(path, link=kind == b"LST2")))

    def _list(self, path: str, encode: Callable[[bytes, FileStat], bytes], end: bytes) -> None:
        folder = self.inside.root.locate(path)
        names = (
            [".", "..", *sorted(entry.name for entry in folder.iterdir())]
            if folder.is_dir()
            else []
        )
        entries = [encode(os.fsencode(n), _stat_file(folder / n, link=True)) for n in names]
        self.stream.write(b"".join(entries) + end)

    def _send_file(self, path: str) -> None:
        """Answer RECV."""
        self.stream.link.pass_through(During.PULL, 0, b"", lambda _: None)
        try:
            source = self.inside.root.locate(path).open("rb")
        except IsADirectoryError:
            self._fail("read failed: Is a directory")
            return
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        with source:
            self._send_pieces(source)
        self.stream.write(encode_sync_number(b"DONE", 0))

    def _send_pieces(self, source: BinaryIO) -> None:
        done_bytes = 0
        while data := source.read(SYNC_DATA_MAX_BYTES):
            self.stream.link.pass_through(During.PULL, done_bytes, data, self._send_data)
            done_bytes += len(data)

    def _send_data(self, data: bytes) -> None:
        if data:
            self.stream.write(encode_sync(b"DATA", data))

    def _receive_file(self, argument: str) -> None:
        """Answer SEND: ``path,mode``."""
        path, _, mode_text = argument.rpartition(",")
        self.stream.link.pass_through(During.PUSH, 0, b"", lambda _: None)
        try:
            mtime_s = self._write_file(path, _parse_mode(mode_text))
        except _Refused as refusal:
            self._fail(str(refusal))
            self._discard()
            raise _SessionEnd from refusal
        target = self.inside.root.locate(path)
        os.utime(target, (mtime_s, mtime_s))
        self.stream.write(encode_sync(b"OKAY"))

    def _write_file(self, path: str, mode: int) -> int:
        """Write what DATA brings; the mtime of DONE. Whatever fails leaves no file."""
        self._check_path(path)
        target = self.inside.root.locate(path)
        incoming = _Incoming(path=path, inside=self.inside, left=_left_for(target, self.inside))
        try:
            with _create(target) as file:
                mtime_s = self._copy(incoming, file)
            target.chmod(mode)
        except (_Refused, LinkEnded):
            if not target.is_dir():
                target.unlink(missing_ok=True)
            raise
        return mtime_s

    def _check_path(self, path: str) -> None:
        refusal = self.inside.faults.strike_matching(RefusePush, path)
        if refusal is not None:
            raise _Refused(refusal.reason)
        if not self.inside.root.may_write(path):
            raise _Refused("couldn't create file: Read-only file system")

    def _copy(self, incoming: "_Incoming", file: BinaryIO) -> int:
        done_bytes = 0
        while True:
            kind, number = decode_sync_header(self.stream.read_exactly(_HEADER_BYTES))
            if kind == b"DONE":
                return number
            self._check_data(kind, number)
            data = incoming.alter(done_bytes, self.stream.read_exactly(number))
            self.stream.link.pass_through(
                During.PUSH, done_bytes, data, lambda passed: _write(file, passed)
            )
            done_bytes += number

    def _check_data(self, kind: bytes, size_bytes: int) -> None:
        if kind != b"DATA":
            raise _Refused(f"invalid data message {int.from_bytes(kind, 'little'):08x}")
        if size_bytes > SYNC_DATA_MAX_BYTES:
            self._fail("oversize data message")
            raise _SessionEnd

    def _discard(self) -> None:
        """Read what the host still sends of a refused file."""
        while True:
            kind, number = decode_sync_header(self.stream.read_exactly(_HEADER_BYTES))
            if kind != b"DATA":
                return
            self.stream.read_exactly(number)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Incoming:
    """A push on its way: does it fit, and does a fault change its bytes?"""

    path: str
    inside: Inside
    left: int | None

    def alter(self, done_bytes: int, data: bytes) -> bytes:
        end = done_bytes + len(data)
        if self.left is not None and end > self.left and self.inside.storage.strike():
            raise _Refused("write failed: No space left on device")
        fault = self.inside.faults.strike(
            CorruptPush,
            lambda fault: (
                done_bytes <= fault.offset_bytes < end
                and re.search(fault.matching, self.path) is not None
            ),
        )
        return data if fault is None else _flip(data, fault.offset_bytes - done_bytes)


def _flip(data: bytes, index: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]


def _left_for(target: Path, inside: Inside) -> int | None:
    """How many bytes a push to ``target``, which it replaces, may have."""
    left = inside.storage.left_bytes()
    if left is None:
        return None
    return left + (target.lstat().st_size if target.is_file() else 0)


def _create(target: Path) -> BinaryIO:
    # adbd makes missing parents, and replaces a link instead of following it.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        return target.open("wb")
    except OSError as error:
        raise _Refused(f"couldn't create file: {error.strerror}") from error


def _write(file: BinaryIO, data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:  # the host's own disk is full
        raise _Refused(f"write failed: {error.strerror}") from error


def _parse_mode(text: str) -> int:
    """The file's mode; adbd gives group and others what the owner has."""
    try:
        mode = int(text, 0)
    except ValueError:
        mode = _DEFAULT_MODE
    mode &= 0o777
    mode |= (mode >> 3) & 0o070
    return mode | ((mode >> 3) & 0o007)


def _stat_file(path: Path, *, link: bool) -> FileStat:
    try:
        found = path.lstat() if link else path.stat()
    except OSError as error:
        return FileStat(error=error.errno or 0)
    return FileStat(
        dev=found.st_dev,
        ino=found.st_ino,
        mode=found.st_mode,
        nlink=found.st_nlink,
        uid=found.st_uid,
        gid=found.st_gid,
        size_bytes=found.st_size,
        atime_s=int(found.st_atime),
        mtime_s=int(found.st_mtime),
        ctime_s=int(found.st_ctime),
    )
