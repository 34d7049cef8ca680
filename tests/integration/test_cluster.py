"""Weights share values, on disk too; zeros stay zeros; depthwise layers take part."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import NumberFormat
from pipeline.data import Data, Split
from pipeline.errors import StageFailed
from pipeline.export import tflite
from pipeline.keras_compat import keras, tf
from pipeline.settings import Cluster, Train
from pipeline.stages import cluster, train
from pipeline.stages.given import Given, Outcome
from pipeline.tflite_file import read_model

pytestmark = pytest.mark.slow

layers = keras.layers
LAYERS = ("stem", "depthwise", "project", "up", "logits")


def build() -> Any:
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(24, 1, name="project")(x))
    x = layers.Conv2DTranspose(8, 2, 2, activation="relu", name="up")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x), name="stripes")


PARTS = (slice(0, 128), slice(128, 192))


def stripes() -> Data:
    random, labels = np.random.default_rng(0), np.arange(192) % 2
    waves = np.sin(np.arange(8) * 2 + random.uniform(0, 6, (192, 1)))
    standing = np.repeat(waves[:, np.newaxis], 8, axis=1)
    images = np.where(labels[:, None, None] == 1, standing, standing.transpose(0, 2, 1))
    images = (images + random.normal(0, 0.3, images.shape))[..., np.newaxis].astype(np.float32)
    first, second = (Split(inputs=images[part], labels=labels[part]) for part in PARTS)
    return Data(train=first, validation=second, test=second)


@pytest.fixture(scope="module")
def given() -> Given:
    keras.utils.set_random_seed(3)
    start = Given(model=build(), data=stripes(), seed=3)
    settings = Train(stage="train", epochs=6, batch=16, learning_rate=1e-2)
    return Given(model=train.run(settings, start).model, data=start.data, seed=3)


def asked(**changes: Any) -> Cluster:
    fields = {"stage": "cluster", "epochs": 1, "batch": 16, "learning_rate": 1e-3, "clusters": 16}
    return Cluster.model_validate(fields | changes)


@pytest.fixture(scope="module")
def clustered(given: Given) -> Outcome:
    return cluster.run(asked(layers={"project": 5}), given)


def file_of(model: Any, folder: Path) -> Any:
    (folder / "model.tflite").write_bytes(tflite.convert(model, NumberFormat.FLOAT32))
    return read_model(folder / "model.tflite")


def test_facts_tell_the_values_of_every_layer(clustered: Outcome) -> None:
    values = clustered.facts["unique_values"]
    assert {name: v["after"] for name, v in values.items()} == {
        "stem": 16, "depthwise": 16, "project": 5, "up": 16, "logits": 16,
    }  # fmt: skip
    assert {name: v["before"] for name, v in values.items()} == {
        "stem": 144, "depthwise": 144, "project": 384, "up": 768, "logits": 16,
    }  # fmt: skip
    assert sorted(clustered.facts["folded"].values()) == ["depthwise", "project", "stem"]
    assert clustered.facts["left"] == {}
    assert clustered.facts["val_accuracy"] > 0.9


def test_what_comes_back_is_plain_and_the_given_model_is_as_it_was(
    clustered: Outcome, given: Given
) -> None:
    assert {type(layer).__module__.split(".")[0] for layer in clustered.model.layers} == {
        "tf_keras"
    }
    assert np.unique(given.model.get_layer("stem").get_weights()[0]).size == 144


def test_values_are_shared_in_the_file_too(clustered: Outcome, tmp_path: Path) -> None:
    found = file_of(clustered.model, tmp_path).unique_values_by_layer
    assert found == {"stem": 16, "depthwise": 16, "project": 5, "up": 16, "logits": 16}


def test_without_folding_the_file_would_share_nothing(given: Given, tmp_path: Path) -> None:
    """Control: the converter folds, and parts the values of each channel."""
    model, random = keras.models.clone_model(given.model), np.random.default_rng(0)
    model.set_weights(given.model.get_weights())
    kernel = model.get_layer("stem").kernel
    kernel.assign(cluster.shared(kernel.numpy(), 16, "kmeans", random))
    assert file_of(model, tmp_path).unique_values_by_layer["stem"] > 64


def test_zeros_of_a_pruned_layer_stay(given: Given, tmp_path: Path) -> None:
    model = keras.models.clone_model(given.model)
    model.set_weights(given.model.get_weights())
    for name in ("stem", "project"):
        kernel = model.get_layer(name).kernel
        size = np.abs(kernel.numpy())
        kernel.assign(np.where(size < np.quantile(size, 0.5), 0, kernel.numpy()))
    outcome = cluster.run(asked(), Given(model=model, data=given.data, seed=3))
    file = file_of(outcome.model, tmp_path)
    assert file.sparsity_by_layer["stem"] == 0.5
    assert file.sparsity_by_layer["project"] == 0.5
    assert file.sparsity_by_layer["up"] == 0.0
    assert file.unique_values_by_layer["stem"] == 16
    assert file.unique_values_by_layer["project"] == 16


@pytest.mark.parametrize("start", ["linear", "random", "density", "kmeans"])
@pytest.mark.parametrize("pruned", [False, True])
def test_every_start_comes_near_the_weights(start: Any, pruned: bool) -> None:
    random = np.random.default_rng(4)
    kernel = random.normal(size=(3, 3, 20, 30)).astype(np.float32)
    kernel[..., 0] = 0 if pruned else 1
    kernel[:, :, :2] = 0 if pruned else 1
    shared = cluster.shared(kernel, 16, start, random)
    assert shared.dtype == kernel.dtype
    assert 12 <= np.unique(shared).size <= 16
    assert pruned == bool(((shared == 0) == (kernel == 0)).all() and (kernel == 0).any())
    # The best 16 values leave 1 % of a normal distribution's variance (Lloyd-Max quantizer).
    assert np.mean(np.square(shared - kernel)) / np.var(kernel) < 0.025


def test_few_values_are_left_alone() -> None:
    kernel = np.array([[1.0, 2.0], [2.0, 3.0]], np.float32)
    assert cluster.shared(kernel, 3, "kmeans", np.random.default_rng(0)) is kernel


def test_shared_values_learn_by_the_mean_of_their_gradients() -> None:
    kernel = tf.Variable(np.array([1, 1, 1, 1, 2, 2, 2, 2, 0, 0], np.float32))
    held = cluster.WeightsHeld([kernel])
    kernel.assign_add(np.array([0.1, 0.2, 0.3, 0.0, -1, 1, 0, 0, 5, 7], np.float32))
    held.on_train_batch_end(0)
    assert kernel.numpy().tolist() == pytest.approx([1.15] * 4 + [2.0] * 4 + [0.0] * 2)
    assert np.unique(kernel.numpy()).size == 3


def test_an_unknown_layer_is_refused_with_what_comes_close(given: Given) -> None:
    with pytest.raises(StageFailed, match=r"layers names 'projekt'.*close to it: project"):
        cluster.run(asked(layers={"projekt": 4}), given)


def test_layers_that_cannot_share_are_named(given: Given) -> None:
    inputs = keras.Input((8, 8, 1))
    x = layers.SeparableConv2D(2, 3, name="separable")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    outcome = cluster.run(asked(), Given(model=model, data=given.data, seed=3))
    reason = "SeparableConv2D is no layer whose weights can be shared"
    assert outcome.facts["left"] == {"separable": reason}
