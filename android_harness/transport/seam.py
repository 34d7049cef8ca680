"""The narrow seam between the harness and whatever carries bytes to a phone.

Everything above it (phone, session, services) speaks only this; everything below it maps its
own exceptions to android_harness.errors at one place. After a TransportError the connection's
state is unknown: ``close`` it and connect again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, final

# Called with (bytes done, bytes in all).
Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A remote command that ended, whatever its exit code."""

    command: str
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        r"""Stdout as text with ``\n`` line ends; bytes that are not UTF-8 become U+FFFD."""
        return _as_text(self.stdout)

    @property
    def error_text(self) -> str:
        """Stderr as text, decoded like ``text``."""
        return _as_text(self.stderr)


class Transport(ABC):
    """One open connection to one phone. Safe to use from several threads (one lock a phone)."""

    endpoint: str  # how people name it: "127.0.0.1:5555", "usb:1-4", a serial
    description: str  # one line: which transport, and why it was chosen
    features: frozenset[str]  # adb features of the phone, e.g. "shell_v2"
    banner: Mapping[str, str]  # ro.product.* of the connection banner

    @abstractmethod
    def shell(self, command: str, *, timeout_s: float) -> Completed:
        """Run ``command`` by the phone's /system/bin/sh.

        The caller quotes; exit code, stdout and stderr come back apart on every phone.

        Raises:
            CommandTimeout: no end after ``timeout_s``; the remote process was hung up.
            TransportError: the connection failed.
        """

    @abstractmethod
    def push(
        self,
        source: Path,
        remote: str,
        *,
        mode: int = 0o644,
        timeout_s: float,
        progress: Progress | None = None,
    ) -> None:
        """Copy one file to the phone, whole or not at all is the caller's job (tmp + mv).

        Raises:
            RemoteFileError, NoSpace: the phone refused, with its own words.
            TransportError: the connection failed.
        """

    @abstractmethod
    def pull(
        self,
        remote: str,
        target: Path,
        *,
        timeout_s: float,
        max_bytes: int,
        progress: Progress | None = None,
    ) -> None:
        """Copy one regular file from the phone; ``target`` appears only when it is complete.

        Raises:
            RemoteFileError: missing, not a regular file, or larger than ``max_bytes``.
            TransportError: the connection failed.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection; never raises, may be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace").replace("\r\r\n", "\n").replace("\r\n", "\n")
