"""Make one variant: convert, write the test set in its type, let the engines answer, check.

What comes out is everything an artifact holds but names and comparisons with other variants.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import MODEL_FILE, Accuracy, NumberFormat, Reference, TensorSpec, TestSet
from pipeline.artifact import sha256_of as sha256_of_file
from pipeline.data import Data
from pipeline.errors import ConversionError, ReferenceFailed
from pipeline.export.convert import Order, convert
from pipeline.export.size import zstd_bytes
from pipeline.recipe import Quantize
from pipeline.reference.process import LITERT, TFLITE_RUNTIME, Engine, run_engine
from pipeline.sparse_path import sparse_path
from pipeline.stages.evaluate import count_correct, keras_outputs, spread
from pipeline.tflite_file import TfliteModel, read_model

INPUTS_FILE: Final = "inputs.bin"
LABELS_FILE: Final = "labels.bin"
_OUTPUTS_FILES: Final = {LITERT: "outputs_litert.bin", TFLITE_RUNTIME: "outputs_tflite_runtime.bin"}

# How far LiteRT's answers may lie from Keras', as rms(difference) / rms(Keras). Float formats
# differ by rounding alone; beyond that the file computes something else.
TOLERANCE: Final = {
    NumberFormat.FLOAT32: 1e-3,
    NumberFormat.FLOAT16: 5e-2,
    NumberFormat.DYNAMIC: 0.5,
    NumberFormat.INT8: 0.5,
    NumberFormat.INT16X8: 0.5,
    NumberFormat.DYNAMIC_CONV: 0.5,
    NumberFormat.WEIGHT_INT8: 0.5,
    # Sixteen steps per channel lose what they lose; accuracy tells, not the distance.
    NumberFormat.WEIGHT_INT4: 1.0,
    NumberFormat.MIXED: 0.5,
    NumberFormat.FLOAT32_SPARSE: 1e-3,
    NumberFormat.FLOAT16_SPARSE: 5e-2,
}
# From here on a reader must be told, though the file may still be of use.
REMARKABLE: Final = {
    NumberFormat.FLOAT32: 1e-4,
    NumberFormat.FLOAT16: 1e-2,
    NumberFormat.DYNAMIC: 0.15,
    NumberFormat.INT8: 0.15,
    NumberFormat.INT16X8: 0.15,
    NumberFormat.DYNAMIC_CONV: 0.15,
    NumberFormat.WEIGHT_INT8: 0.15,
    NumberFormat.WEIGHT_INT4: 0.3,
    NumberFormat.MIXED: 0.15,
    NumberFormat.FLOAT32_SPARSE: 1e-4,
    NumberFormat.FLOAT16_SPARSE: 1e-2,
}
# A file with a larger share of zeros was pruned; trained weights hold next to none by chance.
SPARSE: Final = 0.3
# Keras answers this many samples for the check; a wrong kernel shows on every one.
CHECKED_SAMPLES: Final = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a variant is made of."""

    model: Any  # Keras
    data: Data
    name: str
    number_format: NumberFormat
    samples: int | None  # test samples a phone runs; None: all
    quantize: Quantize
    accuracy_reason: str | None  # why no accuracy may be stated
    warnings: tuple[str, ...]


def make_variant(source: Source, folder: Path) -> dict[str, Any]:
    """Write model.tflite, inputs.bin, labels.bin and outputs into ``folder``.

    Args:
        source: what it is made of.
        folder: empty.

    Returns:
        Fields of the artifact, as JSON.

    Raises:
        ConversionError: no TFLite form, or LiteRT gives other numbers than Keras.
        ReferenceFailed: LiteRT does not run it.
    """
    path = folder / MODEL_FILE
    made = convert(
        Order(
            model=source.model, number_format=source.number_format, data=source.data,
            quantize=source.quantize, name=source.name,
        )
    )  # fmt: skip
    path.write_bytes(made.content)
    model = read_model(path)
    chosen = spread(len(source.data.test.inputs), source.samples)
    inputs = source.data.test.inputs[chosen]
    test = write_test_set(source.data, chosen, model.spec(model.inputs[0]), folder)
    references = tuple(
        answers(engine, model, folder, test, source.accuracy_reason is not None)
        for engine in _OUTPUTS_FILES
    )
    warnings = (
        *source.warnings,
        *made.warnings,
        *_remarks(model, source.number_format),
        *_compared(source, inputs, model, folder),
    )
    return {
        **facts_of(model, made.content),
        "format": source.number_format,
        "conversion": {**made.facts, **_unskipped(model)},
        "test": test.model_dump(mode="json"),
        "references": [r.model_dump(mode="json") for r in references],
        "accuracy": references[0].model_dump(mode="json")["accuracy"],
        "accuracy_reason": source.accuracy_reason,
        "warnings": list(warnings),
    }


def facts_of(model: TfliteModel, content: bytes) -> dict[str, Any]:
    """What the file itself says, as JSON."""
    return {
        "file": MODEL_FILE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "bytes_zstd": zstd_bytes(content),
        "input": model.spec(model.inputs[0]).model_dump(mode="json"),
        "output": model.spec(model.outputs[0]).model_dump(mode="json"),
        "parameters": model.parameters,
        "macs": model.macs,
        "sparsity": model.sparsity,
        "sparsity_by_layer": model.sparsity_by_layer,
        "unique_values_by_layer": model.unique_values_by_layer,
        "operators": model.operator_counts,
        "min_runtime": model.min_runtime,
    }


