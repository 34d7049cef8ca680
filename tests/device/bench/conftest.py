"""The command as a user runs it: a process of its own, its own store, tiny models."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_bench.record import Bench, Block, Run
from device_bench.store import opened
from tests import tiny_models

# Enough for verdicts, short enough for tests.
QUICK = ("--blocks", "3", "--min-s", "0.01")


@dataclass(frozen=True)
class Ended:
    """A finished ``deploy-bench`` process and what it stored."""

    exit_code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def benches(self) -> tuple[Bench, ...]:
        with opened(self.out / "bench.sqlite") as store:
            return store.benches()

    @property
    def runs(self) -> tuple[Run, ...]:
        with opened(self.out / "bench.sqlite") as store:
            bench = store.benches()[0]
            phones = store.phones(bench.id)
            return tuple(run for p in phones for run in store.runs(bench.id, p.serial))

    @property
    def blocks(self) -> tuple[Block, ...]:
        with opened(self.out / "bench.sqlite") as store:
            bench = store.benches()[0]
            phones = store.phones(bench.id)
            return tuple(block for p in phones for block in store.blocks(bench.id, p.serial))


Command = Callable[..., Ended]


@pytest.fixture(scope="session")
def float_model(tmp_path_factory) -> Path:
    return tiny_models.float_convolution(tmp_path_factory.mktemp("model") / "float.tflite")


@pytest.fixture(scope="session")
def int8_model(tmp_path_factory) -> Path:
    return tiny_models.int8_convolution(tmp_path_factory.mktemp("model") / "int8.tflite")


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory) -> Path:
    """Takes about a millisecond, so that a block of it lasts as long as it is asked to."""
    return tiny_models.float_convolution(tmp_path_factory.mktemp("model") / "slow.tflite", side=128)


@pytest.fixture
def environment() -> dict[str, str]:
    """No adb server of this machine's user takes part."""
    return {**os.environ, "ANDROID_ADB_SERVER_PORT": "15038", "COLUMNS": "120"}


@pytest.fixture
def deploy_bench(tmp_path, environment) -> Command:
    def call(*arguments: object, timeout_s: float = 240) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "device_bench.cli", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr, tmp_path / "out")

    return call


@pytest.fixture
def bench(deploy_bench, tmp_path) -> Command:
    """``deploy-bench bench`` with quick blocks and a store of its own."""

    def call(*arguments: object, **options: float) -> Ended:
        own = ("--out", tmp_path / "out")
        return deploy_bench("bench", *QUICK, *arguments, *own, **options)

    return call
