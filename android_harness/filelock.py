"""One process at a time: a lock on a file, released by the kernel when its holder ends."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from android_harness.errors import NotWritable

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(file: Path, doing: str) -> Iterator[None]:
    """Hold the lock of ``file`` (made when missing); wait for it, and say once that we wait.

    Args:
        file: the lock file; it stays behind, empty.
        doing: what the other process is probably doing, for the log line.

    Raises:
        NotWritable: the folder belongs to another user.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a")
    except PermissionError as error:
        raise NotWritable(str(file.parent)) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process: %s", doing)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
