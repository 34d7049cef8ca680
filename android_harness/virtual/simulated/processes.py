"""The processes of one simulated phone: started in groups of their own, all ended at the end."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import final

# How long a hung-up command may clean up after itself before it is killed.
HANG_UP_GRACE_S = 0.3
_TOKEN_NAME = "SIMULATED_PHONE"
_POLL_S = 0.005
# A command that a KillCommand waits for has started a program by then, or never will.
_START_LIMIT_S = 1.0


@final
class Processes:
    """Starts commands by the host's sh and knows all that is left of them. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._token = uuid.uuid4().hex  # in every descendant's environment, also after setsid
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def start(self, command: str, *, merge_stderr: bool) -> subprocess.Popen[bytes]:
        """Run ``command`` (an empty one: sh reading its stdin) in a session of its own."""
        argv = ["/system/bin/sh", *(["-c", command] if command else [])]
        process = subprocess.Popen(
            argv,
            executable="/bin/sh",
            cwd=self._root,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        with self._lock:
            self._running.add(process)
        return process

    def _environment(self) -> dict[str, str]:
        root = str(self._root)
        return {
            "PATH": f"{root}/system/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": root,
            "TMPDIR": f"{root}/data/local/tmp",
            "ANDROID_ROOT": "/system",
            "ANDROID_DATA": "/data",
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            _TOKEN_NAME: self._token,
        }

    def finish(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end; the exit code as adbd reports it: 128 + signal when killed."""
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code if code >= 0 else 128 - code

    def hang_up(self, process: subprocess.Popen[bytes]) -> None:
        """End a command whose stream was closed: SIGHUP, then SIGKILL, to its group."""
        signal_group(process, signal.SIGHUP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(HANG_UP_GRACE_S)
        signal_group(process, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill everything that was started here, daemons too."""
        with self._lock:
            running = tuple(self._running)
        for process in running:
            signal_group(process, signal.SIGKILL)
        for pid in self._marked():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _marked(self) -> list[int]:
        mark = f"{_TOKEN_NAME}={self._token}".encode()
        return [pid for pid in _pids() if mark in _read(f"/proc/{pid}/environ").split(b"\0")]


def kill_started(process: subprocess.Popen[bytes], signal_number: int) -> None:
    """Signal what a command's shell started, or the shell when it became that program."""
    end_s = time.monotonic() + _START_LIMIT_S
    shell = os.path.realpath("/bin/sh")
    while process.poll() is None and time.monotonic() < end_s:
        started = [pid for pid in _group(process.pid) if pid != process.pid]
        if started or _program(process.pid) != shell:
            break
        time.sleep(_POLL_S)
    else:
        started = []
    if process.poll() is None:
        for pid in started or [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)


def _program(pid: int) -> str:
    return os.path.realpath(f"/proc/{pid}/exe")


def _group(pid: int) -> list[int]:
    """All processes of the process group ``pid``."""
    return [other for other in _pids() if _group_of(other) == pid]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return b""


def signal_group(process: subprocess.Popen[bytes], signal_number: int) -> None:
    """Signal all of a command's process group that is left."""
    # The group outlives its leader; it is gone when the last member is.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal_number)
