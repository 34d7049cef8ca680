"""Batch normalisation's statistics, measured anew.

Where channels went, what the following layers take has another mean and spread than their moving
averages say. Measuring these again takes no labels and no training, and comes before any
judgement of a network that channels were removed from.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Data
from pipeline.keras_compat import keras, tf

SAMPLES: Final = 1024  # the mean of 16 batches of BATCH
BATCH: Final = 64


def recalibrate(model: Any, data: Data, seed: int) -> int:
    """Set the moving averages of ``model`` to the mean of those of its training batches.

    Samples are augmented, as those were that the averages came of. Layers that are frozen keep
    theirs, as they do in training.

    Returns:
        How many layers were measured.
    """
    layers = [layer for layer in model.submodules if _moves(layer)]
    if not layers:
        return 0
    with _forgetful(layers):
        forward = tf.function(lambda inputs: model(inputs, training=True))
        seen = [_after(forward, inputs, layers) for inputs, _ in training_batches(data, seed)]
    for layer, batches in zip(layers, zip(*seen, strict=True), strict=True):
        mean, variance = np.mean(batches, axis=0)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
    return len(layers)


def training_batches(
    data: Data, seed: int, batch: int = BATCH
) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    """Batches of equal size of training inputs and labels, drawn and augmented by ``seed``."""
    random = np.random.default_rng(seed)
    inputs, labels = data.train.inputs, data.train.labels
    order = random.permutation(len(inputs))[:SAMPLES]
    batch = min(batch, len(order))
    for start in range(0, len(order) - batch + 1, batch):
        chosen = order[start : start + batch]
        seen = inputs[chosen] if data.augment is None else data.augment(inputs[chosen], random)
        yield seen, None if labels is None else labels[chosen]


def _moves(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def _after(forward: Any, inputs: NDArray[Any], layers: Sequence[Any]) -> list[NDArray[Any]]:
    """Mean and variance of each layer behind one batch, float32[2, channels]."""
    forward(inputs)
    return [np.stack([layer.moving_mean, layer.moving_variance]) for layer in layers]


@contextmanager
def _forgetful(layers: Sequence[Any]) -> Iterator[None]:
    """With a momentum of 0, moving averages are those of the last batch."""
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
