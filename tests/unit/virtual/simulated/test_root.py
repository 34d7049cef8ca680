from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.virtual.simulated.config import SimulatedConfig
from android_harness.virtual.simulated.root import OutputMap, PhoneRoot

ROOT = Path("/state/dir")


@pytest.fixture
def root(tmp_path: Path) -> PhoneRoot:
    return PhoneRoot(SimulatedConfig(state_dir=tmp_path))


@pytest.mark.parametrize(
    ("command", "rewritten"),
    [
        ("ls /data/local/tmp/x", "ls R/data/local/tmp/x"),
        ("cd /data/local/tmp&&ls", "cd R/data/local/tmp&&ls"),
        ("'/data/a b' \"/sdcard\"", "'R/data/a b' \"R/sdcard\""),
        ("x=/data/a:/system/bin", "x=R/data/a:R/system/bin"),
        ("--to=/data/a", "--to=R/data/a"),
        ("/system/bin/sh -c '/data/x'", "R/system/bin/sh -c 'R/data/x'"),
        ("cat /proc/sys/kernel/random/boot_id", "cat R/proc/sys/kernel/random/boot_id"),
        ("cat /sys/class/thermal/*/temp", "cat R/sys/class/thermal/*/temp"),
        ("cat <(/vendor/x)", "cat <(R/vendor/x)"),
    ],
)
def test_phone_paths_are_found_in_commands(root: PhoneRoot, command: str, rewritten: str) -> None:
    assert root.rewrite(command) == rewritten.replace("R/", f"{root.path}/")


@pytest.mark.parametrize(
    "command",
    [
        "ls /proc/meminfo /sys/devices/system/cpu /dev/null",
        "ls /database /data-old /systemd",
        "ls ../data x/data ./data ~/data $x/data ${x}/data",
        "cat /sys/class/net",
    ],
)
def test_other_paths_stay(root: PhoneRoot, command: str) -> None:
    assert root.rewrite(command) == command


def test_a_path_is_rewritten_once(root: PhoneRoot) -> None:
    once = root.rewrite("ls /data/local/tmp")
    assert root.rewrite(once) == once


@pytest.mark.parametrize(
    ("remote", "place"),
    [
        ("/data/local/tmp/x", "R/data/local/tmp/x"),
        ("data/x", "R/data/x"),
        ("/data/../../../etc/passwd", "R/etc/passwd"),
        ("//data//x/./y", "R/data/x/y"),
        ("/etc/passwd", "R/etc/passwd"),
        ("/", "R/"),
        ("/proc/cpuinfo", "/proc/cpuinfo"),
        ("/proc/../etc/passwd", "R/etc/passwd"),
        ("/sys/class/thermal/thermal_zone0", "R/sys/class/thermal/thermal_zone0"),
    ],
)
def test_paths_of_sync_cannot_leave_the_phone(root: PhoneRoot, remote: str, place: str) -> None:
    assert root.locate(remote) == Path(place.replace("R/", f"{root.path}/"))


@pytest.mark.parametrize(
    ("remote", "allowed"),
    [
        ("/data/local/tmp/x", True),
        ("/sdcard/x", True),
        ("/data/local/tmp", False),
        ("/data/local/tmpx", False),
        ("/data/local/tmp/../x", False),
        ("/system/bin/sh", False),
        ("", False),
    ],
)
def test_a_push_may_write_where_a_phone_lets_it(
    root: PhoneRoot, remote: str, allowed: bool
) -> None:
    assert root.may_write(remote) is allowed


def test_what_earlier_files_hold_counts_as_used(root: PhoneRoot) -> None:
    (root.path / "data/local/tmp/a").write_bytes(bytes(100))
    (root.path / "data/local/tmp/l").symlink_to("/dev/zero")
    assert root.used_bytes() == 100 + len("/dev/zero")


def test_a_boot_is_told_apart(root: PhoneRoot) -> None:
    before = root.boot_id
    root.boot()
    assert root.boot_id != before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"/state/dir/data/x", b"/data/x"),
        (b"a:/state/dir/a:/state/dir/b", b"a:/a:/b"),
        (b"/state/dir\n", b"/\n"),
        (b"/state/dir", b"/"),
        (b"/state/directory /state/dir.old", b"/state/directory /state/dir.old"),
        (b"/state/di", b"/state/di"),
    ],
)
def test_output_shows_the_phones_paths(text: bytes, shown: bytes) -> None:
    output = OutputMap(ROOT)
    assert output.feed(text) + output.flush() == shown


@given(
    text=st.lists(
        st.sampled_from([b"/state/dir", b"/", b"/sta", b"te/dir", b"x", b"\n", b"\0", b"dir"])
    ).map(b"".join),
    sizes=st.lists(st.integers(0, 12), max_size=10),
)
def test_the_map_does_not_depend_on_the_pieces(text: bytes, sizes: list[int]) -> None:
    whole, pieces = OutputMap(ROOT), OutputMap(ROOT)
    got, start = b"", 0
    for size in [*sizes, len(text)]:
        got += pieces.feed(text[start : start + size])
        start += size
    assert got + pieces.flush() == whole.feed(text) + whole.flush()


@given(data=st.binary(max_size=300).filter(lambda data: bytes(str(ROOT), "ascii") not in data))
def test_other_output_is_unchanged(data: bytes) -> None:
    output = OutputMap(ROOT)
    assert output.feed(data) + output.flush() == data
