"""Free space on the phone, from ``df``; pure.

Source: toybox df (``-k`` prints 1K-blocks); Android 5's toolbox df prints ``1.2G`` columns.
"""

import re
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError

_TOOLBOX = re.compile(r"^(\S+)((?:\s+\d+(?:\.\d+)?[KMGT]?){3})\s+\d+\s*$")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One file system."""

    total_bytes: int
    free_bytes: int
    mounted_on: str


def parse_df(text: str) -> Storage:
    """Parse ``df -k PATH``: the one file system that holds the path.

    A long device name puts its numbers on a line of their own; both lines are joined.

    Raises:
        ParseError: no line of numbers.
    """
    lines = text.replace("\r", "").strip().splitlines()
    joined = " ".join(lines[1:])
    columns = joined.rsplit(maxsplit=5)
    if len(columns) == 6 and all(c.isdigit() for c in columns[1:4]) and columns[4].endswith("%"):
        total_k, _, free_k = (int(c) for c in columns[1:4])
        return Storage(total_bytes=total_k << 10, free_bytes=free_k << 10, mounted_on=columns[5])
    found = _TOOLBOX.match(joined)
    if found is None:
        raise ParseError("df", text)
    total, _, free = (_bytes(word) for word in found[2].split())
    return Storage(total_bytes=total, free_bytes=free, mounted_on=found[1])


def _bytes(text: str) -> int:
    unit = text[-1] if text[-1].isalpha() else ""
    return int(float(text.removesuffix(unit)) * _UNITS[unit])
