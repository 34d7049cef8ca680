"""Every number format of one small network, in the engines of this host."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import ConversionError, ReferenceFailed
from pipeline.min_runtime import engine_too_old, stated
from pipeline.recipe import Quantize
from pipeline.reference.process import LITERT, TFLITE_RUNTIME, Engine, run_engine
from pipeline.tflite_file import TfliteModel, read_model

pytestmark = [
    pytest.mark.slow,
    # tensorflow_model_optimization compares TensorFlow's version while it is imported.
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
]

F = NumberFormat
FORMATS = (
    F.FLOAT32, F.FLOAT16, F.DYNAMIC, F.INT8, F.INT16X8, F.DYNAMIC_CONV, F.WEIGHT_INT8,
    F.WEIGHT_INT4,
)  # fmt: skip
CLASSES = 4


def images(count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    inputs = random.normal(0, 1, (count, 8, 8, 1)) + labels[:, None, None, None]
    return Split(inputs=inputs.astype(np.float32), labels=labels)


DATA = Data(train=images(64, 0), validation=images(32, 1), test=images(32, 2))


@pytest.fixture(scope="module")
def model() -> Any:
    """Random weights; a depthwise convolution big enough that the converter quantizes it."""
    from pipeline.keras_compat import keras

    layers = keras.layers
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(128, 3, 2, "same", activation="relu", name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="spatial")(x)
    x = layers.Conv2D(32, 1, activation="relu", name="mixer")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))


class Made:
    """One conversion, on disk."""

    def __init__(self, converted: Any, path: Path) -> None:
        self.facts, self.warnings, self.path = converted.facts, converted.warnings, path
        path.write_bytes(converted.content)
        self.file: TfliteModel = read_model(path)

    def metadata(self, name: str) -> bytes:
        raw = schema.ModelT.InitFromObj(schema.Model.GetRootAs(self.path.read_bytes(), 0))
        buffers = (raw.buffers[e.buffer] for e in raw.metadata if e.name == name.encode())
        return bytes(bytearray(next(buffers).data)).rstrip(b"\0")


Maker = Callable[[NumberFormat], Made]


@pytest.fixture(scope="module")
def made(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Converts to a format when first asked."""
    folder = tmp_path_factory.mktemp("formats")
    return cache(lambda kind: Made(convert(model, kind), folder / f"{kind}.tflite"))


def convert(model: Any, kind: NumberFormat, data: Data = DATA, samples: int = 32) -> Any:
    from pipeline.export import convert as export

    quantize = Quantize(calibration_samples=samples)
    return export.convert(
        export.Order(
            model=model, number_format=kind, data=data, quantize=quantize, name=f"tiny_{kind}"
        )
    )


def answers(path: Path, folder: Path, engine: Engine = LITERT) -> np.ndarray:
    from pipeline.variant import real, stored

    file = read_model(path)
    taken, given = file.spec(file.inputs[0]), file.spec(file.outputs[0])
    stored(DATA.test.inputs, taken).tofile(folder / "inputs.bin")
    run_engine(engine, path, folder / "inputs.bin", folder / "outputs.bin")
    outputs = np.fromfile(folder / "outputs.bin", given.dtype)
    return real(outputs, given).reshape(len(DATA.test.inputs), -1)


@pytest.mark.parametrize("kind", FORMATS)
def test_litert_answers_as_keras_does(
    model: Any, made: Maker, kind: NumberFormat, tmp_path: Path
) -> None:
    from pipeline.variant import TOLERANCE, difference

    expected = model.predict(DATA.test.inputs, verbose=0)
    far = difference(answers(made(kind).path, tmp_path), expected)
    # Four bits lose what they lose; all others come far closer than their limit.
    assert far <= TOLERANCE[kind] * (1 if kind is F.WEIGHT_INT4 else 0.1)
    assert far > 0


