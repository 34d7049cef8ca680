"""What all connections of one simulated phone share."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

from android_harness.virtual.simulated.faults import FaultPlan, NoSpace
from android_harness.virtual.simulated.processes import Processes
from android_harness.virtual.simulated.root import PhoneRoot


@final
class Storage:
    """How much a phone with a NoSpace fault still takes. Thread-safe."""

    def __init__(self, root: PhoneRoot, faults: FaultPlan) -> None:
        self._root, self._faults = root, faults
        self._lock = threading.Lock()
        self._fault: NoSpace | None = None
        self._capacity_bytes: int | None = None

    def refresh(self) -> None:
        """Follow the plan: df shows what a push may use."""
        with self._lock:
            fault = self._faults.pending(NoSpace)
            if fault is self._fault:
                return
            self._fault = fault
            free = None if fault is None else fault.free_bytes
            self._capacity_bytes = None if free is None else self._root.used_bytes() + free
            self._root.set_capacity(self._capacity_bytes)

    def left_bytes(self) -> int | None:
        """How much fits now; None when nothing limits it."""
        with self._lock:
            if self._capacity_bytes is None:
                return None
            return max(0, self._capacity_bytes - self._root.used_bytes())

    def strike(self) -> bool:
        """Whether a push that does not fit fails; counts the fault."""
        struck = self._faults.strike(NoSpace) is not None
        self.refresh()
        return struck


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """The phone's files, faults and processes, and how to restart it."""

    root: PhoneRoot
    faults: FaultPlan
    processes: Processes
    reboot: Callable[[float], None]  # seconds until it listens again
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "storage", Storage(self.root, self.faults))
