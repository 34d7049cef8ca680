"""What may go wrong on a simulated phone, as data; several faults may be given at once.

Every fault has ``times``: it strikes so often, then never again (None: always), so that a
retry can be seen to succeed. ``matching`` is a regular expression searched in the command as
the host sent it (or in the remote path).
"""

import re
import signal as signals
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, final


class During(StrEnum):
    """What the phone does when a fault strikes."""

    CONNECT = "connect"
    PUSH = "push"
    PULL = "pull"
    SHELL = "shell"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DropConnection:
    """The cable is pulled: the connection ends after so many bytes of file data or output."""

    during: During | str = During.PUSH
    after_bytes: int = 0
    reset: bool = False  # RST instead of an orderly end
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """The phone stops answering and reading, but the connection stays (until ``close``)."""

    during: During | str = During.SHELL
    after_bytes: int = 0
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Unauthorized:
    """No key is known: every signature is refused, then the dialog is never answered.

    ``times`` counts connections; afterwards the phone behaves as configured.
    """

    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NoSpace:
    """Storage is full: ``free_bytes`` are left when the fault begins.

    A push that needs more answers FAIL with "write failed: No space left on device" and its
    partial file is removed, as adbd does; df shows what is left; rm gives room back. What
    commands write counts as used but is not stopped.
    """

    free_bytes: int = 0
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptPush:
    """One byte of a pushed file is flipped; adb itself does not notice."""

    matching: str = ""
    offset_bytes: int = 0  # files that end before it stay whole
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RefusePush:
    """A push is answered with FAIL and ``reason``."""

    matching: str = ""
    reason: str = "couldn't create file: Permission denied"
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KillCommand:
    """What the command's shell started is killed, as by the low-memory killer; the shell lives.

    A shell that became its only program dies itself: the exit code is 128 + signal both ways.
    """

    matching: str = ""
    signal: int = signals.SIGKILL
    after_s: float = 0.0
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CutOutput:
    """stdout ends after so many bytes; the exit code is ``exit_code``, or the command's own."""

    matching: str = ""
    after_bytes: int = 0
    exit_code: int | None = None
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WrongExit:
    """The phone reports another exit code (shell v2; shell v1 has none to falsify)."""

    matching: str = ""
    exit_code: int = 1
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The link carries so many bytes a second, each way; ``times`` counts connections."""

    bytes_per_s: int = 1_000_000
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RebootDuring:
    """The phone restarts while a command runs.

    All connections end, all processes die, nothing listens for ``down_s``, the boot id is
    another one afterwards; files survive.
    """

    matching: str = ""
    after_s: float = 0.0
    down_s: float = 0.2
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OldPhone:
    """A phone of Android 6: no shell_v2, no stat_v2, packets of 256 KiB with checksums.

    ``times`` counts connections.
    """

    max_payload_bytes: int = 256 * 1024
    times: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCrlf:
    r"""``\n`` in a shell's output arrives as ``\r\n``, or ``\r\r\n`` when ``doubled``.

    Old phones give every shell a terminal; ``exec:`` is never changed.
    """

    matching: str = ""
    doubled: bool = False
    times: int | None = None


Fault = (
    DropConnection
    | Freeze
    | Unauthorized
    | NoSpace
    | CorruptPush
    | RefusePush
    | KillCommand
    | CutOutput
    | WrongExit
    | Slow
    | RebootDuring
    | OldPhone
    | OutputCrlf
)
FaultType = TypeVar("FaultType", bound=Fault)


def _always(_: object) -> bool:
    return True


@final
class FaultPlan:
    """The faults of one phone and how often each may still strike. Thread-safe."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, int | None]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault while the phone runs.

        Raises:
            ValueError: ``times`` is below 1, or ``matching`` is no regular expression.
        """
        if fault.times is not None and fault.times < 1:
            raise ValueError(f"times must be at least 1, or None for always: {fault}")
        try:
            re.compile(getattr(fault, "matching", ""))
        except re.error as error:
            raise ValueError(f"matching is not a regular expression ({error}): {fault}") from error
        with self._lock:
            self._left.append((fault, fault.times))

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._left.clear()

    def pending(
        self, kind: type[FaultType], condition: Callable[[FaultType], bool] = _always
    ) -> FaultType | None:
        """The first fault of ``kind`` that may still strike, without striking."""
        with self._lock:
            return next((f for f, _ in self._left if isinstance(f, kind) and condition(f)), None)

    def strike(
        self, kind: type[FaultType], condition: Callable[[FaultType], bool] = _always
    ) -> FaultType | None:
        """Like ``pending``, and count it."""
        with self._lock:
            for index, (fault, left) in enumerate(self._left):
                if isinstance(fault, kind) and condition(fault):
                    self._count(index, fault, left)
                    return fault
        return None

    def _count(self, index: int, fault: Fault, left: int | None) -> None:
        if left == 1:
            del self._left[index]
        elif left is not None:
            self._left[index] = (fault, left - 1)

    def strike_matching(self, kind: type[FaultType], text: str) -> FaultType | None:
        """Strike the first fault of ``kind`` whose ``matching`` is found in ``text``."""
        return self.strike(
            kind, lambda fault: re.search(getattr(fault, "matching", ""), text) is not None
        )
