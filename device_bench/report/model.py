"""The report as data (report.json, schema 1): everything a page shows, derived from records.

HTML, Markdown and the terminal render this and nothing else, so that a report can be drawn
again from its JSON alone. A value that is not known is null, and the ``*_reason`` beside it
says why.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from android_harness.evidence import Evidence, Fidelity
from device_bench.record import Failure, Parity, Protocol, State, Timing
from pipeline.artifact import Accuracy

SCHEMA_VERSION = 1


class _Part(BaseModel):
    # NaN and infinity have no JSON: they would come back as null, without a reason.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Estimate(_Part):
    """A statistic over blocks with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Latency(_Part):
    """Inference latency of a run, microseconds of the phone's own monotonic clock."""

    p50_us: Estimate
    p90_us: Estimate
    p99_us: Estimate
    min_us: float
    samples: int
    blocks: int
    block_spread_percent: float = Field(description="(max - min) / median of the block medians")


class Comparison(_Part):
    """Latency of the baseline over latency of this variant: 2.0 is twice as fast."""

    speedup: Estimate
    verdict: Literal["faster", "slower", "same", "cannot tell"]
    smallest_visible_percent: float = Field(description="smallest difference visible in this data")


class Block(_Part):
    """One fresh runner process."""

    number: int
    position: int = Field(description="order in which the phone ran it, over all variants")
    samples: int
    min_us: float
    p5_us: float
    p25_us: float
    p50_us: float
    p75_us: float
    p95_us: float
    p99_us: float
    max_us: float
    trace_us: tuple[float, ...] = Field(description="at most 200 samples in run order, for drawing")
    cpu_per_wall: float
    involuntary_switches: int
    temperature_c: float | None
    flags: tuple[str, ...]


class Startup(_Part):
    """Median over blocks of what happens before the second inference, microseconds."""

    library_us: float
    environment_us: float
    model_us: float
    compile_us: float
    total_us: float
    first_us: float


class Memory(_Part):
    """Median over blocks, kB, at fixed points of the runner's life."""

    before_load_rss_kb: float
    after_init_rss_kb: float
    peak_kb: float = Field(description="VmHWM after the timed runs")
    after_run_pss_kb: float | None


class Stage(_Part):
    """A stage that made the variant."""

    name: str
    parameters: dict[str, object]
    key: str | None = Field(default=None, description="content hash its output is cached under")
    facts: dict[str, object] = Field(default={}, description="what the stage said of its work")


class Proof(_Part):
    """What really ran."""

    engine: str
    engine_sha256: str
    accelerators: tuple[str, ...]
    fully_accelerated: bool
    threads: int
    cpus_allowed: tuple[int, ...]
    page_bytes: int
    machine: str
    kernel: str


class Variant(_Part):
    """One variant on one phone."""

    variant: str
    branch: str
    format: str
    sha256: str
    bytes: int
    bytes_zstd: int
    compression_ratio: float | None
    parameters: int
    macs: int | None
    sparsity: float
    status: Literal["ok", "failed", "not run"]
    failures: tuple[Failure, ...]
    latency: Latency | None
    latency_reason: str | None
    comparison: Comparison | None
    comparison_reason: str | None
    blocks: tuple[Block, ...]
    startup: Startup | None
    memory: Memory | None
    energy_mwh: float | None
    energy_reason: str | None
    accuracy_phone: Accuracy | None
    accuracy_phone_reason: str | None
    accuracy_host: Accuracy | None
    accuracy_host_reason: str | None
    parity: tuple[Parity, ...]
    wrong: str | None = Field(default=None, description="why its outputs cannot be used")
    pushed_bytes: int | None
    push_skipped: bool | None
    proof: Proof | None
    stages: tuple[Stage, ...]
    conversion: dict[str, object] = Field(
        default={}, description="what the conversion said of its work"
    )
    built_at_utc: str
    warnings: tuple[str, ...]


class Answer(_Part):
    """The first thing a reader sees."""

    headline: str = Field(description="one sentence in plain words")
    detail: tuple[str, ...] = Field(description="the reasons, a sentence each")
    chosen: str | None


class Recipe(_Part):
    """One recipe's variants on one phone, with one number of threads."""

    recipe: str
    threads: int = 1
    summary: str
    baseline: str
    test_origin: str
    test_samples: int
    answer: Answer
    variants: tuple[Variant, ...]
    packages: dict[str, str]
    seed: int | None
    recipe_sha256: str | None
    data_sha256: str | None
    warnings: tuple[str, ...]


class Phone(_Part):
    """One phone of a bench."""

    name: str = Field(description="manufacturer and model, for people")
    key: str = Field(description="salted hash of the serial; the serial itself stays at home")
    slug: str = Field(description="file name of its page, without the suffix")
    manufacturer: str
    model: str
    soc: str | None
    android: str
    sdk: int | None
    abis: tuple[str, ...]
    fingerprint: str
    kernel: str
    security_patch: str | None
    transport: str
    evidence: Evidence
    fidelity: Fidelity
    time_is_latency: bool
    state_before: State | None
    state_after: State | None
    recipes: tuple[Recipe, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]


class Report(_Part):
    """A whole bench: every phone, every recipe."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    bench: str
    created_at_utc: str
    tool_version: str
    complete: bool
    protocol: Protocol
    phones: tuple[Phone, ...]
    timings: tuple[Timing, ...]
