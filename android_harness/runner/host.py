"""The runner on this host: for fidelity ``host``, and for judging a model before a phone does."""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from android_harness.errors import CommandTimeout
from android_harness.parse.runner import RunnerReport
from android_harness.runner.bundle import Bundle
from android_harness.runner.options import RunnerOptions
from android_harness.runner.outcome import judge

ENDPOINT = "this host"
# Beyond warm-up and timed loop: loading, compiling, the first inference and K samples.
_ALLOWANCE_S = 120.0
# Either would put the host's libraries among the bundle's.
_FOREIGN_LOADER_VARIABLES = ("LD_PRELOAD", "LD_LIBRARY_PATH")


def run_on_host(
    bundle: Bundle, model: Path, options: RunnerOptions, timeout_s: float | None = None
) -> RunnerReport:
    """Run ``model`` once on this host; paths in ``options`` are the host's.

    Args:
        bundle: of ``host_abi()``.
        model: the .tflite.
        options: what to run.
        timeout_s: None: what the options allow, and two minutes.

    Raises:
        ModelRejected, RunnerRefused, RunnerCrash, RunnerOutputError: as ``judge`` says.
        CommandTimeout: no end in time; the process was killed.
    """
    argv = bundle.command(str(model.absolute()), _with_absolute_paths(options))
    limit_s = 2 * options.max_s + _ALLOWANCE_S if timeout_s is None else timeout_s
    try:
        done = subprocess.run(
            argv,
            cwd=bundle.directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise CommandTimeout(ENDPOINT, shlex.join(argv), limit_s) from exc
    return judge(ENDPOINT, done.returncode, done.stdout, done.stderr)


def _with_absolute_paths(options: RunnerOptions) -> RunnerOptions:
    """The process starts in the bundle's directory, not in the caller's."""
    return replace(
        options,
        input_path=_absolute(options.input_path),
        output_path=_absolute(options.output_path),
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _FOREIGN_LOADER_VARIABLES}
