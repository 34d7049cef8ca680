"""Answers of a model, and how many of them are right."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def keras_outputs(model: Any, inputs: NDArray[Any]) -> NDArray[Any]:
    """Outputs float32[samples, classes] of a Keras model."""
    outputs: NDArray[Any] = model.predict(inputs, batch_size=64, verbose=0)
    return outputs


def count_correct(outputs: NDArray[Any], labels: NDArray[Any]) -> int:
    """How many rows of ``outputs`` [samples, classes] are largest at their label.

    Of equal largest values the first counts, as on the phone; int8 outputs do tie.
    """
    return int((outputs.reshape(len(labels), -1).argmax(axis=1) == labels).sum())


def spread(count: int, chosen: int | None) -> NDArray[Any]:
    """Indices of ``chosen`` out of ``count`` samples, evenly spread; all when None."""
    if chosen is None or chosen >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, chosen).round().astype(int)
