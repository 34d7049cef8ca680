"""A network on which plain int8 fails, and what a few float layers make of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import ConversionError
from pipeline.recipe import Quantize
from pipeline.tflite_file import read_model

pytestmark = pytest.mark.slow

CLASSES = 4
# Of one channel against the others: int8 then has one step or two left for those.
IMBALANCE = 300.0


def stripes(count: int, seed: int) -> Split:
    """Waves in four directions under noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    rows, columns = np.mgrid[:12, :12]
    angle = (labels * np.pi / CLASSES)[:, None, None]
    phase = random.uniform(0, 6, (count, 1, 1))
    waves = np.sin(1.3 * (np.cos(angle) * columns + np.sin(angle) * rows) + phase)
    noisy = waves + random.normal(0, 0.8, waves.shape)
    return Split(inputs=noisy[..., None].astype(np.float32), labels=labels)


DATA = Data(train=stripes(1024, 0), validation=stripes(512, 1), test=stripes(512, 2))


@pytest.fixture(scope="module")
def model() -> Any:
    """Trained; then one channel is widened behind a layer and narrowed before the next.

    Float answers stay what they were, as a ReLU scales with what it takes.
    """
    from pipeline.keras_compat import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 1), name="image")
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="wide")(inputs)
    x = layers.Conv2D(16, 1, activation="relu", name="reader")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="spatial")(x)
    x = layers.Conv2D(24, 1, activation="relu", name="mixer")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    trained = keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(5e-3), loss)
    trained.fit(DATA.train.inputs, DATA.train.labels, epochs=8, batch_size=64, verbose=0)
    _widen(trained.get_layer("wide"), trained.get_layer("reader"), channel=3)
    return trained


def _widen(layer: Any, following: Any, channel: int) -> None:
    kernel, bias = layer.get_weights()
    kernel[..., channel] *= IMBALANCE
    bias[channel] *= IMBALANCE
    layer.set_weights([kernel, bias])
    kernel, bias = following.get_weights()
    kernel[:, :, channel] /= IMBALANCE
    following.set_weights([kernel, bias])


def converted(model: Any, kind: NumberFormat, data: Data = DATA, tolerance: float = 0.01) -> Any:
    from pipeline.export import convert as export

    quantize = Quantize(calibration_samples=64, tolerance=tolerance)
    return export.convert(
        export.Order(model=model, number_format=kind, data=data, quantize=quantize, name="stripes")
    )


@pytest.fixture(scope="module")
def mixed(model: Any) -> Any:
    return converted(model, NumberFormat.MIXED)


def accuracy(content: bytes, folder: Path, split: Split) -> float:
    from pipeline.reference.process import LITERT, run_engine
    from pipeline.stages.evaluate import count_correct
    from pipeline.variant import stored

    path = folder / "model.tflite"
    path.write_bytes(content)
    file = read_model(path)
    stored(split.inputs, file.spec(file.inputs[0])).tofile(folder / "inputs.bin")
    run_engine(LITERT, path, folder / "inputs.bin", folder / "outputs.bin")
    outputs = np.fromfile(folder / "outputs.bin", file.spec(file.outputs[0]).dtype)
    assert split.labels is not None
    return count_correct(outputs, split.labels) / len(split.labels)


def test_mixed_recovers_what_int8_loses(model: Any, mixed: Any, tmp_path: Path) -> None:
    """On the test split, which the search did not see."""
    outputs = model.predict(DATA.test.inputs, verbose=0)
    of_float = float((outputs.argmax(axis=1) == DATA.test.labels).mean())
    of_int8 = accuracy(converted(model, NumberFormat.INT8).content, tmp_path, DATA.test)
    of_mixed = accuracy(mixed.content, tmp_path, DATA.test)
    assert of_float > 0.95
    assert of_float - of_int8 > 0.03
    assert of_float - of_mixed <= 0.015
    assert of_float - of_mixed <= 0.2 * (of_float - of_int8)


def test_the_layers_around_the_wide_channel_stay_float(mixed: Any, tmp_path: Path) -> None:
    assert sorted(mixed.facts["float_layers"]) == ["CONV_2D reader", "CONV_2D wide"]
    worst = [one["error"] for one in mixed.facts["errors"]]
    assert worst == sorted(worst, reverse=True)
    assert worst[1] > 5 * worst[2]
    path = tmp_path / "model.tflite"
    path.write_bytes(mixed.content)
    file = read_model(path)
    kinds = {name: tensor.dtype for name, tensor in file.weights.items()}
    assert (kinds["wide"], kinds["reader"]) == ("float32", "float32")
    assert (kinds["spatial"], kinds["mixer"], kinds["logits"]) == ("int8", "int8", "int8")
    # Whatever is inside, a mixture is fed as its float model is; one island costs one pair.
    assert file.spec(file.inputs[0]).dtype == file.spec(file.outputs[0]).dtype == "float32"
    counts = file.operator_counts
    assert (counts["QUANTIZE v1"], counts["DEQUANTIZE v2"]) == (1, 1)


def test_the_curve_says_what_each_float_layer_buys(mixed: Any) -> None:
    curve = mixed.facts["mixed"]
    assert [one["float_layers"] for one in curve] == [0, 1, 2]
    accuracies = [one["accuracy"] for one in curve]
    assert accuracies == sorted(accuracies)
    best = mixed.facts["float32_accuracy"]
    assert accuracies[1] < best - mixed.facts["tolerance"] <= accuracies[2]
    assert curve[2]["bytes"] == len(mixed.content)
    assert mixed.facts["judged_by"] == "accuracy on validation split"
    assert mixed.facts["judged_samples"] == 512
    assert mixed.facts["calibration"]["samples"] == 64


def test_a_wide_tolerance_needs_no_float_layer(model: Any) -> None:
    """Then nothing is ranked either: that takes a candidate per operator."""
    found = converted(model, NumberFormat.MIXED, tolerance=0.5).facts
    assert [one["float_layers"] for one in found["mixed"]] == [0]
    assert (found["float_layers"], found["errors"]) == ([], [])


def test_without_labels_the_float_answers_judge(model: Any) -> None:
    assert DATA.validation is not None
    unlabelled = replace(DATA, validation=Split(inputs=DATA.validation.inputs))
    found = converted(model, NumberFormat.MIXED, unlabelled).facts
    assert found["judged_by"] == "agreement with float32 on validation split"
    assert found["float32_accuracy"] == 1.0
    assert found["mixed"][-1]["accuracy"] >= 0.99


def test_a_tolerance_that_nothing_holds_is_an_error(model: Any) -> None:
    """Labels that only float's answers fit: each sample counts, and int8 flips one."""
    with pytest.raises(ConversionError, match=r"mixed holds no loss of 0\.00%") as raised:
        converted(model, NumberFormat.MIXED, hard(model), tolerance=0.0)
    assert "the best mixture" in str(raised.value)
    assert "raise tolerance under [quantize]" in str(raised.value)


def hard(model: Any) -> Data:
    """Samples between two classes, where any rounding at all turns some answers."""
    random = np.random.default_rng(5)
    noise = random.normal(0, 1, (2000, 12, 12, 1)).astype(np.float32)
    logits = np.sort(model.predict(noise, verbose=0), axis=1)
    close = np.argsort(logits[:, -1] - logits[:, -2])[:200]
    return replace(DATA, validation=Split(inputs=noise[close]))
