"""Training for int8: what the file holds, what it keeps, and that it says what stays float."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import StageFailed
from pipeline.export import tflite
from pipeline.export.size import zstd_bytes
from pipeline.folding import fold
from pipeline.keras_compat import copy_of, keras
from pipeline.reference.process import LITERT, run_engine
from pipeline.settings import Cluster, QuantizeAware, Train
from pipeline.stages import cluster, quantize_aware, train
from pipeline.stages.evaluate import count_correct, keras_outputs
from pipeline.stages.fit import fit
from pipeline.stages.given import Given, Outcome
from pipeline.tflite_file import TfliteModel, read_model

pytestmark = pytest.mark.slow

layers = keras.layers


def build() -> Any:
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(momentum=0.9)(y))
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(16, 1, name="project")(y))
    x = layers.Conv2D(48, 3, name="wide")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    outputs = layers.Dense(2, activation="softmax", name="top")(x)
    return keras.Model(inputs, outputs, name="stripes")


def stripes() -> Data:
    random, labels = np.random.default_rng(0), np.arange(320) % 2
    waves = np.sin(np.arange(8) * 2 + random.uniform(0, 6, (320, 1)))
    standing = np.repeat(waves[:, np.newaxis], 8, axis=1)
    images = np.where(labels[:, None, None] == 1, standing, standing.transpose(0, 2, 1))
    images = (images + random.normal(0, 0.5, images.shape))[..., np.newaxis].astype(np.float32)
    parts = [slice(0, 128), slice(128, 192), slice(192, 320)]
    splits = [Split(inputs=images[part], labels=labels[part]) for part in parts]
    return Data(train=splits[0], validation=splits[1], test=splits[2])


DATA = stripes()


def given(model: Any) -> Given:
    return Given(model=model, data=DATA, seed=3)


def asked(**changes: Any) -> QuantizeAware:
    fields = {"stage": "quantize_aware", "epochs": 2, "batch": 16, "learning_rate": 1e-3}
    return QuantizeAware.model_validate(fields | changes)


@pytest.fixture(scope="module")
def dense() -> Any:
    keras.utils.set_random_seed(3)
    settings = Train(stage="train", epochs=6, batch=16, learning_rate=1e-2)
    return train.run(settings, given(build())).model


@pytest.fixture(scope="module")
def sparse(dense: Any) -> Any:
    """Magnitude pruning by hand: 60 % zeros in two layers."""
    model = copy_of(dense)
    for name in ("project", "wide"):
        kernel = model.get_layer(name).kernel
        size = np.abs(kernel.numpy())
        kernel.assign(np.where(size < np.quantile(size, 0.6), 0, kernel.numpy()))
    return model


@pytest.fixture(scope="module")
def both(sparse: Any) -> Any:
    """Zeros and shared values."""
    settings = Cluster(stage="cluster", epochs=1, batch=16, learning_rate=1e-3, clusters=8)
    return cluster.run(settings, given(sparse)).model


@pytest.fixture(scope="module")
def plain_outcome(dense: Any) -> Outcome:
    return quantize_aware.run(asked(), given(dense))


@pytest.fixture(scope="module")
def both_outcome(both: Any) -> Outcome:
    return quantize_aware.run(asked(), given(both))


def file_of(model: Any, folder: Path) -> TfliteModel:
    path = folder / "model.tflite"
    path.write_bytes(tflite.convert(model, NumberFormat.INT8))
    return read_model(path)


def answers(file: TfliteModel, inputs: np.ndarray, folder: Path) -> np.ndarray:
    """What LiteRT answers to the file's int8 inputs, as real numbers."""
    takes, gives = file.spec(file.inputs[0]), file.spec(file.outputs[0])
    assert takes.scale is not None
    assert takes.zero_point is not None
    steps = np.round(inputs / takes.scale) + takes.zero_point
    (folder / "in.bin").write_bytes(np.clip(steps, -128, 127).astype(np.int8).tobytes())
    run_engine(LITERT, Path(file.path), folder / "in.bin", folder / "out.bin")
    given_out = np.fromfile(folder / "out.bin", gives.dtype).reshape(len(inputs), -1)
    return (given_out.astype(np.float32) - (gives.zero_point or 0)) * (gives.scale or 1)


