"""Binary weights and activations, from training to the values in the file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import binary
from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import DataError
from pipeline.keras_compat import keras, tf
from pipeline.recipe import Quantize
from pipeline.settings import Binarize, Distil
from pipeline.stages import binarize
from pipeline.stages.evaluate import count_correct, keras_outputs
from pipeline.stages.given import Given, Outcome
from pipeline.tflite_file import TfliteModel, read_model
from pipeline.variant import Source, make_variant

pytestmark = pytest.mark.slow
CLASSES, SIDE = 8, 8


def network() -> Any:
    """Every kind of layer that is treated in a way of its own."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv2D(24, 3, 2, padding="same", use_bias=False, name="body")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8, name="body_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv2D(32, 1, name="project", kernel_regularizer="l2")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Dense(32, name="hidden", activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x), name="patterns")


@pytest.fixture(scope="module")
def data() -> Data:
    random = np.random.default_rng(3)
    patterns = random.normal(0, 1, (CLASSES, SIDE, SIDE, 1))
    labels = random.integers(0, CLASSES, 768)
    noise = random.normal(0, 1.5, (768, SIDE, SIDE, 1))
    inputs = (patterns[labels] + noise).astype(np.float32)
    train, test = slice(0, 512), slice(512, 768)
    return Data(
        train=Split(inputs=inputs[train], labels=labels[train]),
        test=Split(inputs=inputs[test], labels=labels[test]),
    )


def binarized(data: Data, **asked: Any) -> Outcome:
    settings = Binarize(stage="binarize", epochs=8, batch=32, learning_rate=5e-3, **asked)
    return binarize.run(settings, Given(model=network(), data=data, seed=2))


@pytest.fixture(scope="module")
def weights(data: Data) -> Outcome:
    return binarized(data)


@pytest.fixture(scope="module")
def activations(data: Data) -> Outcome:
    return binarized(data, activations=True)


def accuracy(model: Any, data: Data) -> float:
    assert data.test.labels is not None
    right = count_correct(keras_outputs(model, data.test.inputs), data.test.labels)
    return right / len(data.test.labels)


def made(outcome: Outcome, data: Data, number_format: str, folder: Path) -> dict[str, Any]:
    source = Source(
        model=outcome.model, data=data, name="v", number_format=NumberFormat(number_format),
        samples=None, quantize=Quantize(), accuracy_reason=None, warnings=(),
    )  # fmt: skip
    return make_variant(source, folder)


def values_per_channel(model: TfliteModel, layer: str) -> list[int]:
    """How many values each output channel of a layer holds; [out, h, w, in] or [out, in]."""
    weight = model.weights[layer]
    assert weight.constant is not None
    return [len(np.unique(row)) for row in weight.constant.reshape(weight.shape[0], -1)]


def test_only_inner_layers_are_binarized_and_the_rest_says_why(weights: Outcome) -> None:
    assert weights.facts["binarized"] == ["body", "project", "hidden"]
    assert weights.facts["kept"] == {
        "stem": "first layer",
        "depthwise": "depthwise: few weights, on which whole channels hang",
        "logits": "last layer",
    }
    assert binarize.NO_BINARY_KERNELS in weights.warnings
    assert binarize.COMPARISONS not in weights.warnings


def test_kernels_are_signs_times_one_scale(weights: Outcome) -> None:
    start = network()
    kinds = [[type(layer) for layer in model.layers] for model in (weights.model, start)]
    assert kinds[0] == kinds[1]  # a plain model
    for name in ("body", "project", "hidden"):
        kernel = weights.model.get_layer(name).kernel.numpy()
        scales = np.abs(kernel.reshape(-1, kernel.shape[-1]))
        assert np.array_equal(scales, np.broadcast_to(scales[:1], scales.shape))
        assert (scales > 0).all()
        assert (kernel > 0).any()
        assert (kernel < 0).any()
        changed = np.sign(kernel) != np.sign(start.get_layer(name).kernel.numpy())
        assert changed.mean() > 0.005  # signs are learned, not read off the start
    assert len(np.unique(weights.model.get_layer("stem").kernel)) == 16 * 9


@pytest.mark.parametrize("number_format", ["float32", "float16", "dynamic", "int8"])
def test_the_file_holds_two_values_per_channel(
    weights: Outcome, data: Data, number_format: str, tmp_path: Path
) -> None:
    fields = made(weights, data, number_format, tmp_path)
    model = read_model(tmp_path / fields["file"])
    for layer, channels in (("body", 24), ("project", 32), ("hidden", 32)):
        assert values_per_channel(model, layer) == [2] * channels, layer
    assert max(values_per_channel(model, "stem")) > 2
    assert fields["accuracy"]["correct"] / 256 > accuracy(weights.model, data) - 0.03


