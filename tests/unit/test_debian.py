import multiprocessing
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness import debian, places
from android_harness.errors import PackageUnavailable, ToolMissing

needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed"
)

DEB822 = """\
# kept by the installer
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By:
 /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/k.gpg] http://third.example/apt bookworm main # comment
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib
"""


def etc(folder: Path, files: dict[str, str]) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_deb822_stanzas_are_read_and_disabled_ones_left_out() -> None:
    first, second = debian.parse_deb822(DEB822)
    assert first.uri == "http://mirror.example/debian/"
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.components == ("main", "non-free-firmware")
    assert second.suites == ("bookworm-security",)


def test_only_debians_main_archive_counts() -> None:
    main, security = debian.parse_deb822(DEB822)
    assert main.is_debian_main
    assert not security.is_debian_main


def test_one_line_form_keeps_options_apart_and_skips_sources_and_comments() -> None:
    third, main = debian.parse_one_line(ONE_LINE)
    assert (third.uri, third.components) == ("http://third.example/apt", ("main",))
    assert third.signed_by == "signed-by=/etc/k.gpg"
    assert (main.uri, main.components) == ("http://mirror.example/debian", ("main", "contrib"))


def test_third_party_with_debians_suite_names_is_not_taken() -> None:
    third, main = debian.parse_one_line(ONE_LINE)
    assert not third.is_debian_main
    assert main.is_debian_main


def test_flat_archive_has_no_components() -> None:
    (flat,) = debian.parse_one_line("deb http://flat.example/debian ./\n")
    assert flat.components == ()
    assert not flat.is_debian_main


def test_another_vendors_folder_called_debian_needs_the_main_component() -> None:
    (vendor,) = debian.parse_one_line("deb http://vendor.example/linux/debian bookworm stable")
    assert not vendor.is_debian_main


def test_mirror_list_of_cloud_images_is_a_mirror() -> None:
    (cloud,) = debian.parse_one_line("deb mirror+file:/etc/apt/mirrors/debian.list trixie main")
    assert cloud.is_debian_main


def test_mirror_comes_from_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    third = "deb http://third.example/x bookworm main\n"
    files = {"sources.list.d/a.list": third, "sources.list.d/debian.sources": DEB822}
    folder = etc(tmp_path, files)
    assert debian.find_mirror(folder) == "http://mirror.example/debian/"


def test_environment_wins_over_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://mine.example/debian")
    assert debian.find_mirror(tmp_path) == "http://mine.example/debian"


def test_host_without_debian_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    folder = etc(tmp_path, {"sources.list": "deb http://u.example/ubuntu noble main universe\n"})
    with pytest.raises(PackageUnavailable, match=debian.MIRROR_VARIABLE):
        debian.find_mirror(folder)


@given(st.text())
def test_any_text_is_read_without_a_crash(text: str) -> None:
    for source in (*debian.parse_deb822(text), *debian.parse_one_line(text)):
        assert source.uri.split() == [source.uri]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one package, on a host that has no way to fetch another."""
    monkeypatch.setattr(places, "DEBS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "no-tools"))
    folder = tmp_path / "trixie-arm64"
    folder.mkdir()
    (folder / "mksh_59c-41_arm64.deb").touch()
    return folder


def test_cached_packages_need_no_tools_and_keep_the_order(cache: Path) -> None:
    (cache / "libc6_2.41_arm64.deb").touch()
    (cache / "libc6-dev_2.41_arm64.deb").touch()
    names = [deb.name for deb in debian.fetch(["mksh", "libc6", "mksh"], "arm64")]
    assert names == ["mksh_59c-41_arm64.deb", "libc6_2.41_arm64.deb", "mksh_59c-41_arm64.deb"]


@pytest.mark.usefixtures("cache")
def test_missing_package_without_apt_holds_the_install_line() -> None:
    with pytest.raises(ToolMissing, match="apt-get install apt"):
        debian.fetch(["mksh", "adbd"], "arm64")


@pytest.mark.usefixtures("cache")
def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(PackageUnavailable, match="amd64, arm64"):
        debian.fetch(["mksh"], "riscv64")


def fake_apt(folder: Path, script: str) -> None:
    for tool, body in {"apt-get": script, "dpkg-deb": "exit 0"}.items():
        (folder / tool).write_text(f"#!/bin/sh\n{body}\n")
        (folder / tool).chmod(0o755)


@pytest.fixture
def apt_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose apt-get is the test's own script; returns the folder of its programs."""
    tools, keyring = tmp_path / "tools", tmp_path / "keyring.gpg"
    tools.mkdir()
    keyring.touch()
    monkeypatch.setattr(places, "DEBS", tmp_path / "debs")
    monkeypatch.setattr(debian, "_KEYRINGS", (keyring,))
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv(debian.MIRROR_VARIABLE, "http://mine.example/debian")
    return tools