def conversions(file: TfliteModel) -> int:
    return sum(operator.name in ("QUANTIZE", "DEQUANTIZE") for operator in file.operators)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_the_file_is_int8_throughout_and_answers_as_the_model_does(
    plain_outcome: Outcome, dense: Any, tmp_path: Path
) -> None:
    file = file_of(plain_outcome.model, tmp_path)
    assert conversions(file) == 0
    assert {tensor.dtype for tensor in file.weights.values()} == {"int8"}
    assert (file.spec(file.inputs[0]).dtype, file.spec(file.outputs[0]).dtype) == ("int8", "int8")
    inputs, labels = DATA.test.inputs, DATA.test.labels
    assert labels is not None
    outputs, expected = answers(file, inputs, tmp_path), keras_outputs(plain_outcome.model, inputs)
    assert rms(outputs - expected) / rms(expected) < 0.02
    # 128 samples: within two of the float model.
    float_right = count_correct(keras_outputs(dense, inputs), labels)
    assert float_right > 110
    assert count_correct(outputs, labels) >= float_right - 2


def test_every_channel_of_a_depthwise_kernel_uses_all_steps(
    plain_outcome: Outcome, tmp_path: Path
) -> None:
    weights = file_of(plain_outcome.model, tmp_path).weights["depthwise"]
    assert weights.constant is not None
    steps = np.abs(weights.constant.reshape(weights.shape).astype(int)).max(axis=(0, 1, 2))
    assert steps.tolist() == [127] * 16


def test_facts_of_plain_training(plain_outcome: Outcome) -> None:
    facts = plain_outcome.facts
    assert (facts["keeps"], facts["stays_float"], plain_outcome.warnings) == ([], {}, ())
    assert sorted(facts["folded"].values()) == ["depthwise", "project", "stem"]
    assert facts["val_accuracy"] > 0.85


def test_zeros_and_shared_values_stay(
    both: Any, both_outcome: Outcome, plain_outcome: Outcome, tmp_path: Path
) -> None:
    assert both_outcome.facts["keeps"] == ["zeros", "shared values"]
    file = file_of(both_outcome.model, tmp_path)
    assert file.sparsity_by_layer["project"] == pytest.approx(0.6, abs=0.005)
    assert file.sparsity_by_layer["wide"] == pytest.approx(0.6, abs=0.005)
    assert set(file.unique_values_by_layer) == {"stem", "depthwise", "project", "wide", "top"}
    assert max(file.unique_values_by_layer.values()) <= 8
    assert conversions(file) == 0
    plain = tflite.convert(plain_outcome.model, NumberFormat.INT8)
    assert zstd_bytes(Path(file.path).read_bytes()) < 0.7 * zstd_bytes(plain)
    # It trained: what is shared are other values than before.
    before = both.get_layer("wide").get_weights()[0]
    after = both_outcome.model.get_layer("wide").get_weights()[0]
    assert not np.array_equal(np.unique(before), np.unique(after))


def test_zeros_stay_alone_where_nothing_is_shared(sparse: Any, tmp_path: Path) -> None:
    outcome = quantize_aware.run(asked(epochs=1), given(sparse))
    assert outcome.facts["keeps"] == ["zeros"]
    file = file_of(outcome.model, tmp_path)
    kernel = outcome.model.get_layer("wide").get_weights()[0]
    assert np.mean(kernel == 0) == pytest.approx(0.6, abs=0.001)
    assert file.sparsity_by_layer["wide"] == pytest.approx(0.6, abs=0.02)  # and what rounds to 0
    assert file.unique_values_by_layer["wide"] > 50


def test_training_that_holds_nothing_would_lose_both(both: Any, tmp_path: Path) -> None:
    """Control: the same rounding, but for what holds the weights."""
    plan = quantize_aware.planned(fold(both).model, ())
    model = quantize_aware.rounded(plan, DATA)
    fit(model, asked(), given(both))
    assert np.mean(model.get_layer("wide").get_weights()[0] == 0) < 0.2
    assert file_of(model, tmp_path).unique_values_by_layer["wide"] > 3 * 8


