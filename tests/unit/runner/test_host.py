"""run_on_host against shell scripts that stand in for the runner."""

import hashlib
from pathlib import Path

import pytest

from android_harness.errors import CommandTimeout, RunnerCrash, RunnerOutputError
from android_harness.runner.bundle import Bundle, BundleFile
from android_harness.runner.host import run_on_host
from android_harness.runner.options import RunnerOptions


def _bundle(folder: Path, script: str) -> Bundle:
    file = folder / "runner"
    file.write_text(script)
    digest = hashlib.sha256(script.encode()).hexdigest()
    entry = BundleFile(name="runner", path=file, sha256=digest, bytes=len(script), executable=True)
    return Bundle(
        abi="x86_64",
        files=(entry,),
        launcher=("/bin/sh", "./runner"),
        engine="./libLiteRt.so",
        engine_sha256="",
        engine_version="0",
    )


def test_a_signal_is_a_crash(tmp_path: Path) -> None:
    with pytest.raises(RunnerCrash) as caught:
        run_on_host(_bundle(tmp_path, "kill -SEGV $$"), Path("m"), RunnerOptions())
    assert caught.value.signal == 11


def test_no_end_in_time(tmp_path: Path) -> None:
    with pytest.raises(CommandTimeout):
        run_on_host(_bundle(tmp_path, "exec sleep 60"), Path("m"), RunnerOptions(), timeout_s=0.3)


def test_paths_are_the_callers_and_the_loader_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/foreign")
    script = 'echo "$PWD $LD_LIBRARY_PATH|$*"'
    options = RunnerOptions(input_path="in", output_path="out")
    with pytest.raises(RunnerOutputError) as caught:
        run_on_host(_bundle(tmp_path, script), Path("m.tflite"), options)
    said = caught.value.text_tail
    assert said.startswith(f"{tmp_path} |--model={elsewhere}/m.tflite ")
    assert f"--input={elsewhere}/in --output={elsewhere}/out" in said