def test_it_learns_far_beyond_chance(weights: Outcome, activations: Outcome, data: Data) -> None:
    assert accuracy(weights.model, data) > 0.85
    assert accuracy(activations.model, data) > 0.7
    assert accuracy(network(), data) < 0.3


@pytest.mark.parametrize("number_format", ["float32", "int8"])
def test_binary_activations_run_in_ordinary_engines(
    activations: Outcome, data: Data, number_format: str, tmp_path: Path
) -> None:
    fields = made(activations, data, number_format, tmp_path)
    assert fields["operators"]["SELECT_V2 v1"] == 3
    assert [r["reason"] for r in fields["references"]] == [None, None]
    assert fields["accuracy"]["correct"] / 256 > accuracy(activations.model, data) - 0.05
    model = read_model(tmp_path / fields["file"])
    assert values_per_channel(model, "body") == [2] * 24
    assert binarize.COMPARISONS in activations.warnings


def test_binary_activations_are_two_values_and_survive_saving(
    activations: Outcome, data: Data, tmp_path: Path
) -> None:
    activations.model.save(tmp_path / "model.keras", save_format="keras")
    with keras.utils.custom_object_scope(binarize.custom_objects()):
        read = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(
        keras_outputs(read, data.test.inputs), keras_outputs(activations.model, data.test.inputs)
    )
    layer = read.get_layer("project")
    probe = keras.Model(read.inputs, layer.input).predict(data.test.inputs, verbose=0)
    signs = binary.binary_inputs(tf.constant(probe), layer.threshold).numpy()
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert layer.threshold.numpy().min() > 0  # at 0 or below, a ReLU's outputs are all alike
    assert 0.1 < (signs > 0).mean() < 0.9  # they say something


def test_packed_bytes_are_counted(weights: Outcome) -> None:
    bits = 9 * 16 * 24, 24 * 32, 4 * 4 * 32 * 32
    assert weights.facts["binary_weights"] == sum(bits)
    scales_biases_norms = 4 * (24 + 32 + 32) + 4 * (32 + 32 + 8) + 8 * (16 + 24 + 24 + 32)
    kernels = 9 * 16 + 9 * 24 + 32 * 8
    packed = sum(bits) // 8 + scales_biases_norms
    assert weights.facts["packed_bytes"] == {
        "rest_float32": packed + 4 * kernels,
        "rest_int8": packed + kernels + 4 * (16 + 24 + 8),
    }


def test_gradients_go_straight_through() -> None:
    kernel = tf.Variable([[0.5, -2.0], [0.0, 1.0]])
    inputs, thresholds = tf.Variable([[0.2, 3.0]]), tf.Variable([0.1, 0.5])
    with tf.GradientTape() as tape:
        weights, signs = binary.binary_kernel(kernel), binary.binary_inputs(inputs, thresholds)
        total = tf.reduce_sum(weights * [[1.0, 2.0], [3.0, 4.0]]) + tf.reduce_sum(5.0 * signs)
    assert np.array_equal(weights, [[0.25, -1.5], [0.25, 1.5]])  # a zero counts as +1
    assert np.array_equal(signs, [[1.0, 1.0]])
    gradients = tape.gradient(total, [kernel, inputs, thresholds])
    assert np.array_equal(gradients[0], [[1.0, 2.0], [3.0, 4.0]])
    assert np.array_equal(gradients[1], [[5.0, 0.0]])  # nothing from far beyond the threshold
    assert np.array_equal(gradients[2], [-5.0, 0.0])


def test_a_network_of_two_layers_is_refused(data: Data) -> None:
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, name="one")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="two")(x), name="short")
    with pytest.raises(DataError, match=r"binarize \(one: first layer; two: last layer\)"):
        binarize.run(Binarize(stage="binarize", epochs=1), Given(model=model, data=data, seed=1))


def test_it_is_taught_as_any_stage(data: Data) -> None:
    teacher = network()
    asked = Distil(teacher="dense")
    settings = Binarize(stage="binarize", epochs=1, batch=128, distil=asked)
    outcome = binarize.run(settings, Given(model=network(), data=data, seed=2, teacher=teacher))
    assert 0 <= outcome.facts["teacher_agreement"] <= 1
