"""The runner's one JSON document.

Source: android_harness/runner/document.c, the only writer of this format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, final

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from android_harness.errors import FailureKind, ParseError

SOURCE: Final = "runner document"
# Strict and closed: a field of another type, or one we do not know, is a fault, never a guess.
_CLOSED: Final = ConfigDict(strict=True, extra="forbid")
_NS_PER_US: Final = 1000.0

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# Bytes of one element, for the types whose elements are whole bytes.
ELEMENT_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "bool": 1,
        "int8": 1,
        "uint8": 1,
        "int16": 2,
        "uint16": 2,
        "float16": 2,
        "int32": 4,
        "uint32": 4,
        "float32": 4,
        "int64": 8,
        "uint64": 8,
        "float64": 8,
    }
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The library that ran the model, by the file that was in memory."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    kind: Literal["litert"]
    path: str
    sha256: Sha256
    bytes: Positive


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One input or output of the model, as it was allocated."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    name: str
    type: str  # "float32", "int8", ...; "type-<n>" for a number the runner does not know
    shape: tuple[Count, ...]
    bytes: Positive

    def __post_init__(self) -> None:
        size = ELEMENT_BYTES.get(self.type)
        if size is not None and self.bytes != size * prod(self.shape):
            raise ValueError(f"{self.name}: {self.bytes} bytes do not hold {self.shape}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class InitTimes:
    """Time from nothing to a model that can run, and its parts."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    library: Count  # dlopen and symbols
    environment: Count
    model: Count
    compile: Count
    total: Positive

    def __post_init__(self) -> None:
        if self.library + self.environment + self.model + self.compile > self.total:
            raise ValueError("the parts of init_ns are larger than their total")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """The untimed inferences before the timed loop."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    count: Count
    wall_ns: Count


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What the timed loop cost as a whole, all threads of the process included."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    wall_ns: Positive
    cpu_ns: Count
    voluntary_switches: Count
    involuntary_switches: Count
    minor_faults: Count
    major_faults: Count


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clock of the latencies, and what one reading of it costs on this machine."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    name: Literal["CLOCK_MONOTONIC"]
    call_ns: Count
    resolution_ns: Count


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPoint:
    """Memory of the runner's process at one fixed point."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    rss_kb: Positive
    hwm_kb: Positive  # the highest rss so far
    pss_kb: Count | None  # None: not asked for, or the kernel has no smaps_rollup
    swap_kb: Count | None  # None: the kernel does not tell

    def __post_init__(self) -> None:
        if self.hwm_kb < self.rss_kb:
            raise ValueError("hwm_kb is smaller than rss_kb")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory before the engine is loaded, when the model is ready, and after the timed loop."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    before_load: MemoryPoint
    after_init: MemoryPoint
    after_run: MemoryPoint


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerReport:
    """A measurement the runner finished; mirrors its document, times in ns as they were read."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    schema: Literal[1]
    runner: str
    engine: Engine
    accelerators: tuple[str, ...]  # registered with the engine, e.g. ("CpuAccelerator",)
    fully_accelerated: bool  # False: some operator runs on a built-in kernel
    machine: str
    kernel: str
    page_bytes: Positive
    threads: Positive
    cpus_allowed: Annotated[tuple[Count, ...], Field(min_length=1)]
    signature: str
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    init_ns: InitTimes
    first_ns: Positive
    warmup: Warmup
    latency_ns: Annotated[tuple[Positive, ...], Field(min_length=1)]  # in run order
    timed: Timed
    clock: Clock
    memory: Memory
    samples: Positive | None  # K of the input file; None: random input
    complete: Literal[True]

    def __post_init__(self) -> None:
        if sum(self.latency_ns) > self.timed.wall_ns:
            raise ValueError("the latencies add up to more than the timed loop took")

    @property
    def latency_us(self) -> tuple[float, ...]:
        """Latency of each timed inference in us, in run order, warm-up excluded."""
        return tuple(value / _NS_PER_US for value in self.latency_ns)

    @property
    def cpu_per_wall(self) -> float:
        """CPU time by wall time of the timed loop: about ``threads`` on an idle machine."""
        return self.timed.cpu_ns / self.timed.wall_ns


class Stage(StrEnum):
    """Where the runner stopped."""

    ARGUMENTS = "arguments"
    LIBRARY = "library"
    ENVIRONMENT = "environment"
    MODEL = "model"
    COMPILE = "compile"
    INPUT = "input"
    INVOKE = "invoke"
    OUTPUT = "output"

    @property
    def exit_code(self) -> int:
        """The exit code that belongs to this stage."""
        match self:
            case Stage.ARGUMENTS | Stage.INPUT | Stage.OUTPUT:
                return 2
            case Stage.LIBRARY | Stage.ENVIRONMENT:
                return 3
            case Stage.MODEL | Stage.COMPILE | Stage.INVOKE:
                return 4

    @property
    def kind(self) -> FailureKind:
        """Whose trouble a failure at this stage is."""
        return FailureKind.MODEL if self.exit_code == 4 else FailureKind.INFRA


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The ``error`` object of a document."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    stage: Annotated[Stage, Field(strict=False)]
    message: str
    status: int | None  # LiteRtStatus, when a call of the engine failed


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFailure:
    """The runner's own word that it could not measure: a finished document, but no report."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    schema: Literal[1]
    runner: str
    error: Fault
    complete: Literal[False]

    @property
    def stage(self) -> Stage:
        """Where the runner stopped."""
        return self.error.stage

    @property
    def message(self) -> str:
        """What happened and what to do, in the runner's words."""
        return self.error.message

    @property
    def status(self) -> int | None:
        """The engine's status number, when it gave one."""
        return self.error.status


def _kind(document: object) -> str | None:
    """Which of the two documents this is; by identity, because 1 == True."""
    complete = document.get("complete") if isinstance(document, dict) else None
    if complete is True:
        return "report"
    return "failure" if complete is False else None


_DOCUMENT: Final[TypeAdapter[RunnerReport | RunnerFailure]] = TypeAdapter(
    Annotated[
        Annotated[RunnerReport, Tag("report")] | Annotated[RunnerFailure, Tag("failure")],
        Discriminator(_kind),
    ]
)


def parse_runner(text: str) -> RunnerReport | RunnerFailure:
    """Parse the whole standard output of one runner process.

    A failure is data here, not an exception: only the caller knows the phone it belongs to.

    Args:
        text: exactly one document; a newline may follow it, and nothing else may stand around.

    Raises:
        ParseError: the document is missing, cut, of another schema, holds a value that cannot
            be (NaN, a latency of 0), or anything stands before or behind it.
    """
    body = text.removesuffix("\n").removesuffix("\r")
    if not (body.startswith("{") and body.endswith("}")):
        raise ParseError(SOURCE, text, _whats_missing(body))
    try:
        return _DOCUMENT.validate_json(body)
    except ValidationError as exc:
        raise ParseError(SOURCE, text, _first_fault(exc)) from exc


def _whats_missing(body: str) -> str:
    if not body.strip():
        return "the runner printed nothing"
    return "the document is cut" if body.startswith("{") else "text stands before the document"


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    # The first part only repeats which of the two documents it is.
    where = ".".join(str(part) for part in fault["loc"][1:])
    return f"{where}: {fault['msg']}" if where else fault["msg"]
