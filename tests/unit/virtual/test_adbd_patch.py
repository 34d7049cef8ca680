import struct

import pytest

from android_harness.errors import VirtualPhoneError
from android_harness.virtual.adbd_patch import segments, with_authentication, without_vsock

X86_64, AARCH64 = 0x3E, 0xB7
TEXT = b"some text\0ADB_EXTERNAL_STORAGE\0more"
LANDMARK = TEXT.index(b"ADB")
DATA_OFFSET, DATA_ADDRESS = 0x200, 0x10200
CODE_OFFSET, CODE_ADDRESS = 0x400, 0x20400
NOP = 0xD503201F


def elf(machine: int, code: bytes, text: bytes = TEXT) -> bytes:
    """A program with one segment of text and one of code, both away from their file offset."""
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 18, machine)
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<H", header, 56, 3)
    table = struct.pack("<IIQQQQQQ", 4, 4, 0, 0, 0, 0x600, 0, 1)  # a note: not loaded
    for flags, offset, address, size in (
        (4, DATA_OFFSET, DATA_ADDRESS, len(text)),
        (5, CODE_OFFSET, CODE_ADDRESS, len(code)),
    ):
        table += struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, size, size, 4096)
    data = bytes(header) + table
    data = data.ljust(DATA_OFFSET, b"\0") + text
    return data.ljust(CODE_OFFSET, b"\0") + code


def x86_store(at: int, wanted: int) -> bytes:
    """Store 0, then load the address ``wanted``, then call; placed at offset ``at`` of the code."""
    after_lea = CODE_ADDRESS + at + 3 + 7
    return b"\xc6\x00\x00\x48\x8d\x3d" + struct.pack("<i", wanted - after_lea) + b"\xe8\1\2\3\4"


def arm_adrp_add(at: int, wanted: int) -> list[int]:
    pages = (wanted >> 12) - ((CODE_ADDRESS + 4 * at) >> 12)
    adrp = 0x90000000 | (pages & 3) << 29 | ((pages >> 2) & 0x7FFFF) << 5
    return [adrp, NOP, 0x91000000 | (wanted & 0xFFF) << 10]


STRB_ZERO = 0x3900001F | 8 << 5 | 4 << 10  # strb wzr, [x8, #4]


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def test_segments_are_the_loaded_ones() -> None:
    data, code = segments(elf(X86_64, b"\x90" * 8))
    assert (data.offset, data.address, data.executable) == (DATA_OFFSET, DATA_ADDRESS, False)
    assert (code.offset, code.bytes, code.executable) == (CODE_OFFSET, 8, True)


def test_x86_64_store_beside_the_landmark_becomes_true() -> None:
    wanted = DATA_ADDRESS + LANDMARK
    decoy = x86_store(0, wanted + 1)  # loads another address: not ours
    original = elf(X86_64, decoy + x86_store(len(decoy), wanted))
    patched = with_authentication(original)
    changed = [at for at, (a, b) in enumerate(zip(original, patched, strict=True)) if a != b]
    assert changed == [CODE_OFFSET + len(decoy) + 2]
    assert patched[changed[0]] == 1


def test_x86_64_with_two_such_stores_is_refused() -> None:
    wanted = DATA_ADDRESS + LANDMARK
    first = x86_store(0, wanted)
    with pytest.raises(VirtualPhoneError, match="2 places"):
        with_authentication(elf(X86_64, first + x86_store(len(first), wanted)))


def test_aarch64_store_before_the_landmark_becomes_nothing() -> None:
    use = arm_adrp_add(2, DATA_ADDRESS + LANDMARK)
    code = words(NOP, STRB_ZERO, *use, *[NOP] * 20, STRB_ZERO)  # the last is too far away
    patched = with_authentication(elf(AARCH64, code))
    assert patched == elf(AARCH64, words(NOP, NOP, *use, *[NOP] * 20, STRB_ZERO))


def test_aarch64_with_a_near_address_is_found_by_adr() -> None:
    distance = DATA_ADDRESS + LANDMARK - CODE_ADDRESS  # negative
    adr = 0x10000000 | (distance & 3) << 29 | ((distance >> 2) & 0x7FFFF) << 5
    patched = with_authentication(elf(AARCH64, words(adr, STRB_ZERO)))
    assert patched == elf(AARCH64, words(adr, NOP))


def test_aarch64_without_a_store_is_refused() -> None:
    use = arm_adrp_add(0, DATA_ADDRESS + LANDMARK)
    with pytest.raises(VirtualPhoneError, match="0 places"):
        with_authentication(elf(AARCH64, words(*use)))


def test_program_without_the_landmark_is_refused() -> None:
    with pytest.raises(VirtualPhoneError, match="variable beside"):
        with_authentication(elf(X86_64, x86_store(0, 0), text=b"nothing here"))


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", elf(0x28, b"")])
def test_other_machines_are_refused(data: bytes) -> None:
    with pytest.raises(VirtualPhoneError, match="machine"):
        with_authentication(data)


def test_vsock_address_becomes_one_that_is_refused_and_nothing_moves() -> None:
    original = b"\0vsock:%u:%d\0vsock:%d\0tcp:%d\0"
    patched = without_vsock(original)
    assert len(patched) == len(original)
    assert patched == b"\0vsock:%u:%d\0vsock:x\0\0tcp:%d\0"


def test_vsock_address_must_be_there_once() -> None:
    with pytest.raises(VirtualPhoneError, match="vsock"):
        without_vsock(b"\0tcp:%d\0")