def test_apt_uses_only_its_own_state(apt_host: Path, tmp_path: Path) -> None:
    fake_apt(
        apt_host,
        f'case "$*" in *download*) : >mksh_1_amd64.deb; cp "$APT_CONFIG" {tmp_path}/seen;; esac',
    )
    (deb,) = debian.fetch(["mksh"], "amd64")
    seen = (tmp_path / "seen").read_text()
    assert deb == tmp_path / "debs/trixie-amd64/mksh_1_amd64.deb"
    assert 'Dir::Etc::Parts "/etc' not in seen
    assert f'Dir::State::Lists "{tmp_path}/debs/trixie-amd64/.apt/lists";' in seen
    sources = (tmp_path / "debs/trixie-amd64/.apt/sources.list").read_text()
    assert sources == (
        f"deb [arch=amd64 signed-by={tmp_path}/keyring.gpg] "
        "http://mine.example/debian trixie main\n"
    )


def test_stale_lists_are_refreshed_once(apt_host: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake_apt(
        apt_host,
        f"""echo "$2" >>{log}
        [ "$2" = download ] || exit 0
        [ "$(grep -c update {log})" = 2 ] || {{ echo 404 >&2; exit 100; }}
        : >mksh_2_amd64.deb""",
    )
    debian.fetch(["mksh"], "amd64")
    assert log.read_text().split() == ["update", "download", "update", "download"]


def test_apts_own_words_are_in_the_error(apt_host: Path) -> None:
    fake_apt(
        apt_host, '[ "$2" = update ] || { echo "E: Unable to locate package x" >&2; exit 100; }'
    )
    with pytest.raises(PackageUnavailable, match="Unable to locate package x"):
        debian.fetch(["x"], "amd64")


def test_package_that_apt_left_out_is_named(apt_host: Path) -> None:
    fake_apt(apt_host, '[ "$2" = update ] || : >mksh_2_amd64.deb')
    with pytest.raises(PackageUnavailable, match="adbd"):
        debian.fetch(["mksh", "adbd"], "amd64")


def test_two_processes_download_once(apt_host: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake_apt(
        apt_host, f'echo "$2" >>{log}; [ "$2" = update ] || {{ sleep 0.2; : >mksh_2_amd64.deb; }}'
    )
    both = multiprocessing.get_context("fork").Pool(2)
    with both:
        results = both.starmap(debian.fetch, [(["mksh"], "amd64"), (["mksh"], "amd64")])
    assert results[0] == results[1]
    assert log.read_text().split() == ["update", "download"]


@needs_dpkg
def test_broken_package_says_to_delete_it(tmp_path: Path) -> None:
    broken = tmp_path / "x_1_amd64.deb"
    broken.write_bytes(b"not a package")
    with pytest.raises(PackageUnavailable, match="delete the file"):
        debian.unpack(broken, tmp_path / "into")


@needs_dpkg
def test_package_is_unpacked_and_described(tmp_path: Path) -> None:
    control = tmp_path / "tree/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        "Package: x\nVersion: 1.2\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    )
    (tmp_path / "tree/usr").mkdir()
    (tmp_path / "tree/usr/file").write_text("content")
    deb = tmp_path / "x.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tmp_path / "tree", deb],
        check=True,
        capture_output=True,
    )
    debian.unpack(deb, tmp_path / "new/into")
    assert (tmp_path / "new/into/usr/file").read_text() == "content"
    assert debian.field(deb, "Version") == "1.2"
    assert debian.field(deb, "Depends") == ""
