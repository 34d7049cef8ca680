"""Records for tests: small, valid, and changed by keyword where a test needs it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from android_harness.evidence import Fidelity
from device_bench.record import Bench, Block, Identity, PhoneVisit, Protocol, Run, State
from pipeline.artifact import (
    Accuracy,
    Artifact,
    NumberFormat,
    Provenance,
    Reference,
    TensorSpec,
    TestSet,
    sha256_of,
    write_artifact,
)

ENGINE_SHA256 = "e" * 64


def runner_document(latency_us: Sequence[float] = (10.0, 11.0, 12.0), **changes: object) -> str:
    """The runner's document of one block with these latencies."""
    latency_ns = [round(value * 1000) for value in latency_us]
    point = {"rss_kb": 5000, "hwm_kb": 6000, "pss_kb": 4000, "swap_kb": 0}
    tensor = {"name": "x", "type": "float32", "shape": [1, 4], "bytes": 16}
    document = {
        "schema": 1,
        "runner": "deploy-bench-runner 1",
        "engine": {
            "kind": "litert",
            "path": "./libLiteRt.so",
            "sha256": ENGINE_SHA256,
            "bytes": 8_000_000,
        },
        "accelerators": ["CpuAccelerator"],
        "fully_accelerated": True,
        "machine": "x86_64",
        "kernel": "6.12.0",
        "page_bytes": 4096,
        "threads": 1,
        "cpus_allowed": [0, 1],
        "signature": "serving_default",
        "inputs": [tensor],
        "outputs": [tensor],
        "init_ns": {
            "library": 1000,
            "environment": 2000,
            "model": 3000,
            "compile": 4000,
            "total": 10_500,
        },
        "first_ns": 30_000,
        "warmup": {"count": 10, "wall_ns": 110_000},
        "latency_ns": latency_ns,
        "timed": {
            "wall_ns": sum(latency_ns) + 1000,
            "cpu_ns": sum(latency_ns),
            "voluntary_switches": 0,
            "involuntary_switches": 1,
            "minor_faults": 0,
            "major_faults": 0,
        },
        "clock": {"name": "CLOCK_MONOTONIC", "call_ns": 25, "resolution_ns": 1},
        "memory": {"before_load": point, "after_init": point, "after_run": point},
        "samples": None,
        "complete": True,
    }
    return json.dumps({**document, **changes})


def make_artifact(
    folder: Path,
    *,
    variant: str = "dense_float32",
    number_format: NumberFormat = NumberFormat.FLOAT32,
    outputs: np.ndarray | None = None,
    labels: Sequence[int] = (0, 1, 2, 3),
    **changes: object,
) -> Artifact:
    """An artifact with its files in ``folder``: four samples, four classes, a reference."""
    folder.mkdir(parents=True, exist_ok=True)
    given = np.eye(4, dtype=np.float32) if outputs is None else outputs
    quantized = given.dtype == np.int8
    scale, zero_point = (0.5, 3) if quantized else (None, None)
    spec = TensorSpec(
        name="x", dtype=str(given.dtype), shape=(1, 4), scale=scale, zero_point=zero_point
    )
    (folder / "model.tflite").write_bytes(b"0000TFL3" + variant.encode())
    (folder / "inputs.bin").write_bytes(given.tobytes())
    (folder / "outputs_litert.bin").write_bytes(given.tobytes())
    np.asarray(labels, dtype="<i4").tofile(folder / "labels.bin")
    fields: dict[str, object] = {
        "recipe": "tiny",
        "variant": variant,
        "branch": variant.rpartition("_")[0],
        "format": number_format,
        "baseline": "dense_float32",
        "task": "classification",
        "file": "model.tflite",
        "sha256": sha256_of(folder / "model.tflite"),
        "bytes": (folder / "model.tflite").stat().st_size,
        "bytes_zstd": 20,
        "input": spec,
        "output": spec,
        "parameters": 16,
        "macs": 16,
        "sparsity": 0.0,
        "sparsity_by_layer": {},
        "compression_ratio": 0.0,
        "accuracy": Accuracy(correct=4, total=4, value=1.0, low=0.5, high=1.0),
        "test": TestSet(
            samples=len(given),
            origin="test split",
            inputs_file="inputs.bin",
            labels_file="labels.bin",
        ),
        "references": (
            Reference(
                engine="ai-edge-litert 2.3.0",
                outputs_file="outputs_litert.bin",
                sha256=sha256_of(folder / "outputs_litert.bin"),
            ),
        ),
        "provenance": Provenance(
            seed=1,
            recipe_sha256="a" * 64,
            data_sha256="b" * 64,
            code_sha256="c" * 64,
            stages=(),
            packages={"tensorflow": "2.21.0"},
            created_by="deploy-bench",
            built_at_utc="2026-01-01T00:00:00+00:00",
        ),
    }
    return write_artifact(Artifact.model_validate({**fields, **changes}), folder)