def write_test_set(data: Data, chosen: NDArray[Any], spec: TensorSpec, folder: Path) -> TestSet:
    """Write the chosen test samples in the model's input type, and their labels."""
    with (folder / INPUTS_FILE).open("wb") as file:
        for sample in data.test.inputs[chosen]:
            file.write(stored(sample, spec).tobytes())
    labels = data.test.labels
    if labels is not None:
        (folder / LABELS_FILE).write_bytes(labels[chosen].astype("<i4").tobytes())
    return TestSet(
        samples=len(chosen), origin=data.origin, inputs_file=INPUTS_FILE,
        labels_file=None if labels is None else LABELS_FILE,
    )  # fmt: skip


def stored(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Real values as the tensor stores them."""
    if spec.scale is None:
        return values.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    steps = np.round(values / spec.scale) + (spec.zero_point or 0)
    clipped: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return clipped


def real(values: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Stored values as the real ones they stand for."""
    if spec.scale is None:
        return values.astype(np.float32)
    steps: NDArray[np.float32] = values.astype(np.float32) - np.float32(spec.zero_point or 0)
    return steps * np.float32(spec.scale)


def answers(
    engine: Engine, model: TfliteModel, folder: Path, test: TestSet, unjudged: bool
) -> Reference:
    """What ``engine`` answers to the test set.

    LiteRT is the engine phones run, so a model it refuses is no variant; another engine's
    refusal is a fact about the variant.

    Raises:
        ReferenceFailed: LiteRT cannot run the model.
    """
    name = _OUTPUTS_FILES[engine]
    try:
        run_engine(engine, folder / MODEL_FILE, folder / test.inputs_file, folder / name)
    except ReferenceFailed as exc:
        if engine is LITERT:
            raise
        (folder / name).unlink(missing_ok=True)
        return Reference(engine=engine.title, reason=exc.reason)
    accuracy = None
    if test.labels_file is not None and not unjudged:
        labels = np.fromfile(folder / test.labels_file, "<i4")
        outputs = np.fromfile(folder / name, model.spec(model.outputs[0]).dtype)
        accuracy = Accuracy.of(count_correct(outputs, labels), len(labels))
    return Reference(
        engine=engine.title, outputs_file=name, sha256=sha256_of_file(folder / name),
        accuracy=accuracy,
    )  # fmt: skip


def _remarks(model: TfliteModel, number_format: NumberFormat) -> tuple[str, ...]:
    """The converter leaves what it cannot or need not quantize as it is, and says nothing."""
    # What tells these two apart, depthwise layers, the converter leaves float when they are small.
    dynamic = (NumberFormat.DYNAMIC, NumberFormat.DYNAMIC_CONV)
    if model.number_format is number_format or {model.number_format, number_format} <= set(dynamic):
        return ()
    return (f"asked for {number_format}, but the file computes as {model.number_format} would",)


def difference(outputs: NDArray[Any], expected: NDArray[Any]) -> float:
    """rms(outputs - expected) / rms(expected); infinite when an output is no number."""
    if not np.isfinite(outputs).all():
        return float("inf")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    error = float(np.sqrt(np.mean(np.square(outputs - expected, dtype=np.float64))))
    return error / scale if scale else float(error != 0)


def _unskipped(model: TfliteModel) -> dict[str, Any]:
    """For a pruned file: which layers' zeros an engine will skip, and why not the others'."""
    return {"sparse_path": sparse_path(model).as_json()} if model.sparsity > SPARSE else {}


def _tolerance(number_format: NumberFormat, model: TfliteModel) -> float:
    """Where answers hang on signs, the least rounding turns some, in float formats too."""
    signs = {"GREATER_EQUAL", "SELECT_V2"} <= {op.name for op in model.operators}
    return max(TOLERANCE[number_format], TOLERANCE[NumberFormat.INT8] if signs else 0.0)


def _compared(
    source: Source, inputs: NDArray[Any], model: TfliteModel, folder: Path
) -> tuple[str, ...]:
    """Warnings about the variant's answers; an exception when they are wrong."""
    spec = model.spec(model.outputs[0])
    outputs = np.fromfile(folder / _OUTPUTS_FILES[LITERT], spec.dtype).reshape(len(inputs), -1)
    checked = spread(len(inputs), CHECKED_SAMPLES)
    expected = keras_outputs(source.model, inputs[checked]).reshape(len(checked), -1)
    far = difference(real(outputs[checked], spec), expected)
    if not far <= _tolerance(source.number_format, model):
        reason = (
            f"LiteRT's answers lie {far:.1%} (rms) from Keras' on the same inputs; the converted "
            "file computes something else and is not kept"
        )
        raise ConversionError(source.name, reason)
    found = []
    if far > REMARKABLE[source.number_format]:
        agree = float(np.mean(outputs[checked].argmax(1) == expected.argmax(1)))
        found.append(f"answers lie {far:.1%} (rms) from Keras'; top-1 agrees on {agree:.0%}")
    if len(outputs) > 1 and (outputs == outputs[0]).all():
        found.append("gives the same answer to every sample, so agreement on it shows nothing")
    return tuple(found)
