"""Files kept on the phone by their content, so that nothing is pushed twice.

A file is pushed under another name, its sha256 is taken by the phone itself, and only then does it
get its place: ``cache/<sha256>`` is always whole and always what its name says.
"""

import hashlib
import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from android_harness.errors import (
    CommandFailed,
    CorruptTransfer,
    NoSpace,
    ParseError,
    RemoteFileError,
)
from android_harness.parse.storage import parse_df
from android_harness.places import REMOTE_ROOT
from android_harness.transport.seam import Completed, Progress, Transport

_log = logging.getLogger(__name__)

LIMIT_BYTES = 256 << 20
# Left free on the phone: Android itself misbehaves on a full /data.
_MARGIN_BYTES = 8 << 20
_STEP_S = 30.0
# The slowest links that are still of use: USB 2 under load, an emulated phone.
_SLOWEST_BYTES_PER_S = 200_000.0
_HASH_BYTES_PER_S = 2_000_000.0
_PUSHES = 2  # a corrupt transfer is tried once more
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WRONG_SUM = 9  # our own exit code in the script that moves a file to its place
_MODE = 0o755  # the runner and its loader are started from here


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFile:
    """A file of the host that the phone shall hold."""

    path: Path
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError("a sha256 is 64 hexadecimal digits", self.sha256)