def make_state(**changes: object) -> State:
    """A cool, discharging phone."""
    fields: dict[str, object] = {
        "at_utc": "2026-01-01T00:00:00+00:00",
        "battery_percent": 85.0,
        "battery_temperature_c": 28.1,
        "battery_voltage_mv": 3900.0,
        "charge_counter_uah": 3_400_000.0,
        "current_now_raw": -350_000.0,
        "charging": "discharging",
        "thermal_status": "none",
        "temperatures_c": {"skin": 32.0},
        "load1": 0.1,
        "notes": (),
    }
    return State.model_validate({**fields, **changes})


def make_identity(**changes: object) -> Identity:
    """A virtual phone in a container."""
    fields: dict[str, object] = {
        "serial": "vphone0",
        "manufacturer": "deploy-bench",
        "model": "Virtual Phone",
        "soc": None,
        "android": "14",
        "sdk": 34,
        "abis": ("x86_64",),
        "fingerprint": "vphone/vphone/1",
        "boot_id": "1",
        "kernel": "6.12.0",
        "security_patch": None,
        "fidelity": Fidelity.CONTAINER,
    }
    return Identity.model_validate({**fields, **changes})


def make_bench(**changes: object) -> Bench:
    """An open bench."""
    fields: dict[str, object] = {
        "id": "20260101-000000-abcd",
        "key": "k",
        "created_at_utc": "2026-01-01T00:00:00+00:00",
        "tool_version": "0.1.0",
        "protocol": Protocol(),
    }
    return Bench.model_validate({**fields, **changes})


def make_visit(**changes: object) -> PhoneVisit:
    """The visit of ``make_identity``'s phone in ``make_bench``'s bench."""
    fields: dict[str, object] = {
        "bench": make_bench().id,
        "serial": "vphone0",
        "position": 0,
        "identity": make_identity(),
        "transport": "adb-shell over TCP",
        "engine": "ai-edge-litert 2.3.0",
        "engine_sha256": ENGINE_SHA256,
    }
    return PhoneVisit.model_validate({**fields, **changes})


def make_run(artifact: Artifact, **changes: object) -> Run:
    """A run of ``artifact`` on ``make_visit``'s phone."""
    fields: dict[str, object] = {
        "bench": make_bench().id,
        "serial": "vphone0",
        "position": 0,
        "artifact": artifact,
        "summary": "a tiny recipe",
        "threads": 1,
    }
    return Run.model_validate({**fields, **changes})


def make_block(run: Run, number: int, latency_us: Sequence[float], **changes: object) -> Block:
    """A block of ``run`` with these latencies."""
    fields: dict[str, object] = {
        "bench": run.bench,
        "serial": run.serial,
        "run": run.name,
        "number": number,
        "position": number,
        "started_at_utc": "2026-01-01T00:00:00+00:00",
        "runner": runner_document(latency_us),
        "state_before": make_state(),
        "state_after": make_state(),
    }
    return Block.model_validate({**fields, **changes})
