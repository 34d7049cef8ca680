"""The processor: cores, clusters and clocks; pure.

Source: Linux arch/arm64/kernel/cpuinfo.c, Documentation/ABI/testing/sysfs-devices-system-cpu.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from android_harness.errors import ParseError

_CPU = "/sys/devices/system/cpu/"
_CORE_FILE = re.compile(rf"{_CPU}cpu(\d+)/(\S+)")
_POLICY_FILE = re.compile(rf"{_CPU}cpufreq/policy(\d+)/(\S+)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CpuInfo:
    """What /proc/cpuinfo says."""

    processors: tuple[int, ...]
    # (implementer, part) of each processor in the same order; shorter on old kernels, which print
    # one block for all.
    parts: tuple[tuple[int, int], ...]
    features: frozenset[str]  # in every core
    hardware: str | None
    model_name: str | None
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One core as sysfs describes it; None where sysfs is silent."""

    number: int
    max_khz: int | None
    current_khz: int | None
    capacity: int | None  # of 1024, of the strongest core
    online: bool | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cpus:
    """All cores."""

    cores: tuple[Core, ...]
    notes: tuple[str, ...] = ()

    @property
    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """Core numbers by strength, weakest first; empty when nothing tells them apart."""
        keys = {self._strength(core) for core in self.cores}
        if any(key is None for key in keys):
            return ()
        ordered = sorted(key for key in keys if key is not None)
        return tuple(
            tuple(core.number for core in self.cores if self._strength(core) == key)
            for key in ordered
        )

    @staticmethod
    def _strength(core: Core) -> tuple[int, int] | None:
        if core.max_khz is None and core.capacity is None:
            return None
        return (core.capacity or 0, core.max_khz or 0)


def parse_cpuinfo(text: str) -> CpuInfo:
    """Parse ``/proc/cpuinfo`` of arm, arm64 and x86 kernels.

    Raises:
        ParseError: it names no processor.
    """
    pairs = [
        (key.strip(), value.strip())
        for key, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    ]
    numbers = tuple(int(v) for k, v in pairs if k == "processor" and v.isdigit())
    if not numbers:
        raise ParseError("/proc/cpuinfo", text, "no processor")
    parts = tuple(zip(_hex(pairs, "CPU implementer"), _hex(pairs, "CPU part"), strict=False))
    notes = []
    if parts and len(parts) < len(numbers):
        notes.append("one description for several cores: their kinds are not known")
    flags = [frozenset(v.split()) for k, v in pairs if k in ("Features", "flags")]
    return CpuInfo(
        processors=numbers,
        parts=parts,
        features=frozenset.intersection(*flags) if flags else frozenset(),
        hardware=_last(pairs, "Hardware"),
        model_name=_last(pairs, "model name"),
        notes=tuple(notes),
    )


def parse_cpu_files(files: Mapping[str, str]) -> Cpus:
    """Describe the cores from sysfs files by their path; unreadable files are left out by callers.

    Raises:
        ParseError: ``possible`` is missing or no list.
    """
    possible = files.get(f"{_CPU}possible", "").strip()
    numbers = parse_cpu_list(possible)
    online_text = files.get(f"{_CPU}online", "").strip()
    online = parse_cpu_list(online_text) if online_text else None
    by_core = _spread_policies(files)
    cores = tuple(
        Core(
            number=number,
            max_khz=_positive(by_core.get((number, "cpuinfo_max_freq"))),
            current_khz=_positive(by_core.get((number, "scaling_cur_freq"))),
            capacity=_positive(files.get(f"{_CPU}cpu{number}/cpu_capacity")),
            online=None if online is None else number in online,
        )
        for number in numbers
    )
    silent = [core.number for core in cores if core.max_khz is None]
    notes = (f"no clock limits for cores {silent}",) if silent else ()
    return Cpus(cores=cores, notes=notes)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """Parse a kernel list of cores: ``0-3,7``.

    Raises:
        ParseError: anything else.
    """
    if not re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text):
        raise ParseError("cpu list", text)
    ranges = [part.partition("-") for part in text.split(",")]
    return tuple(n for a, _, b in ranges for n in range(int(a), int(b or a) + 1))


def _spread_policies(files: Mapping[str, str]) -> dict[tuple[int, str], str]:
    """Clock files by core, from cpuN/cpufreq/ and from cpufreq/policyN/ with its related_cpus."""
    found: dict[tuple[int, str], str] = {}
    for path, text in files.items():
        policy = _POLICY_FILE.fullmatch(path)
        core = _CORE_FILE.fullmatch(path)
        if policy is not None:
            related = files.get(f"{_CPU}cpufreq/policy{policy[1]}/related_cpus", policy[1])
            found.update({(int(n), policy[2]): text for n in related.split() if n.isdigit()})
        elif core is not None:
            found[int(core[1]), core[2].removeprefix("cpufreq/")] = text
    return found


def _positive(text: str | None) -> int | None:
    word = (text or "").strip()
    return int(word) if word.isdigit() and int(word) > 0 else None


def _hex(pairs: list[tuple[str, str]], key: str) -> list[int]:
    return [int(v, 16) for k, v in pairs if k == key and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", v)]


def _last(pairs: list[tuple[str, str]], key: str) -> str | None:
    return next((v for k, v in reversed(pairs) if k == key and v), None)
