import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.virtual.simulated.adb_wire import (
    LIST_END_V1,
    LIST_END_V2,
    MAX_PAYLOAD_BYTES,
    Command,
    FileStat,
    Packet,
    PacketDecoder,
    ShellDecoder,
    ShellFrame,
    checksum,
    decode_sync_header,
    encode_banner,
    encode_dirent_v1,
    encode_dirent_v2,
    encode_packet,
    encode_shell_frame,
    encode_stat_v1,
    encode_stat_v2,
    encode_sync,
    encode_sync_number,
    parse_banner,
)

WORDS = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(
    Packet,
    command=st.sampled_from(Command),
    arg0=WORDS,
    arg1=WORDS,
    payload=st.binary(max_size=200),
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*pieces, data[start:]]


def test_the_header_is_six_little_endian_words() -> None:
    packet = Packet(command=Command.OPEN, arg0=7, payload=b"shell:ls\0")
    assert encode_packet(packet, with_checksum=True) == (
        b"OPEN" + struct.pack("<5I", 7, 0, 9, sum(b"shell:ls\0"), 0xB1BAAFB0) + b"shell:ls\0"
    )


def test_without_checksum_the_sum_is_zero() -> None:
    data = encode_packet(Packet(command=Command.WRTE, payload=b"x"), with_checksum=False)
    assert struct.unpack_from("<6I", data)[4] == 0


@given(
    packets=st.lists(PACKETS, max_size=4),
    sizes=st.lists(st.integers(0, 60), max_size=20),
    with_checksum=st.booleans(),
)
def test_packets_survive_any_cut(
    packets: list[Packet], sizes: list[int], with_checksum: bool
) -> None:
    stream = b"".join(encode_packet(p, with_checksum=with_checksum) for p in packets)
    decoder = PacketDecoder()
    decoder.verify_checksum = with_checksum
    assert [p for piece in cut(stream, sizes) for p in decoder.feed(piece)] == packets


@given(packet=PACKETS.filter(lambda p: p.payload), data=st.data())
def test_a_changed_payload_is_noticed_under_the_old_protocol(
    packet: Packet, data: st.DataObject
) -> None:
    encoded = bytearray(encode_packet(packet, with_checksum=True))
    encoded[data.draw(st.integers(24, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    decoder = PacketDecoder()
    decoder.verify_checksum = True
    with pytest.raises(ParseError, match="sum is wrong"):
        list(decoder.feed(bytes(encoded)))


@given(noise=st.binary(min_size=24, max_size=100))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ParseError, match="adb packet"):
        list(PacketDecoder().feed(noise))


def test_an_unknown_command_is_refused() -> None:
    header = struct.pack("<6I", 1, 0, 0, 0, 0, 1 ^ 0xFFFFFFFF)
    with pytest.raises(ParseError, match="unknown command"):
        list(PacketDecoder().feed(header))


def test_a_payload_over_the_limit_is_refused_before_it_arrives() -> None:
    size = MAX_PAYLOAD_BYTES + 1
    header = struct.pack("<6I", Command.WRTE, 1, 1, size, 0, Command.WRTE ^ 0xFFFFFFFF)
    with pytest.raises(ParseError, match="over 1 MiB"):
        list(PacketDecoder().feed(header))


def test_the_sum_adds_unsigned_bytes() -> None:
    assert checksum(b"\xff" * 10) == 2550


def test_a_phones_banner_names_properties_and_features() -> None:
    banner = encode_banner({"ro.product.model": "Simulated Phone"}, ("shell_v2", "cmd"))
    assert banner == b"device::ro.product.model=Simulated Phone;features=shell_v2,cmd"
    assert parse_banner(banner) == (
        "device",
        {"ro.product.model": "Simulated Phone"},
        frozenset({"shell_v2", "cmd"}),
    )


@pytest.mark.parametrize("banner", [b"host::", b"host::\0", b"host"])
def test_a_host_of_the_first_adb_has_no_features(banner: bytes) -> None:
    assert parse_banner(banner) == ("host", {}, frozenset())


@given(
    frames=st.lists(st.tuples(st.sampled_from(ShellFrame), st.binary(max_size=50)), max_size=6),
    sizes=st.lists(st.integers(0, 20), max_size=20),
)
def test_shell_frames_survive_any_cut(
    frames: list[tuple[ShellFrame, bytes]], sizes: list[int]
) -> None:
    stream = b"".join(encode_shell_frame(kind, body) for kind, body in frames)
    decoder = ShellDecoder()
    assert [f for piece in cut(stream, sizes) for f in decoder.feed(piece)] == frames


def test_an_unknown_shell_frame_is_refused() -> None:
    with pytest.raises(ParseError, match="unknown kind"):
        list(ShellDecoder().feed(b"\x09\0\0\0\0"))


def test_sync_messages_hold_a_length_or_a_number() -> None:
    assert encode_sync(b"SEND", b"/a,420") == b"SEND\x06\0\0\0/a,420"
    assert decode_sync_header(encode_sync_number(b"DONE", 1700000000)) == (b"DONE", 1700000000)


def test_answers_have_the_sizes_that_hosts_read() -> None:
    stat = FileStat(mode=0o100644, size_bytes=5, mtime_s=6)
    assert encode_stat_v1(stat) == struct.pack("<4sIII", b"STAT", 0o100644, 5, 6)
    assert len(encode_stat_v2(b"STA2", stat)) == 72
    assert len(encode_dirent_v1(b"abc", stat)) == 20 + 3
    assert len(encode_dirent_v2(b"abc", stat)) == 76 + 3
    assert (len(LIST_END_V1), len(LIST_END_V2)) == (20, 76)


def test_a_size_beyond_4_gib_is_whole_only_in_stat_v2() -> None:
    stat = FileStat(mode=0o100644, size_bytes=2**32 + 5)
    assert struct.unpack("<4sIII", encode_stat_v1(stat))[2] == 5
    assert struct.unpack_from("<Q", encode_stat_v2(b"STA2", stat), 40)[0] == 2**32 + 5
