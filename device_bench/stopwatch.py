"""Wall time of a bench's steps, on the host's clock."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

from device_bench.record import Timing


@final
@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Wall time of the bench's steps, in order."""

    timings: list[Timing] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it fails."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.timings.append(Timing(step=name, seconds=round(time.monotonic() - started_s, 2)))
