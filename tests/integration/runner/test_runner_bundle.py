"""The bundle as a phone gets it: whole, portable, and honest about what is missing."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from android_harness.parse.runner import RunnerReport, parse_runner
from android_harness.runner.build import main
from android_harness.runner.bundle import Bundle, build_bundle, host_abi, load_bundle
from android_harness.runner.options import RunnerOptions

pytestmark = pytest.mark.slow

SHELL_UID = 2000  # Android's user of the adb shell
QUICK = RunnerOptions(warmup_count=0, warmup_s=0.0, min_s=0.0, max_runs=3)

_CHROOT = """
mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" || exit 99
shift
exec chroot "$@"
"""


@pytest.fixture
def phone_root(bundle: Bundle, models: dict[str, Path], tmp_path: Path) -> Path:
    """A root directory that holds the bundle and a model, and no C library."""
    root = tmp_path / "root"
    for folder in ("proc", "sys"):
        (root / folder).mkdir(parents=True)
    for file in bundle.files:
        shutil.copy(file.path, root / file.name)
    shutil.copy(models["int8"], root / "model.tflite")
    root.chmod(0o755)
    return root


def _in_chroot(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` as Android's shell user, in name spaces of its own."""
    user = f"--userspec={SHELL_UID}:{SHELL_UID}"
    enter = ("unshare", "--mount", "--pid", "--fork", "sh", "-c", _CHROOT, "sh", str(root))
    return subprocess.run(
        [*enter, user, str(root), *argv],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter another root directory")
def test_it_runs_where_there_is_no_c_library(bundle: Bundle, phone_root: Path) -> None:
    done = _in_chroot(phone_root, *bundle.command("model.tflite", QUICK))
    report = parse_runner(done.stdout)
    assert isinstance(report, RunnerReport), done.stderr
    assert report.engine.sha256 == bundle.engine_sha256
    assert len(report.latency_ns) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may enter another root directory")
def test_it_is_the_loader_that_makes_it_run(phone_root: Path) -> None:
    done = _in_chroot(phone_root, "./runner")
    assert done.returncode == 127
    assert "No such file" in done.stderr


def _machine(file: Path) -> int:
    return struct.unpack_from("<H", file.read_bytes()[:20], 18)[0]


@pytest.mark.parametrize(("abi", "machine"), [("x86_64", 62), ("arm64-v8a", 183)])
def test_every_file_is_of_the_abi(abi: str, machine: int) -> None:
    bundle = build_bundle(abi)
    assert {_machine(file.path) for file in bundle.files} == {machine}
    runnable = {file.name for file in bundle.files if file.executable}
    assert runnable == {"runner", bundle.launcher[0].removeprefix("./")}
    assert all(os.access(file.path, os.X_OK) == file.executable for file in bundle.files)


def test_both_abis_run_the_same_engine_version() -> None:
    versions = {build_bundle(abi).engine_version for abi in ("x86_64", "arm64-v8a")}
    assert len(versions) == 1


def test_a_second_build_changes_nothing(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    before = [file.path.stat().st_mtime_ns for file in bundle.files]
    assert main(["--abi", bundle.abi]) == 0
    assert "up to date" in capsys.readouterr().out
    assert [file.path.stat().st_mtime_ns for file in bundle.files] == before
    assert load_bundle(host_abi()) == bundle
