"""How long a call may take: a deadline for the whole, and one for each step of progress."""

import time
from typing import final

# A link that moves no byte for so long in the middle of a transfer is called dead. Android may
# flush its page cache for several seconds during a large push.
IDLE_S = 20.0


class Stalled(Exception):
    """Time is up; carries what passed: the whole call's deadline, or one step's."""

    def __init__(self, seconds: float, *, overall: bool) -> None:
        super().__init__(seconds)
        self.seconds, self.overall = seconds, overall


@final
class Pace:
    """The time one call may take, in all and between two signs of life."""

    def __init__(self, timeout_s: float, idle_s: float | None = None) -> None:
        """Start the clock.

        Args:
            timeout_s: the whole call, from now.
            idle_s: between two bytes; None when silence is normal (a command that computes).
        """
        self.timeout_s = timeout_s
        self.idle_s = idle_s
        self._end = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds until the whole call's deadline, never below 0."""
        return max(0.0, self._end - time.monotonic())

    def wait_s(self) -> float:
        """How long the next step may wait.

        Raises:
            Stalled: the whole call's deadline has passed.
        """
        left = self.left_s
        if left <= 0.0:
            raise Stalled(self.timeout_s, overall=True)
        return left if self.idle_s is None else min(left, self.idle_s)

    def stalled(self) -> Stalled:
        """The error for a step that waited ``wait_s`` in vain."""
        if self.left_s <= 0.0 or self.idle_s is None:
            return Stalled(self.timeout_s, overall=True)
        return Stalled(self.idle_s, overall=False)
