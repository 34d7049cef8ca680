"""The bench's errors.

BenchError
└── StoreError      the store cannot be used; nothing in it was changed
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
