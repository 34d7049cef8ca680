"""How much each channel matters, as far as its weights, its scale or its gradients tell.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", 2017 (l1, l2); Liu et al., "Learning
Efficient Convolutional Networks through Network Slimming", 2017 (batchnorm); Molchanov et al.,
"Importance Estimation for Neural Network Pruning", 2019 (taylor); He et al., "Filter Pruning via
Geometric Median", 2019 (geometric_median).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.graph import ChannelGraph, Group, Slot, kernel_by_channel, layer_at
from pipeline.channels.recalibrate import training_batches
from pipeline.data import Data
from pipeline.errors import DataError
from pipeline.keras_compat import copy_of, keras, tf

# Over many samples the gradients of a trained network cancel out: with batches of 64, a network
# for gratings narrowed to a quarter was right in 0.71 of cases, with 2, 4 and 8 in 0.96.
_TAYLOR_BATCH: Final = 8

How = Literal["l1", "l2", "batchnorm", "taylor", "geometric_median", "random"]
# Kernel [channels, weights] -> float[channels].
_Measure = Callable[[NDArray[Any]], NDArray[Any]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What tells which channels go first.

    Attributes:
        units: by group, float64[units]; 1.0 is a usual one of its layers.
        otherwise: groups that could not be scored as asked -> how they were, and why.
    """

    units: Mapping[str, NDArray[np.float64]]
    otherwise: Mapping[str, str] = field(default_factory=dict)


def score(model: Any, graph: ChannelGraph, how: How, data: Data, seed: int) -> Scores:
    """Score every unit of every group of a model, which is not changed.

    Raises:
        DataError: ``taylor`` without labels, or ``batchnorm`` without any that scales a channel.
    """
    if how == "random":
        random = np.random.default_rng(seed)
        return Scores(units={group.name: random.random(group.channels) for group in graph.groups})
    if how == "batchnorm":
        return _by_batchnorm(model, graph)
    if how == "taylor":
        model = attributed(model, data, seed)
    measure = _MEASURES[how]
    return Scores(units={group.name: _by_kernel(model, group, measure) for group in graph.groups})


def attributed(model: Any, data: Data, seed: int) -> Any:
    """A copy with weights of abs(weight x gradient of the loss), summed over training batches.

    A network that errs on no training sample any more has hardly any gradients, and they come of
    a few samples: there, l1 chooses better.

    Raises:
        DataError: the training split has no labels.
    """
    if data.train.labels is None:
        reason = "train.labels is None, so there are no gradients for score = 'taylor'"
        raise DataError(model.name, f"{reason}; use l1, l2, batchnorm or geometric_median")
    copy = copy_of(model)
    copy.trainable = True  # gradients of frozen layers count, too
    weights = copy.trainable_weights
    step = _attribution(copy, weights)
    total = [np.zeros(weight.shape) for weight in weights]
    for inputs, labels in training_batches(data, seed, _TAYLOR_BATCH):
        total = [t + a.numpy() for t, a in zip(total, step(inputs, labels), strict=True)]
    for weight, values in zip(weights, total, strict=True):
        weight.assign(values)
    return copy


def _attribution(model: Any, weights: list[Any]) -> Any:
    softmax = keras.activations.softmax
    logits = getattr(model.layers[-1], "activation", None) is not softmax
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)

    @tf.function  # type: ignore[untyped-decorator]
    def step(inputs: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(labels, model(inputs, training=False))
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(value, weights, unconnected_gradients=zero)
        return [tf.abs(w * g) for w, g in zip(weights, gradients, strict=True)]

    return step


def _by_kernel(model: Any, group: Group, measure: _Measure) -> NDArray[np.float64]:
    """Producers are normalised before they are added: one with larger weights must not decide.

    On models/digits_mobile, one seed, before fine-tuning, this was worth 4 to 8 points of
    accuracy at half of the multiplications (l1, l2, taylor; uniform), and cost 0 to 3 at 0.7.
    """
    found = [_units(measure(kernel_by_channel(layer_at(model, slot.layer))), slot)
             for slot in group.producers]  # fmt: skip
    total: NDArray[np.float64] = np.sum([normalised(units) for units in found], axis=0)
    return total


def _by_batchnorm(model: Any, graph: ChannelGraph) -> Scores:
    units, otherwise = {}, {}
    for group in graph.groups:
        found = [_units(np.abs(layer.gamma.numpy()), slot) for slot in group.normalisers
                 if (layer := layer_at(model, slot.layer)).scale]  # fmt: skip
        if found:
            units[group.name] = np.sum([normalised(scale) for scale in found], axis=0)
        else:
            units[group.name] = _by_kernel(model, group, _l1)
            otherwise[group.name] = "l1: no batch normalisation scales it"
    if graph.groups and len(otherwise) == len(graph.groups):
        reason = "score = 'batchnorm', but no batch normalisation scales a removable channel"
        raise DataError(model.name, f"{reason}; use l1 or taylor")
    return Scores(units=units, otherwise=otherwise)


def normalised(units: NDArray[Any]) -> NDArray[np.float64]:
    """Divided by their mean, so that 1.0 is a usual channel of the layer; zeros stay."""
    mean = float(units.mean())
    divided: NDArray[np.float64] = units / mean if mean > 0 else np.zeros(len(units))
    return divided


def _units(channels: NDArray[Any], slot: Slot) -> NDArray[np.float64]:
    """Sums over the channels of each unit."""
    summed: NDArray[np.float64] = channels.astype(np.float64)[np.array(slot.indices)].sum(axis=1)
    return summed


def _l1(kernel: NDArray[Any]) -> NDArray[Any]:
    total: NDArray[Any] = np.abs(kernel).sum(axis=1)
    return total


def _l2(kernel: NDArray[Any]) -> NDArray[Any]:
    length: NDArray[Any] = np.linalg.norm(kernel, axis=1)
    return length


def _distances(kernel: NDArray[Any]) -> NDArray[Any]:
    """Sum of each channel's distances to all others: the one nearest to all is replaceable."""
    flat = kernel.astype(np.float64)
    lengths = np.square(flat).sum(axis=1)
    squares = lengths[:, np.newaxis] + lengths - 2 * flat @ flat.T
    total: NDArray[Any] = np.sqrt(np.maximum(squares, 0)).sum(axis=1)
    return total


# taylor: what is summed are the attributions that stand in the kernel's place.
_MEASURES: Final[Mapping[str, _Measure]] = {
    "l1": _l1, "l2": _l2, "taylor": _l1, "geometric_median": _distances,
}  # fmt: skip
