"""Two changes to Debian's adbd, each made to one place of the program.

Debian builds adbd for development boards: it never asks for a key, and beside TCP it listens
on vsock, which knows no network name spaces: a container's phone would be open to every
program of the host. A phone asks for keys and listens where it was told to.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final, final

from android_harness.errors import VirtualPhoneError

_MACHINE_X86_64: Final = 0x3E
_MACHINE_AARCH64: Final = 0xB7
_LOADABLE: Final = 1
_EXECUTABLE: Final = 1

# main() reads this variable right beside the store that switches authentication off.
# Source: main() in AOSP packages/modules/adb/daemon/main.cpp and Debian's patch
# "adbd-don-t-require-authorization-on-Linux" of android-platform-tools.
_LANDMARK: Final = b"ADB_EXTERNAL_STORAGE\0"

_VSOCK_ADDRESS: Final = b"\0vsock:%d\0"
# adb's parser refuses the port, and adbd goes on with TCP alone.
_VSOCK_REFUSED: Final = b"\0vsock:x\0\0"

# movb $0,(%rax); lea offset(%rip),%rdi; call
_X86_STORE: Final = re.compile(rb"\xc6\x00\x00\x48\x8d\x3d(....)\xe8", re.DOTALL)
_X86_STORE_BYTES: Final = 3
_X86_LEA_BYTES: Final = 7
_ARM_NOP: Final = 0xD503201F
_ARM_BEFORE, _ARM_AFTER = 8, 6  # instructions around the landmark that may hold the store


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A loadable part of the program: where it lies in the file and in memory."""

    offset: int
    address: int
    bytes: int
    executable: bool


def without_vsock(adbd: bytes) -> bytes:
    """Make adbd listen on TCP alone.

    Raises:
        VirtualPhoneError: the address's pattern is not there exactly once.
    """
    if adbd.count(_VSOCK_ADDRESS) != 1:
        raise _unknown("its vsock address")
    return adbd.replace(_VSOCK_ADDRESS, _VSOCK_REFUSED)


def with_authentication(adbd: bytes) -> bytes:
    """Make adbd ask for a key: the variable's own default is left as it is.

    Args:
        adbd: an ELF program for x86-64 or AArch64.

    Raises:
        VirtualPhoneError: the store cannot be found exactly once, or the machine is another.
    """
    machine = struct.unpack_from("<H", adbd, 18)[0] if adbd[:5] == b"\x7fELF\x02" else None
    match machine:
        case int() if machine == _MACHINE_X86_64:
            return _patch_x86_64(adbd)
        case int() if machine == _MACHINE_AARCH64:
            return _patch_aarch64(adbd)
        case _:
            raise _unknown("its machine")


def segments(elf: bytes) -> tuple[Segment, ...]:
    """The loadable segments of a 64-bit little-endian program.

    Source: elf(5), Elf64_Ehdr and Elf64_Phdr.
    """
    start, count = *struct.unpack_from("<Q", elf, 32), *struct.unpack_from("<H", elf, 56)
    found = []
    for number in range(count):
        kind, flags, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", elf, start + 56 * number
        )
        if kind == _LOADABLE:
            executable = bool(flags & _EXECUTABLE)
            found.append(
                Segment(offset=offset, address=address, bytes=length, executable=executable)
            )
    return tuple(found)


def _patch_x86_64(adbd: bytes) -> bytes:
    parts = segments(adbd)
    wanted = _landmark(adbd, parts)
    sites = []
    for found in _X86_STORE.finditer(adbd):
        lea = _address(parts, found.start() + _X86_STORE_BYTES)
        (distance,) = struct.unpack("<i", found[1])
        if lea is not None and lea + _X86_LEA_BYTES + distance == wanted:
            sites.append(found.start() + 2)  # the value that is stored
    site = _only(sites)
    return adbd[:site] + b"\x01" + adbd[site + 1 :]


def _patch_aarch64(adbd: bytes) -> bytes:
    parts = segments(adbd)
    wanted = _landmark(adbd, parts)
    code = next((part for part in parts if part.executable), None)
    if code is None:
        raise _unknown("its code")
    words = struct.unpack_from(f"<{code.bytes // 4}I", adbd, code.offset)
    sites = {
        near
        for use in _arm_uses(words, code.address, wanted)
        for near in range(max(use - _ARM_BEFORE, 0), min(use + _ARM_AFTER, len(words)))
        if words[near] & 0xFFC0001F == 0x3900001F  # strb wzr, [xN, #offset]
    }
    site = code.offset + 4 * _only(sorted(sites))
    return adbd[:site] + struct.pack("<I", _ARM_NOP) + adbd[site + 4 :]


def _arm_uses(words: tuple[int, ...], address: int, wanted: int) -> list[int]:
    """Where x0 is given the address ``wanted``: by adr, or by adrp and an add soon after.

    Source: Arm Architecture Reference Manual for A-profile, ADR, ADRP, ADD (immediate).
    """
    uses = []
    for index, word in enumerate(words):
        if word & 0x1F00001F != 0x10000000:  # adr or adrp with x0
            continue
        immediate = ((word >> 29) & 3) | (((word >> 5) & 0x7FFFF) << 2)
        immediate -= (immediate >> 20) << 21
        here = address + 4 * index
        if not word >> 31:
            uses += [index] if here + immediate == wanted else []
            continue
        page = (here & ~0xFFF) + (immediate << 12)
        uses += [
            later
            for later in range(index + 1, min(index + 8, len(words)))
            if words[later] & 0xFFC003FF == 0x91000000  # add x0, x0, #offset
            and page + ((words[later] >> 10) & 0xFFF) == wanted
        ]
    return uses


def _landmark(adbd: bytes, parts: tuple[Segment, ...]) -> int:
    offset = adbd.find(_LANDMARK)
    address = _address(parts, offset) if offset >= 0 else None
    if address is None:
        raise _unknown("the variable beside its authentication switch")
    return address


def _address(parts: tuple[Segment, ...], offset: int) -> int | None:
    for part in parts:
        if part.offset <= offset < part.offset + part.bytes:
            return part.address + offset - part.offset
    return None


def _only(sites: list[int]) -> int:
    if len(sites) != 1:
        raise _unknown(f"its authentication switch ({len(sites)} places look like it)")
    return sites[0]


def _unknown(what: str) -> VirtualPhoneError:
    reason = f"this adbd is not the one known: {what} was not found; use Debian trixie's package"
    return VirtualPhoneError("image", reason)