@pytest.mark.parametrize(
    ("kind", "weights", "taken"),
    [
        (F.FLOAT32, "float32", "float32"),
        (F.FLOAT16, "float16", "float32"),
        (F.INT8, "int8", "int8"),
        (F.INT16X8, "int8", "int16"),
        (F.WEIGHT_INT8, "int8", "float32"),
    ],
)
def test_weights_and_data_have_the_types_asked_for(
    made: Maker, kind: NumberFormat, weights: str, taken: str
) -> None:
    file = made(kind).file
    assert {name: t.dtype for name, t in file.weights.items()} == dict.fromkeys(
        ("stem", "spatial", "mixer", "logits"), weights
    )
    assert file.spec(file.inputs[0]).dtype == file.spec(file.outputs[0]).dtype == taken
    kinds = {name.split()[0] for name in file.operator_counts}
    assert not kinds & {"QUANTIZE", "SHAPE", "PACK"}


def test_dynamic_conv_keeps_depthwise_float(made: Maker) -> None:
    kinds = {name: t.dtype for name, t in made(F.DYNAMIC_CONV).file.weights.items()}
    assert kinds == {"stem": "int8", "spatial": "float32", "mixer": "int8", "logits": "int8"}
    assert made(F.DYNAMIC).file.weights["spatial"].dtype == "int8"


def test_weight_int4_gives_depthwise_eight_bits(made: Maker) -> None:
    kinds = {name: t.dtype for name, t in made(F.WEIGHT_INT4).file.weights.items()}
    assert kinds == {"stem": "int4", "spatial": "int8", "mixer": "int4", "logits": "int4"}
    assert made(F.WEIGHT_INT4).path.stat().st_size < made(F.WEIGHT_INT8).path.stat().st_size


def test_float16_may_be_computed_in_float16(model: Any, made: Maker, tmp_path: Path) -> None:
    """The file says so, and this processor, which computes in float32, answers the same."""
    from pipeline.export import tflite
    from pipeline.keras_compat import tf

    assert made(F.FLOAT16).metadata("reduced_precision_support") == b"fp16accfp16"
    converter = tflite.configured(model, F.FLOAT16)
    converter.target_spec._experimental_supported_accumulation_type = tf.float32
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(tflite.converted(converter, "plain", F.FLOAT16))
    assert b"fp16accfp32" in plain.read_bytes()
    assert (answers(plain, tmp_path) == answers(made(F.FLOAT16).path, tmp_path)).all()


def test_dynamic_is_advised_against_from_the_graph(made: Maker) -> None:
    slow, *_ = made(F.DYNAMIC).warnings
    assert "dynamic_conv keeps depthwise float" in slow
    for kind in (F.FLOAT32, F.INT8, F.DYNAMIC_CONV, F.WEIGHT_INT8):
        assert made(kind).warnings == ()


@pytest.mark.parametrize(
    ("kind", "partitions", "left"),
    [
        (F.FLOAT32, 1, {}),
        (F.FLOAT16, 1, {}),
        (F.INT8, 1, {}),
        (F.DYNAMIC_CONV, 1, {}),
        (F.WEIGHT_INT8, 1, {}),
        (F.DYNAMIC, 2, {"DEPTHWISE_CONV_2D": 1}),
    ],
)
def test_what_xnnpack_takes_is_counted(
    made: Maker, kind: NumberFormat, partitions: int, left: dict[str, int]
) -> None:
    facts = made(kind).facts["delegate"]
    assert (facts["partitions"], facts["left"]) == (partitions, left)
    assert facts["nodes"] - facts["delegated"] == sum(left.values())
    assert facts["nodes"] == len(made(kind).file.operators)


@pytest.mark.parametrize("kind", [F.INT16X8, F.WEIGHT_INT4])
def test_what_xnnpack_leaves_is_told(made: Maker, kind: NumberFormat) -> None:
    facts, warning = made(kind).facts["delegate"], made(kind).warnings[-1]
    assert facts["left"]["CONV_2D"] == 2
    assert f"takes {facts['delegated']} of {facts['nodes']}" in warning
    assert "CONV_2D ×2" in warning


@pytest.mark.parametrize("kind", [F.FLOAT32, F.FLOAT16, F.INT8])
def test_releases_are_those_the_converter_writes(made: Maker, kind: NumberFormat) -> None:
    content = made(kind).path.read_bytes()
    assert made(kind).file.min_runtime is not None
    assert stated(content).release == made(kind).file.min_runtime
    path = made(kind).path.with_suffix(".stated")
    path.write_bytes(stated(content).content)
    assert read_model(path).operator_counts == made(kind).file.operator_counts


