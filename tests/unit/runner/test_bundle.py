import hashlib
import json
from pathlib import Path

import pytest

from android_harness import places
from android_harness.errors import WrongAbi
from android_harness.runner.bundle import SUPPORTED_ABIS, Bundle, host_abi, load_bundle
from android_harness.runner.options import RunnerOptions

FILES = {"ld-linux-x86-64.so.2": b"loader", "runner": b"runner", "libLiteRt.so": b"engine"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle on disk, as a build leaves it."""
    monkeypatch.setattr(places, "RUNNERS", tmp_path)
    folder = tmp_path / "x86_64"
    (folder / "bundle").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "bundle" / name).write_bytes(content)
    manifest = {
        "schema_version": 1,
        "abi": "x86_64",
        "inputs": "00",
        "engine_version": "2.3.0",
        "packages": [],
        "files": [
            {
                "name": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "executable": name != "libLiteRt.so",
            }
            for name, content in FILES.items()
        ],
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def _load() -> Bundle:
    bundle = load_bundle("x86_64")
    assert bundle is not None
    return bundle


def test_a_bundle_knows_its_files(folder: Path) -> None:
    bundle = _load()
    assert bundle.directory == folder / "bundle"
    assert {file.name: file.path.read_bytes() for file in bundle.files} == FILES
    assert bundle.bytes == 18
    assert bundle.engine_sha256 == hashlib.sha256(b"engine").hexdigest()
    assert [file.name for file in bundle.files if not file.executable] == ["libLiteRt.so"]


@pytest.mark.usefixtures("folder")
def test_the_command_starts_with_the_bundles_own_loader() -> None:
    command = _load().command("m.tflite", RunnerOptions(threads=3))
    assert command[:4] == ("./ld-linux-x86-64.so.2", "--library-path", ".", "./runner")
    assert command[4:7] == ("--model=m.tflite", "--engine=./libLiteRt.so", "--threads=3")


def test_what_was_never_built_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "RUNNERS", tmp_path)
    assert load_bundle("x86_64") is None


@pytest.mark.parametrize("content", [None, b"", b"engine+", b"Engine"])
def test_a_file_that_is_missing_or_changed_makes_it_none(
    folder: Path, content: bytes | None
) -> None:
    file = folder / "bundle" / "libLiteRt.so"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert load_bundle("x86_64") is None


@pytest.mark.parametrize("text", ["", "{", "{}", '{"schema_version": 2}', "[]"])
def test_a_manifest_of_another_kind_makes_it_none(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    assert load_bundle("x86_64") is None


def test_an_abi_without_runner_is_refused_in_words() -> None:
    with pytest.raises(WrongAbi, match="built for x86_64, arm64-v8a"):
        load_bundle("armeabi-v7a")


def test_this_host_has_an_abi() -> None:
    assert host_abi() in SUPPORTED_ABIS
