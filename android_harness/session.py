"""Work on one phone: a directory of our own, the runner in it, and nothing left behind."""

import hashlib
import logging
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, final

from android_harness.errors import CommandFailed, HarnessError, RemoteFileError
from android_harness.parse.runner import RunnerReport
from android_harness.phone import Phone
from android_harness.places import REMOTE_ROOT
from android_harness.remote_cache import CacheFile, RemoteCache
from android_harness.runner.bundle import Bundle
from android_harness.runner.options import RunnerOptions
from android_harness.runner.outcome import judge
from android_harness.transport.seam import Progress

_log = logging.getLogger(__name__)

# A bench that was killed leaves its directory; one that still works touches it more often.
_ABANDONED_MIN = 360
_STEP_S = 30.0
_RECONNECT_PAUSE_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")
# The phone's shell could not start the program at all: not found, not executable.
_NOT_STARTED = (126, 127)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What installing the runner cost."""

    bytes_pushed: int
    bytes_skipped: int  # already on the phone with the right content
    seconds: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file on the phone whose content was checked there."""

    path: str
    sha256: str
    bytes: int
    skipped: bool  # it was there already


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One finished runner process."""

    report: RunnerReport
    raw: str  # its document as printed
    stderr: str  # the engine's log


@final
class Session:
    """One piece of work on a phone, with a remote directory that is always removed.

    The directory goes in every way out, also after Ctrl-C and after a lost connection (which is
    opened once more for it). What even that cannot reach is swept by the next session.
    """

    def __init__(self, phone: Phone, run_id: str) -> None:
        self.phone = phone
        # Not the id alone: two processes may resume the same bench.
        unique = f"{run_id} {os.getpid()} {secrets.token_hex(8)}"
        self.directory = f"{REMOTE_ROOT}/run-{hashlib.sha256(unique.encode()).hexdigest()[:16]}"
        self._cache = RemoteCache(phone.transport, self.directory)
        self._bundle: Bundle | None = None

    def __enter__(self) -> Self:
        try:
            self.phone.run(self._entry_script(), timeout_s=_STEP_S)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clean_up()

    def install(self, bundle: Bundle, progress: Progress | None = None) -> Installed:
        """Lay the runner's files out in this session's directory.

        The files themselves stay on the phone by content, so the next session pushes nothing.

        Raises:
            NoSpace, CorruptTransfer, RemoteFileError: a file did not arrive.
            TransportError: the connection failed.
        """
        started = time.monotonic()
        files = [
            CacheFile(path=file.path, sha256=file.sha256, bytes=file.bytes) for file in bundle.files
        ]
        pushed = self._cache.provide(files, progress)
        links = " && ".join(
            f"ln -sf {quoted(self._cache.path(file.sha256), self.remote(file.name))}"
            for file in bundle.files
        )
        self.phone.run(links, timeout_s=_STEP_S)
        self._bundle = bundle
        fresh = sum(file.bytes for file in files if file.sha256 in pushed)
        return Installed(
            bytes_pushed=fresh,
            bytes_skipped=sum(file.bytes for file in files) - fresh,
            seconds=time.monotonic() - started,
        )

    def put(self, path: Path, sha256: str, progress: Progress | None = None) -> RemoteFile:
        """Bring a file to the phone, or find it there.

        Raises:
            NoSpace: the phone cannot hold it.
            CorruptTransfer: it arrived with another content, twice.
            RemoteFileError: the phone refused it.
            TransportError: the connection failed.
        """
        file = CacheFile(path=path, sha256=sha256, bytes=path.stat().st_size)
        pushed = self._cache.provide([file], progress)
        return RemoteFile(
            path=self._cache.path(sha256),
            sha256=sha256,
            bytes=file.bytes,
            skipped=sha256 not in pushed,
        )

    def run(self, model: RemoteFile, options: RunnerOptions, timeout_s: float) -> Ran:
        """Run the runner once, in a process of its own.

        Raises:
            RunnerCrash, ModelRejected: the model's doing.
            RunnerRefused, RunnerOutputError: ours.
            CommandFailed: the phone could not start the runner.
            CommandTimeout: no end after ``timeout_s``; the runner was ended.
            TransportError: the connection failed.
        """
        if self._bundle is None:
            raise ValueError("install a bundle before running a model")
        command = self._command(self._bundle.command(model.path, options))
        done = self.phone.transport.shell(command, timeout_s=timeout_s)
        endpoint, stderr = self.phone.transport.endpoint, done.error_text
        if done.exit_code in _NOT_STARTED:
            raise CommandFailed(
                endpoint, command, done.exit_code, done.text[-2000:], stderr[-2000:]
            )
        report = judge(endpoint, done.exit_code, done.text, stderr)
        return Ran(report=report, raw=done.text, stderr=stderr)

    def fetch(
        self, remote_name: str, target: Path, max_bytes: int, *, timeout_s: float = 600.0
    ) -> None:
        """Bring a file of this session's directory to the host; it appears whole or not at all.

        Raises:
            RemoteFileError: missing, no regular file, or larger than ``max_bytes``.
            TransportError: the connection failed.
        """
        self.phone.transport.pull(
            self.remote(remote_name), target, timeout_s=timeout_s, max_bytes=max_bytes
        )

    def remote(self, name: str) -> str:
        """Where a file of this session lies on the phone.

        Raises:
            ValueError: the name is not one of ours (letters, digits, ``._+-``).
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for a file on a phone: {name!r}")
        return f"{self.directory}/{name}"

    def _entry_script(self) -> str:
        """Make our directory, and sweep what killed sessions left, nothing else."""
        root = quoted(REMOTE_ROOT)
        sweep = " ".join(
            f"find {root} -maxdepth 1 -name '{pattern}' -mmin +{_ABANDONED_MIN} "
            "-exec rm -rf {} + 2>/dev/null;"
            for pattern in ("run-*", "stderr-*")
        )
        # adbd's umask is 0: without a word on it every app could write into our directories.
        ours = quoted(self._cache.directory, self.directory)
        return f"{sweep} umask 077 && mkdir -p {ours} && chmod 700 {root}"

    def _command(self, argv: Sequence[str]) -> str:
        """The runner in place of the shell, so that a signal to the one reaches the other.

        What a phone preloads into every shell must not reach the runner, whose libraries are
        its own.
        """
        here = quoted(self.directory)
        return f"unset LD_PRELOAD LD_LIBRARY_PATH; touch {here}; cd {here} && exec {quoted(*argv)}"

    def _clean_up(self) -> None:
        remove = f"rm -rf {quoted(self.directory)}"
        if not self._tried(lambda: self.phone.run(remove, timeout_s=_STEP_S), last=False):
            time.sleep(_RECONNECT_PAUSE_S)
            self._tried(lambda: self.phone.run(remove, timeout_s=_STEP_S), last=True)

    def _tried(self, action: Callable[[], str], *, last: bool) -> bool:
        try:
            action()
        except HarnessError as error:
            level = logging.WARNING if last else logging.DEBUG
            _log.log(level, "%s stays until a later session sweeps it: %s", self.directory, error)
            return False
        return True


def quoted(*words: str) -> str:
    """Words as one command for the phone's shell: the only way anything reaches it.

    Raises:
        RemoteFileError: a word holds a NUL, which no argument can.
    """
    if any("\0" in word for word in words):
        raise RemoteFileError("the phone's shell", repr(words), "an argument holds a NUL byte")
    return shlex.join(words)
