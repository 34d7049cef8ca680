"""Run a reference engine in a process of its own: a model that crashes it costs no more."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, final

from pipeline.errors import ReferenceFailed

# A big network on a slow engine without SIMD kernels takes 0.1 s per sample.
DEADLINE_S: Final = 900.0
_ROOT: Final = Path(__file__).parent.parent.parent


@final
@dataclass(frozen=True, slots=True)
class Engine:
    """A reference engine: its package, and the module that runs it."""

    package: str
    module: str

    @property
    def title(self) -> str:
        """``ai-edge-litert 2.3.0``; without a version when it is not installed."""
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return self.package

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return self.title != self.package


LITERT: Final = Engine("ai-edge-litert", "pipeline.reference.litert")
TFLITE_RUNTIME: Final = Engine("tflite-runtime", "pipeline.reference.tflite_runtime")


def run_engine(engine: Engine, model: Path, inputs: Path, outputs: Path) -> None:
    """Write the engine's answers to ``inputs`` into ``outputs``.

    Raises:
        ReferenceFailed: not installed, refused the model, crashed, or took too long.
    """
    if not engine.installed:
        raise ReferenceFailed(engine.title, model.name, "it is not installed")
    argv = [sys.executable, "-m", engine.module, str(model), str(inputs), str(outputs)]
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, errors="replace",
            timeout=DEADLINE_S, env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise ReferenceFailed(engine.title, model.name, f"no end after {DEADLINE_S:.0f} s") from exc
    if done.returncode:
        raise ReferenceFailed(engine.title, model.name, _reason(done))


def _reason(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"ended by {signal.Signals(-done.returncode).name}"
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("INFO")]
    return " ".join(lines[-3:])[-400:] or f"exit {done.returncode}"
