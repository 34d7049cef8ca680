"""Batch normalisation is folded exactly, and where it is not, the reason is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.folding import fold
from pipeline.keras_compat import keras, tf

pytestmark = pytest.mark.slow

layers = keras.layers


def disturbed(model: Any) -> Any:
    """Statistics and factors far from 1 and 0, as training leaves them."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.2, 2, w.shape) for w in layer.weights])
    return model


def functional(*made: Any, shape: tuple[int, ...] = (6, 6, 4)) -> Any:
    inputs = keras.Input(shape)
    x = inputs
    for layer in made:
        x = layer(x)
    return disturbed(keras.Model(inputs, x, name="net"))


def farthest(model: Any, other: Any) -> float:
    """The largest difference of outputs, as a share of the largest output."""
    shape = (8, *model.inputs[0].shape[1:])
    inputs = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    ours, theirs = model(inputs, training=False).numpy(), other(inputs, training=False).numpy()
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


FOLDABLE: dict[str, Callable[[], Any]] = {
    "convolution": lambda: layers.Conv2D(6, 3, name="taker"),
    "groups": lambda: layers.Conv2D(6, 3, groups=2, use_bias=False, name="taker"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, name="taker"),
    "transposed": lambda: layers.Conv2DTranspose(5, 3, 2, use_bias=False, name="taker"),
    "dense": lambda: layers.Dense(7, name="taker"),
}


@pytest.mark.parametrize("kind", FOLDABLE)
def test_what_is_folded_computes_the_same(kind: str) -> None:
    model = functional(FOLDABLE[kind](), layers.BatchNormalization(name="norm"), layers.ReLU(6.0))
    before = [w.copy() for w in model.get_weights()]
    folded = fold(model)
    assert (folded.folded, folded.kept) == ({"norm": "taker"}, {})
    assert [layer.name for layer in folded.model.layers if layer.weights] == ["taker"]
    assert farthest(model, folded.model) < 1e-5
    assert all((b == w).all() for b, w in zip(before, model.get_weights(), strict=True))
    # It is the norm that was folded, not one that does nothing.
    kernels = model.get_layer("taker").get_weights()[0], folded.model.layers[1].get_weights()[0]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_a_sequential_model_folds_with_everything_else_kept() -> None:
    model = disturbed(
        keras.Sequential([
            keras.Input((6, 6, 4), name="image"), layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(scale=False, center=False), layers.Dropout(0.5),
            layers.Lambda(lambda x: 2 * x), layers.Flatten(), layers.Dense(3, name="last"),
            layers.BatchNormalization(),
        ], name="line")
    )  # fmt: skip
    folded = fold(model)
    assert list(folded.folded.values()) == ["first", "last"]
    assert folded.model.name == "line"
    assert folded.model.inputs[0].name.startswith("image")
    assert farthest(model, folded.model) < 1e-5


def test_branches_and_called_functions_stay_wired() -> None:
    inputs = keras.Input((6, 6, 4))
    left = layers.BatchNormalization()(layers.Conv2D(4, 1, name="left")(inputs))
    right = layers.BatchNormalization()(layers.Conv2D(4, 1, name="right")(inputs))
    joined = layers.Concatenate()([left, tf.nn.relu6(right + 3.0) / 6.0])
    model = disturbed(keras.Model(inputs, layers.Add()([joined, joined])))
    folded = fold(model)
    assert sorted(folded.folded.values()) == ["left", "right"]
    assert farthest(model, folded.model) < 1e-5


def shared_output() -> Any:
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 1, name="taker")(inputs)
    return keras.Model(inputs, layers.Add()([x, layers.BatchNormalization(name="norm")(x)]))


def given_out() -> Any:
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 1, name="taker")(inputs)
    return keras.Model(inputs, [layers.BatchNormalization(name="norm")(x), x])


def called_twice() -> Any:
    inputs, norm = keras.Input((6, 6, 4)), layers.BatchNormalization(name="norm")
    return keras.Model(inputs, norm(layers.Conv2D(4, 1)(norm(inputs))))


def taker_called_twice() -> Any:
    inputs, taker = keras.Input((6, 6, 4)), layers.Conv2D(4, 1, name="taker")
    return keras.Model(inputs, layers.BatchNormalization(name="norm")(taker(taker(inputs))))


def by_batch() -> Any:
    inputs = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 1)(inputs)
    return keras.Model(inputs, layers.BatchNormalization(name="norm")(x, training=True))


def norm() -> Any:
    return layers.BatchNormalization(name="norm")


KEPT: dict[str, tuple[Callable[[], Any], str]] = {
    "activation": (
        lambda: functional(layers.Conv2D(4, 1, activation="relu", name="taker"), norm()),
        "taker applies relu before it",
    ),
    "relu layer": (
        lambda: functional(layers.Conv2D(4, 1), layers.ReLU(name="relu"), norm()),
        "follows relu (ReLU), which has no kernel to take it",
    ),
    "first": (lambda: functional(norm(), layers.Conv2D(4, 1)), "follows the model's input"),
    "axis": (
        lambda: functional(
            layers.Conv2D(4, 1, name="taker"), layers.BatchNormalization(1, name="norm")
        ),
        "normalises axis [1], which are not the channels of taker",
    ),
    "constraint": (
        lambda: functional(layers.Dense(4, kernel_constraint="max_norm", name="taker"), norm()),
        "taker holds its weights to a constraint, which folding would break",
    ),
    "used elsewhere": (shared_output, "the output of taker is used elsewhere, too"),
    "given out": (given_out, "the output of taker is used elsewhere, too"),
    "taker twice": (taker_called_twice, "the output of taker is used elsewhere, too"),
    "twice": (called_twice, "is called several times"),
    "by batch": (by_batch, "normalises by each batch, also when the model runs"),
    "nested": (
        lambda: functional(functional(layers.Conv2D(4, 1), norm())),
        "lies inside the nested model net",
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_cannot_be_folded_is_named_with_the_reason(case: str) -> None:
    build, reason = KEPT[case]
    model = disturbed(build())
    folded = fold(model)
    assert (folded.folded, folded.kept) == ({}, {"norm": reason})
    if len(model.outputs) == 1:
        assert farthest(model, folded.model) < 1e-6


def test_a_subclassed_model_is_refused() -> None:
    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(DataError, match="is a subclass of Model"):
        fold(Own(name="own"))
