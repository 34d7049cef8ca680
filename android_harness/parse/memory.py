"""Memory of a process and of the phone; pure. All values in kB, as Android prints them.

Source: Linux fs/proc/task_mmu.c (status), AOSP ActivityThread.dumpMemInfoTable (dumpsys meminfo).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError

_KB_LINE = re.compile(r"^(\w[\w()]*):\s+(\d+) kB\s*$", re.MULTILINE)
_PID = re.compile(r"\*\* MEMINFO in pid (\d+) \[(.*)\] \*\*")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMemory:
    """``/proc/<pid>/status``; None where the kernel prints no such line (kernel threads)."""

    rss_kb: int | None
    peak_rss_kb: int | None
    anonymous_kb: int | None
    file_kb: int | None
    swap_kb: int | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Meminfo:
    """``dumpsys meminfo <pid>``: the table, by row and column name."""

    pid: int
    process: str
    rows: Mapping[str, Mapping[str, int]]  # "Native Heap" -> {"Pss Total": 16840, ...}

    @property
    def total_pss_kb(self) -> int | None:
        """The table's total, None when the table was cut off."""
        return self.rows.get("TOTAL", {}).get("Pss Total")


def parse_status(text: str) -> ProcessMemory:
    """Parse ``/proc/<pid>/status``.

    Raises:
        ParseError: no line of it is of that file.
    """
    if not re.search(r"^(Name|Vm\w+|Rss\w+):\s", text, re.MULTILINE):
        raise ParseError("/proc/<pid>/status", text)
    values = _kb_lines(text)
    return ProcessMemory(
        rss_kb=values.get("VmRSS"),
        peak_rss_kb=values.get("VmHWM"),
        anonymous_kb=values.get("RssAnon"),
        file_kb=values.get("RssFile"),
        swap_kb=values.get("VmSwap"),
    )


def parse_available_kb(text: str) -> int | None:
    """``MemAvailable`` of /proc/meminfo, None on kernels older than 3.14.

    Raises:
        ParseError: it is not that file.
    """
    values = _kb_lines(text)
    if "MemTotal" not in values:
        raise ParseError("/proc/meminfo", text, "no MemTotal")
    return values.get("MemAvailable")


def parse_meminfo(text: str) -> Meminfo:
    """Parse the table of ``dumpsys meminfo <pid>`` by its headings, which differ by release.

    Raises:
        ParseError: no process, or no table.
    """
    plain = text.replace("\r", "")
    who = _PID.search(plain)
    if who is None:
        raise ParseError("dumpsys meminfo", text, "no process")
    lines = plain[who.end() :].splitlines()
    rule = next((n for n, line in enumerate(lines) if re.fullmatch(r"[\s-]*-{3,}", line)), None)
    if rule is None or rule < 2:
        raise ParseError("dumpsys meminfo", text, "no table")
    columns = _columns(lines[rule - 2], lines[rule - 1], lines[rule])
    rows = {}
    for line in lines[rule + 1 :]:
        if not line.strip():
            break
        name, values = _table_row(line, columns)
        if values:
            rows[name] = values
    return Meminfo(pid=int(who[1]), process=who[2], rows=rows)


def _kb_lines(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in _KB_LINE.findall(text.replace("\r", ""))}


def _columns(upper: str, lower: str, rule: str) -> list[tuple[int, str]]:
    """Where each column ends, and its heading of two lines ("Pss" over "Total")."""
    spans = [found.span() for found in re.finditer("-+", rule)]
    return [
        (end, f"{upper[a:end].strip()} {lower[a:end].strip()}".strip()) for a, end in _wide(spans)
    ]


def _wide(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A heading may be wider than its dashes: take all since the column before."""
    starts = [max(0, spans[0][0] - 3)] + [end for _, end in spans[:-1]]
    return [(start, end) for start, (_, end) in zip(starts, spans, strict=True)]


def _table_row(line: str, columns: list[tuple[int, str]]) -> tuple[str, dict[str, int]]:
    numbers = [(m.end(), int(m[0])) for m in re.finditer(r"(?<=\s)\d+(?=\s|$)", line)]
    ends = {end: name for end, name in columns}
    name = re.split(r"\s{2,}|\s(?=\d)", line.strip())[0]
    return name, {ends[at]: value for at, value in numbers if at in ends}
