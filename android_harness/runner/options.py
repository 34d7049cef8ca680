"""What the runner may be asked, and the argument list that asks it."""

import math
from dataclasses import dataclass
from typing import final

# Enough to see a p90, and long enough that one scheduler tick (4-10 ms) does not decide it.
MIN_RUNS = 50
MIN_S = 1.0
# The first inference touches cold memory; after it, time lets the clock governor settle.
WARMUP_COUNT = 10
WARMUP_S = 0.3
# What a run may cost at most: a fast model ends by count, a slow one by time.
MAX_RUNS = 20_000
MAX_S = 60.0
# The runner keeps 8 bytes an inference; its own limit (options.c) is the same.
RUNS_LIMIT = 10_000_000
THREADS_LIMIT = 256


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """One invocation of the runner.

    The warm-up ends when both its count and its seconds are reached; the timed loop ends when
    both minima are reached or either maximum is. ``max_s`` bounds each of the two. ``max_runs``
    wins over ``min_runs``, so that a short probe needs to name only the maximum.
    """

    threads: int = 1
    warmup_count: int = WARMUP_COUNT
    warmup_s: float = WARMUP_S
    min_runs: int = MIN_RUNS
    min_s: float = MIN_S
    max_runs: int = MAX_RUNS
    max_s: float = MAX_S
    affinity: tuple[int, ...] = ()  # CPU numbers; empty leaves the choice to the scheduler
    input_path: str | None = None  # K samples of the model's only input, back to back
    output_path: str | None = None  # gets the first output of each of the K samples
    pss: bool = True  # proportional memory too; reading it walks every page of the process

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= THREADS_LIMIT:
            raise ValueError("threads must be between 1 and 256", self.threads)
        if not 1 <= self.max_runs <= RUNS_LIMIT:
            raise ValueError("max_runs must be between 1 and 10000000", self.max_runs)
        if min(self.warmup_count, self.min_runs) < 0:
            raise ValueError("counts must not be negative", self.warmup_count, self.min_runs)
        seconds = (self.warmup_s, self.min_s, self.max_s)
        if not all(math.isfinite(value) and value >= 0 for value in seconds):
            raise ValueError("seconds must be finite and not negative", seconds)
        if self.affinity and min(self.affinity) < 0:
            raise ValueError("affinity holds CPU numbers, 0 or more", self.affinity)

    def arguments(self, model: str, engine: str) -> tuple[str, ...]:
        """What follows the launcher in the argument list; the caller quotes for its shell.

        Args:
            model: path of the .tflite where the runner runs.
            engine: path of libLiteRt.so where the runner runs.
        """
        return (
            f"--model={model}",
            f"--engine={engine}",
            f"--threads={self.threads}",
            f"--warmup-count={self.warmup_count}",
            f"--warmup-s={self.warmup_s:.6f}",
            f"--min-runs={self.min_runs}",
            f"--min-s={self.min_s:.6f}",
            f"--max-runs={self.max_runs}",
            f"--max-s={self.max_s:.6f}",
            *self._choices(),
        )

    def _choices(self) -> tuple[str, ...]:
        """The options whose absence means something."""
        affinity = ",".join(str(cpu) for cpu in self.affinity)
        given = (
            f"--affinity={affinity}" if self.affinity else None,
            f"--input={self.input_path}" if self.input_path is not None else None,
            f"--output={self.output_path}" if self.output_path is not None else None,
            None if self.pss else "--no-pss",
        )
        return tuple(option for option in given if option is not None)