@pytest.mark.parametrize(
    ("kind", "release"),
    [(F.DYNAMIC_CONV, "2.4.0"), (F.WEIGHT_INT8, "2.7.0"), (F.WEIGHT_INT4, "2.18.0")],
)
def test_an_older_engine_runs_it_or_refuses_it(
    model: Any, made: Maker, kind: NumberFormat, release: str, tmp_path: Path
) -> None:
    """And never loads what it cannot compute, as it did before versions were written."""
    from pipeline.variant import difference

    assert made(kind).facts["min_runtime"] == {"release": release}
    assert made(kind).file.min_runtime == release
    package, version = TFLITE_RUNTIME.title.split()
    if engine_too_old(release, package, version):
        with pytest.raises(ReferenceFailed, match="DEQUANTIZE"):
            answers(made(kind).path, tmp_path, TFLITE_RUNTIME)
    else:
        expected = model.predict(DATA.test.inputs, verbose=0)
        assert difference(answers(made(kind).path, tmp_path, TFLITE_RUNTIME), expected) < 0.05


def test_no_release_is_claimed_for_int16(made: Maker) -> None:
    assert made(F.INT16X8).file.min_runtime is None
    assert "CONV_2D (INT16)" in made(F.INT16X8).facts["min_runtime"]["reason"]


def test_int8_says_what_it_was_calibrated_on(made: Maker) -> None:
    facts = made(F.INT8).facts["calibration"]
    assert facts["classes"] == {"0": 8, "1": 8, "2": 8, "3": 8}
    assert facts["samples"] == 32
    assert "calibration" not in made(F.FLOAT32).facts


def test_a_class_that_calibration_lacks_is_named(model: Any) -> None:
    one_short = DATA.train.labels != 3  # type: ignore[comparison-overlap]
    train = Split(inputs=DATA.train.inputs[one_short], labels=DATA.train.labels[one_short])  # type: ignore[index]
    converted = convert(model, F.INT8, Data(train=train, test=DATA.test))
    assert "class 3 " in converted.warnings[0]


def test_no_sample_at_all_is_refused(model: Any) -> None:
    train = Split(inputs=DATA.train.inputs[:0], labels=DATA.train.labels[:0])  # type: ignore[index]
    with pytest.raises(ConversionError, match="no sample to take ranges from"):
        convert(model, F.INT8, Data(train=train, test=DATA.test))


@pytest.fixture(scope="module")
def quantize_aware(model: Any) -> Any:
    """Trained for one epoch with int8's rounding, so that its ranges were learnt."""
    import tensorflow_model_optimization as tfmot

    from pipeline.keras_compat import copy_of, keras

    wrapped = tfmot.quantization.keras.quantize_model(copy_of(model))
    wrapped.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    wrapped.fit(DATA.train.inputs, DATA.train.labels, batch_size=16, verbose=0)
    return wrapped


def test_learnt_ranges_stay(quantize_aware: Any, tmp_path: Path) -> None:
    """No sample is shown, and the input's scale is the one that training moved."""
    empty = Split(inputs=DATA.train.inputs[:0])
    converted = Made(
        convert(quantize_aware, F.INT8, Data(train=empty, test=DATA.test)), tmp_path / "q.tflite"
    )
    assert converted.facts["calibration"]["samples"] == 0
    assert "learnt" in converted.facts["calibration"]["reason"]
    assert converted.file.number_format is F.INT8
    # quantize_layer_max:0, or quantize_layer_3_max:0 in a process that has made others.
    learnt = {w.name.rpartition("_")[2]: w.numpy() for w in quantize_aware.layers[1].weights}
    width = learnt["max:0"] - learnt["min:0"]
    spec = converted.file.spec(converted.file.inputs[0])
    assert spec.dtype == "int8"
    assert spec.scale == pytest.approx(float(width) / 255, rel=1e-5)
    expected = quantize_aware.predict(DATA.test.inputs, verbose=0)
    far = np.abs(answers(converted.path, tmp_path) - expected).max()
    assert far <= 0.05 * np.abs(expected).max()


def test_only_int8_can_be_made_of_learnt_ranges(quantize_aware: Any) -> None:
    with pytest.raises(ConversionError, match="only int8 can be made of it, not float16"):
        convert(quantize_aware, F.FLOAT16)
