"""The bench's errors.

BenchError
├── StoreError      the store cannot be used; nothing in it was changed
└── UnknownBench    the store holds no bench of that name
"""

from pathlib import Path


class BenchError(Exception):
    """Base of all errors of device_bench."""


class StoreError(BenchError):
    """The store cannot be used; nothing in it was changed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"store {self.path}: {self.reason}"


class UnknownBench(BenchError):
    """The store holds no bench of that name."""

    def __init__(self, path: Path, bench: str, known: tuple[str, ...]) -> None:
        super().__init__(path, bench, known)
        self.path, self.bench, self.known = path, bench, known

    def __str__(self) -> str:
        known = f"; the newest are {', '.join(self.known)}" if self.known else "; it is empty"
        return f"store {self.path} holds no bench {self.bench!r}{known}"