def test_the_model_is_read_from_disk_as_it_was_written(
    both_outcome: Outcome, tmp_path: Path
) -> None:
    expected = keras_outputs(both_outcome.model, DATA.test.inputs)
    with keras.utils.custom_object_scope(quantize_aware.custom_objects()):
        both_outcome.model.save(tmp_path / "model.keras", save_format="keras")
        read = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(keras_outputs(read, DATA.test.inputs), expected)
    assert tflite.is_quantize_aware(read)


def test_a_skipped_layer_is_float_in_the_file(dense: Any, tmp_path: Path) -> None:
    outcome = quantize_aware.run(asked(epochs=1, skip=["depthwise"]), given(dense))
    assert outcome.facts["stays_float"] == {
        "depthwise": "skip names it",
        "project": "takes what relu gives, which is float",
    }
    assert outcome.warnings == (
        "stays float within int8: project: takes what relu gives, which is float",
    )
    file = file_of(outcome.model, tmp_path)
    kinds = {name: tensor.dtype for name, tensor in file.weights.items()}
    assert kinds == {
        "stem": "int8", "depthwise": "float32", "project": "float32", "wide": "int8", "top": "int8",
    }  # fmt: skip
    assert conversions(file) == 2
    inputs = DATA.test.inputs
    expected = keras_outputs(outcome.model, inputs)
    assert rms(answers(file, inputs, tmp_path) - expected) / rms(expected) < 0.02


@pytest.mark.parametrize(
    ("skip", "said"),
    [
        (["depthwize"], "skip names 'depthwize'.*close to it: depthwise"),
        (["add"], "skip names 'add', which is none of the layers it can be"),
        (["stem", "depthwise", "project", "wide", "top"], "no layer with a kernel is left"),
    ],
)
def test_what_cannot_be_skipped_is_refused(dense: Any, skip: list[str], said: str) -> None:
    with pytest.raises(StageFailed, match=said):
        quantize_aware.run(asked(skip=skip), given(dense))


def v3_like() -> Any:
    """Hard swish of called functions, squeeze and excitation, affine layers first."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=(1.0, 2, 3), variance=(4.0, 4, 5))(inputs)
    x = layers.Conv2D(8, 3, name="first")(layers.Rescaling(0.5, -1)(x))
    x = layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1 / 6)])
    x = layers.Activation("swish")(layers.DepthwiseConv2D(3, name="depthwise")(x))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(squeezed)
    x = layers.Conv2DTranspose(4, 2, 2, name="up")(layers.Multiply()([x, gate]))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(layers.AveragePooling2D()(x))))


def densenet_like() -> Any:
    """Batch normalisation before convolutions, concatenations that feed one another."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(inputs)
    for _ in range(2):
        y = layers.Activation("relu")(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same")(y)])
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.mark.parametrize("build_net", [v3_like, densenet_like])
def test_nets_that_are_not_only_convolutions_are_int8_throughout(
    build_net: Callable[[], Any], tmp_path: Path
) -> None:
    inputs = np.random.default_rng(1).normal(1, 2, size=(64, 8, 8, 3)).astype(np.float32)
    data = Data(train=Split(inputs=inputs), test=Split(inputs=inputs))
    model = build_net()
    plan = quantize_aware.planned(fold(model).model, ())
    assert plan.stays_float == {}
    made = quantize_aware.rounded(plan, data)
    expected = keras_outputs(model, inputs)
    assert rms(keras_outputs(made, inputs) - expected) / rms(expected) < 0.05
    file = file_of(made, tmp_path)
    assert conversions(file) == 0
    found = answers(file, inputs, tmp_path)
    step = file.spec(file.outputs[0]).scale
    assert step is not None
    # Each of the dozen operators rounds.
    assert rms(found - keras_outputs(made, inputs)) < 5 * step


def test_a_layer_of_several_operators_stays_float_and_is_named(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    x = layers.LayerNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="top")(layers.Flatten()(x)))
    plan = quantize_aware.planned(model, ())
    assert plan.stays_float == {"norm": "LayerNormalization may be several operators"}
    file = file_of(quantize_aware.rounded(plan, DATA), tmp_path)
    assert conversions(file) > 0
    assert {name: t.dtype for name, t in file.weights.items()} == {"conv": "int8", "top": "int8"}
