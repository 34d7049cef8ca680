"""What is stored of a bench: raw values and their context; every statistic is derived.

A bench (one call of ``deploy-bench run`` or ``bench``) holds phones, a phone holds runs (one
variant each), a run holds one check (the phone's outputs against the host's) and its blocks
(one fresh runner process each, kept as the runner's own document, word for word).
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from android_harness.errors import FailureKind
from android_harness.evidence import Evidence, Fidelity
from pipeline.artifact import Accuracy, Artifact


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class State(_Stored):
    """The phone's state at one moment; null is unknown."""

    at_utc: str
    battery_percent: float | None
    battery_temperature_c: float | None
    battery_voltage_mv: float | None
    charge_counter_uah: float | None
    current_now_raw: float | None = Field(description="as the phone says; sign and unit unknown")
    charging: str | None
    thermal_status: str | None
    temperatures_c: dict[str, float]
    load1: float | None
    notes: tuple[str, ...]


class Failure(_Stored):
    """Why a run has no result, or which attempts were repeated."""

    kind: FailureKind
    message: str
    retried: bool


class Parity(_Stored):
    """The phone's outputs against a reference of the host, sample by sample."""

    engine: str
    samples: int
    bit_identical: bool | None
    max_abs_difference: float | None = Field(description="in real (dequantized) units")
    argmax_agreement: float | None = Field(description="0..1")
    reason: str | None = None


class Protocol(_Stored):
    """How the numbers are taken; part of a bench's identity."""

    blocks: int = Field(default=5, ge=2, le=1000)
    warmup_count: int = Field(default=10, ge=0)
    warmup_s: float = Field(default=0.3, ge=0.0)
    min_runs: int = Field(default=50, ge=1)
    min_s: float = Field(default=1.0, ge=0.0)
    max_runs: int = Field(default=20_000, ge=1)
    order: str = "variants shuffled within each round, a fresh process for every block"
    threads: tuple[int, ...] = Field(default=(), description="empty: as each recipe asks")
    seed: int = 20_240_501
    gate_s: float = Field(default=120.0, ge=0.0, description="longest wait for a cool phone")


class Timing(_Stored):
    """Wall time of one step of the bench, host clock."""

    step: str
    seconds: float


class Identity(_Stored):
    """Which phone; the serial stays here and never enters a report."""

    serial: str
    manufacturer: str
    model: str
    soc: str | None
    android: str
    sdk: int | None
    abis: tuple[str, ...]
    fingerprint: str
    boot_id: str | None
    kernel: str
    security_patch: str | None
    fidelity: Fidelity

    @property
    def evidence(self) -> Evidence:
        """The evidence class every number of this phone carries."""
        return self.fidelity.evidence

    @property
    def key(self) -> str:
        """A name for reports that does not give the serial away."""
        digest = hashlib.sha256(f"deploy-bench phone {self.serial}".encode())
        return digest.hexdigest()[:8]


class Bench(_Stored):
    """One call of the measuring half."""

    schema_version: Literal[1] = 1
    id: str
    key: str = Field(description="sha256 of what is measured on which phones; equal keys resume")
    created_at_utc: str
    finished_at_utc: str | None = None
    status: Literal["open", "complete"] = "open"
    tool_version: str
    protocol: Protocol
    timings: tuple[Timing, ...] = ()


class PhoneVisit(_Stored):
    """One phone within a bench."""

    bench: str
    serial: str
    position: int
    identity: Identity
    transport: str
    engine: str
    engine_sha256: str
    state_before: State | None = None
    state_after: State | None = None
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()


class Check(_Stored):
    """The phone's outputs for the whole test set, judged."""

    samples: int
    outputs_sha256: str
    accuracy: Accuracy | None
    accuracy_reason: str | None
    parity: tuple[Parity, ...]
    wrong: str | None = Field(default=None, description="why these outputs cannot be used")


class Run(_Stored):
    """One variant on one phone."""

    bench: str
    serial: str
    position: int
    artifact: Artifact
    summary: str = Field(description="the recipe's own sentence about itself")
    threads: int
    status: Literal["open", "ok", "failed", "not run"] = "open"
    pushed_bytes: int | None = None
    push_skipped: bool | None = None
    check: Check | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a phone visit."""
        return f"{self.artifact.recipe}/{self.artifact.variant}/{self.threads}"


class Block(_Stored):
    """One fresh runner process: its own document and the phone's state around it."""

    bench: str
    serial: str
    run: str
    number: int
    position: int
    started_at_utc: str
    runner: str = Field(description="the runner's JSON document, word for word")
    state_before: State
    state_after: State
    flags: tuple[str, ...] = ()
