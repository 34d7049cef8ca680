import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from android_harness.virtual.cpio import Entry, entries_below, pack

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
ENTRIES = st.builds(
    lambda path, data, permissions: Entry.file(path, data, permissions),
    NAMES.filter(lambda name: name != "TRAILER!!!"),
    st.binary(max_size=50),
    st.integers(0, 0o777),
)


def unpack(archive: bytes) -> list[Entry]:
    """Read an archive by the format's description, every member at a multiple of four."""
    found, at = [], 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        start = -(-(at + 110 + name_size) // 4) * 4
        at = -(-(start + size) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert at == len(archive)
            return found
        data = archive[start : start + size]
        found.append(Entry(path=name[:-1].decode(), mode=mode, data=data))


@given(st.lists(ENTRIES, max_size=5))
def test_what_is_packed_can_be_read(entries: list[Entry]) -> None:
    assert unpack(pack(entries)) == entries


def test_everything_belongs_to_root_and_has_no_time() -> None:
    archive = pack([Entry.file("a", b"x")])
    uid, gid, mtime = archive[22:30], archive[30:38], archive[46:54]
    assert (uid, gid, mtime) == (b"00000000",) * 3


def test_tree_comes_parents_first_with_links_and_modes(tmp_path: Path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "b/c/program").write_bytes(b"\x7fELF")
    (tmp_path / "b/c/program").chmod(0o755)
    (tmp_path / "a").symlink_to("/b/c/program")
    link, outer, inner, program = unpack(pack(entries_below(tmp_path)))
    assert (link.path, link.data, stat.S_ISLNK(link.mode)) == ("a", b"/b/c/program", True)
    assert (outer.path, inner.path) == ("b", "b/c")
    assert stat.S_ISDIR(outer.mode)
    assert (program.path, program.data) == ("b/c/program", b"\x7fELF")
    assert program.mode == stat.S_IFREG | 0o755
