import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.artifact import (
    Accuracy,
    Artifact,
    BadArtifact,
    NumberFormat,
    Reference,
    TensorSpec,
    load_artifact,
    load_artifacts,
    write_artifact,
)


def document(**changes: Any) -> dict[str, Any]:
    """A whole artifact.json as written by this version."""
    return {
        "schema_version": 1, "recipe": "tiny", "variant": "dense_int8", "branch": "dense",
        "format": "int8", "baseline": "dense_float32", "task": "classification",
        "file": "model.tflite", "sha256": hashlib.sha256(b"model").hexdigest(), "bytes": 5,
        "bytes_zstd": 5, "parameters": 6, "macs": 6, "sparsity": 0.5,
        "sparsity_by_layer": {"head": 0.5}, "compression_ratio": 0.7,
        "input": {"name": "x", "dtype": "int8", "shape": [1, 2], "scale": 0.1, "zero_point": -3},
        "output": {"name": "y", "dtype": "int8", "shape": [1, 3], "scale": 0.2, "zero_point": 0},
        "accuracy": {"correct": 3, "total": 4, "value": 0.75, "low": 0.3, "high": 0.95},
        "test": {
            "samples": 4, "origin": "test split", "inputs_file": "inputs.bin",
            "labels_file": "labels.bin",
        },
        "references": [
            {"engine": "ai-edge-litert 2.3.0", "outputs_file": "outputs_litert.bin"},
            {"engine": "tflite-runtime 2.14.0", "reason": "it is not installed"},
        ],
        "provenance": {
            "seed": 1, "recipe_sha256": "r", "data_sha256": "d", "code_sha256": "c",
            "stages": [{"name": "train", "parameters": {"epochs": 2}, "key": "k"}],
            "packages": {"tensorflow": "2.21.0"}, "created_by": "deploy-bench 0.1.0",
            "built_at_utc": "2026-01-01T00:00:00+00:00",
        },
        **changes,
    }  # fmt: skip


def placed(folder: Path, **changes: Any) -> Path:
    """A folder with the files the document names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(b"model")
    (folder / "inputs.bin").write_bytes(bytes(8))
    (folder / "labels.bin").write_bytes(bytes(16))
    (folder / "outputs_litert.bin").write_bytes(bytes(12))
    path = folder / "artifact.json"
    path.write_text(json.dumps(document(**changes)))
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    artifact = load_artifact(placed(tmp_path))
    written = write_artifact(artifact, tmp_path)
    assert load_artifact(tmp_path / "artifact.json") == artifact == written
    assert written.model_path.read_bytes() == b"model"
    assert artifact.format is NumberFormat.INT8
    assert not artifact.is_baseline
    assert artifact.input.bytes == 2
    assert [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"colour": "red"}, "colour"),
        ({"bytes": 0}, "bytes"),
        ({"format": "int4"}, "format"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"accuracy": None}, ""),
        ({"accuracy": {**document()["accuracy"], "correct": 5}}, "accuracy"),
        ({"accuracy": {**document()["accuracy"], "value": 0.5}}, "accuracy"),
        ({"references": [{"engine": "x"}]}, "references.0"),
        ({"references": [{"engine": "x", "outputs_file": "a", "reason": "b"}]}, "references.0"),
        ({"input": {"name": "x", "dtype": "string", "shape": [1]}}, "input"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"file": "other.tflite"}, "other.tflite"),
        ({"file": "../model.tflite"}, "../model.tflite"),
        ({"test": {**document()["test"], "samples": 5}}, "test.inputs_file"),
    ],
)
def test_documents_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    path = placed(tmp_path / "v", **changes)
    with pytest.raises(BadArtifact) as caught:
        load_artifact(path)
    assert caught.value.key == key
    assert "build the recipe again" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\ufeff{}"])
def test_text_that_is_no_artifact_is_refused(tmp_path: Path, text: str) -> None:
    path = placed(tmp_path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadArtifact):
        load_artifact(path)


def test_artifacts_come_with_the_baseline_s_branch_first(tmp_path: Path) -> None:
    names = [
        ("zoo", "dense", "int8"), ("zoo", "dense", "float32"), ("zoo", "dense", "float16"),
        ("zoo", "aged", "float32"), ("zoo", "aged", "int8"),
    ]  # fmt: skip
    for recipe, branch, number_format in names:
        variant = f"{branch}_{number_format}"
        placed(
            tmp_path / recipe / variant, recipe=recipe, variant=variant, branch=branch,
            format=number_format,
        )  # fmt: skip
    placed(tmp_path / ".cache" / "k")
    assert [a.variant for a in load_artifacts(tmp_path)] == [
        "dense_float32", "dense_float16", "dense_int8", "aged_float32", "aged_int8",
    ]  # fmt: skip
    assert load_artifacts(tmp_path / "nothing") == ()


def test_an_artifact_that_is_nowhere_has_no_paths() -> None:
    with pytest.raises(BadArtifact, match="not on disk"):
        Artifact.model_validate(document()).path("model.tflite")


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_value(counts: tuple[int, int]) -> None:
    accuracy = Accuracy.of(*counts)
    assert 0 <= accuracy.low <= accuracy.value + 1e-12
    assert accuracy.value - 1e-12 <= accuracy.high <= 1
    assert accuracy.low < accuracy.high


def test_the_interval_is_wilson_s() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I: 81/263
    accuracy = Accuracy.of(81, 263)
    assert (accuracy.low, accuracy.high) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )


def test_a_reference_needs_outputs_or_a_reason() -> None:
    with pytest.raises(ValidationError, match="outputs_file or the reason"):
        Reference(engine="x")


def test_shapes_are_fixed() -> None:
    with pytest.raises(ValidationError):
        TensorSpec(name="x", dtype="int8", shape=(1, 0))


def test_importing_is_cheap() -> None:
    program = (
        "import sys, pipeline.artifact;"
        "print(*sorted({'numpy', 'scipy', 'tensorflow', 'flatbuffers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
