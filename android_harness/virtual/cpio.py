"""Write cpio archives in the form Linux unpacks as its first file system (newc).

Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux source.
"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

_MAGIC = "070701"
_END = "TRAILER!!!"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, directory or symbolic link; it belongs to root and has no time of its own."""

    path: str  # relative to the archive's root, without "./"
    mode: int  # type and permission bits
    data: bytes = b""  # a file's content, or a link's target

    @classmethod
    def file(cls, path: str, data: bytes, permissions: int = 0o644) -> "Entry":
        """A regular file."""
        return cls(path=path, mode=stat.S_IFREG | permissions, data=data)


def entries_below(root: Path) -> Iterator[Entry]:
    """Everything below ``root``, parents first, in an order that does not depend on the disk."""
    for path in sorted(root.rglob("*")):
        mode, name = path.lstat().st_mode, path.relative_to(root).as_posix()
        if stat.S_ISLNK(mode):
            yield Entry(path=name, mode=mode, data=str(path.readlink()).encode())
        elif stat.S_ISREG(mode):
            yield Entry(path=name, mode=mode, data=path.read_bytes())
        else:
            yield Entry(path=name, mode=mode)


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive of ``entries``; several archives one after another are unpacked as one."""
    members = [_member(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*members, _member(0, Entry(path=_END, mode=0))])


def _member(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
    # namesize, check
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = _MAGIC + "".join(f"{field:08x}" for field in fields)
    return _padded(header.encode() + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
