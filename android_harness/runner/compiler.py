"""The runner's binary: our C sources, one compiler from PyPI for every target."""

import hashlib
import importlib.util
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from android_harness import places
from android_harness.errors import CommandFailed, ToolMissing
from android_harness.runner.abi import Abi

log = logging.getLogger(__name__)

SOURCES: Final = Path(__file__).parent
FLAGS: Final = (
    "-std=c11",
    "-O2",
    "-g0",
    "-s",
    "-fPIE",
    "-pie",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
)
# The compiler's first run for a target builds that target's start-up files too.
_TIMEOUT_S = 600.0


def compile_runner(abi: Abi, target: Path) -> None:
    """Compile the runner for ``abi`` to ``target``.

    Raises:
        ToolMissing: the compiler is not installed.
        CommandFailed: it refused the sources.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise ToolMissing("ziglang", "compiling the runner", "python -m pip install ziglang")
    sources = sorted(path.name for path in SOURCES.glob("*.c"))
    what = ("-m", "ziglang", "cc", "-target", abi.zig_target, *FLAGS, *sources, "-ldl")
    log.info("compiling the runner for %s", abi.name)
    run_tool((sys.executable, *what, "-o", str(target)), _TIMEOUT_S, cwd=SOURCES, env=zig_caches())


def sources_digest() -> str:
    """Digest of everything of ours that decides the binary: sources, names and flags."""
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted((*SOURCES.glob("*.c"), *SOURCES.glob("*.h"))):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def run_tool(
    argv: tuple[str, ...],
    timeout_s: float,
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> None:
    """Run a program of the host that must end well.

    Raises:
        CommandFailed: it did not, or not in time.
    """
    command = shlex.join(argv)
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        said = f"no end after {timeout_s:.0f} s"
        raise CommandFailed("this host", command, -9, "", said) from exc
    if done.returncode != 0:
        tails = done.stdout[-2000:], done.stderr[-2000:]
        raise CommandFailed("this host", command, done.returncode, *tails)


def zig_caches() -> dict[str, str]:
    """The environment in which zig keeps its caches in our folder, not in the user's home."""
    cache = str(places.BUILD / "zig")
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