@final
class RemoteCache:
    """The cache of one phone, as one session uses it."""

    directory = f"{REMOTE_ROOT}/cache"

    def __init__(self, transport: Transport, work: str) -> None:
        """Bind to a phone.

        Args:
            transport: the phone.
            work: the session's directory, where a file lies until it is checked.
        """
        self._transport, self._work = transport, work
        self._checked: set[str] = set()  # by this session, on the phone

    def path(self, sha256: str) -> str:
        """Where the content lies on the phone."""
        return f"{self.directory}/{sha256}"

    def provide(self, files: Sequence[CacheFile], progress: Progress | None = None) -> set[str]:
        """See to it that the phone holds every file, and return the sha256 of those pushed.

        Raises:
            NoSpace: they do not fit, even after old contents were removed.
            CorruptTransfer: a file arrived with another content, twice.
            RemoteFileError: the host's file is not what its sha256 says, or the phone refused it.
            TransportError: the connection failed.
        """
        wanted = {file.sha256: file for file in files}
        self._check({sha: file for sha, file in wanted.items() if sha not in self._checked})
        missing = [file for sha, file in wanted.items() if sha not in self._checked]
        if not missing:
            return set()
        self._make_room(sum(file.bytes for file in missing), keep=set(wanted) | self._checked)
        total, done = sum(file.bytes for file in missing), 0
        for file in missing:
            self._push(file, _shifted(progress, done, total))
            self._checked.add(file.sha256)
            done += file.bytes
        return {file.sha256 for file in missing}

    def _check(self, files: dict[str, CacheFile]) -> None:
        """Let the phone itself sum what it holds of ``files``; what is right is used again."""
        if not files:
            return
        names = " ".join(files)
        seconds = _STEP_S + sum(file.bytes for file in files.values()) / _HASH_BYTES_PER_S
        script = f"cd {self.directory} && sha256sum {names} 2>/dev/null"
        text = self._transport.shell(script, timeout_s=seconds).text
        sums = re.findall(r"^([0-9a-f]{64}) [ *]?([0-9a-f]{64})$", text, re.MULTILINE)
        right = {name for found, name in sums if found == name and name in files}
        for _, name in sums:
            if name not in right:
                _log.warning("%s: %s is damaged on the phone", self._transport.endpoint, name)
        if right:
            self._run(f"cd {self.directory} && touch {' '.join(sorted(right))}", _STEP_S)
        self._checked |= right

    def _push(self, file: CacheFile, progress: Progress | None) -> None:
        _check_host_file(file)
        part = f"{self._work}/part-{file.sha256[:16]}"
        seconds = _STEP_S + file.bytes / _SLOWEST_BYTES_PER_S
        found = ""
        for attempt in range(1, _PUSHES + 1):
            self._send(file, part, seconds, progress)
            done = self._transport.shell(self._settle(part, file.sha256), timeout_s=seconds)
            if done.exit_code == 0:
                return
            found = self._found_sum(done)
            _log.warning("%s: push %d of %s: %s", self._transport.endpoint, attempt, part, found)
        raise CorruptTransfer(self._transport.endpoint, part, file.sha256, found)

    def _send(self, file: CacheFile, part: str, seconds: float, progress: Progress | None) -> None:
        try:
            self._transport.push(file.path, part, mode=_MODE, timeout_s=seconds, progress=progress)
        except NoSpace as error:  # it filled up after we looked
            free = self._free_bytes()
            raise NoSpace(self._transport.endpoint, self.directory, file.bytes, free) from error

    def _settle(self, part: str, sha256: str) -> str:
        """Sum the part on the phone; right: to its place, wrong: away."""
        return (
            f's=$(sha256sum {shlex.quote(part)}) || exit $?; echo "$s"; '
            f'case "$s" in {sha256}*) touch {shlex.quote(part)} && '
            f"mv -f {shlex.quote(part)} {self.path(sha256)};; "
            f"*) rm -f {shlex.quote(part)}; exit {_WRONG_SUM};; esac"
        )

    def _found_sum(self, done: Completed) -> str:
        """The sum that the phone found.

        Raises:
            RemoteFileError: there is none: the file is gone, or the phone cannot sum.
        """
        found = _SHA256.match(done.text)
        if done.exit_code != _WRONG_SUM or found is None:
            reason = done.error_text.strip() or done.text.strip() or f"exit {done.exit_code}"
            raise RemoteFileError(self._transport.endpoint, self.directory, reason[-300:])
        return found[0]

    def _make_room(self, needed: int, keep: set[str]) -> None:
        """Remove the longest unused contents until the new ones fit the bound and the phone."""
        held = self._contents()
        free = self._free_bytes()
        used = sum(size for _, size, _ in held)
        gone: list[str] = []
        for _, size, name in sorted(held):
            fits = free is None or free >= needed + _MARGIN_BYTES
            if fits and used + needed <= LIMIT_BYTES:
                break
            if name in keep:
                continue
            gone.append(name)
            used -= size
            free = None if free is None else free + size
        if gone:
            self._run(f"cd {self.directory} && rm -f {' '.join(gone)}", _STEP_S)
            free = self._free_bytes()
        if free is not None and free < needed + _MARGIN_BYTES:
            raise NoSpace(self._transport.endpoint, self.directory, needed + _MARGIN_BYTES, free)

    def _contents(self) -> list[tuple[int, int, str]]:
        """(time of last use, bytes, sha256) of everything held."""
        script = f"cd {self.directory} && stat -c '%Y %s %n' * 2>/dev/null"
        text = self._transport.shell(script, timeout_s=_STEP_S).text
        rows = re.findall(r"^(\d+) (\d+) ([0-9a-f]{64})$", text, re.MULTILINE)
        return [(int(used), int(size), name) for used, size, name in rows]

    def _free_bytes(self) -> int | None:
        """Free space where we write; None when df is not understood, which is no reason to stop."""
        text = self._transport.shell(f"df -k {self.directory}", timeout_s=_STEP_S).text
        try:
            return parse_df(text).free_bytes
        except ParseError as error:
            _log.warning("%s: free space is not known: %s", self._transport.endpoint, error)
            return None

    def _run(self, command: str, timeout_s: float) -> None:
        done = self._transport.shell(command, timeout_s=timeout_s)
        if done.exit_code:
            raise CommandFailed(
                self._transport.endpoint, command, done.exit_code, done.text, done.error_text
            )


def _check_host_file(file: CacheFile) -> None:
    """A file that changed on the host after it was summed would look like a bad cable."""
    with file.path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.sha256:
        reason = f"its sha256 is {found[:12]}, not {file.sha256[:12]}: it changed on this host"
        raise RemoteFileError("this host", str(file.path), reason)


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """One file's progress as a part of all files'."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
