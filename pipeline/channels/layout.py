"""Where in each kind of layer's weights the channels sit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.network import is_keras

Indices = NDArray[np.int64]


class Axis(Enum):
    """What an axis of a weight runs over."""

    READ = auto()  # channels read
    READ_IN_GROUP = auto()  # places in a group of the channels read
    READ_TIMES = auto()  # channels read, each several times in a row
    MADE = auto()  # channels made


@final
@dataclass(frozen=True, slots=True)
class Weight:
    """A weight of a layer.

    Attributes:
        axes: what its axes run over, by their number; the others have nothing to do with channels.
        multiplies: whether each of its values is multiplied once at each position.
    """

    shape: tuple[int, ...]
    axes: Mapping[int, Axis]
    multiplies: bool = False

    @property
    def repeats(self) -> int:
        """Values for one of each channel."""
        return math.prod(n for axis, n in enumerate(self.shape) if axis not in self.axes)


_READ_MADE: Final = {-2: Axis.READ, -1: Axis.MADE}
_GROUPED: Final = {-2: Axis.READ_IN_GROUP, -1: Axis.MADE}
_MADE_READ: Final = {-2: Axis.MADE, -1: Axis.READ}
_READ: Final = {-2: Axis.READ}
_TIMES: Final = {-2: Axis.READ_TIMES, -1: Axis.MADE}
_BY_CHANNEL: Final = {-1: Axis.MADE}

# Source: the weights' shapes in tf_keras/src/layers (build of each class); biases come behind.
_KERNELS: Final[Mapping[str, tuple[Mapping[int, Axis], ...]]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), (_READ_MADE,)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), (_MADE_READ,)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (_READ,)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), (_READ, _TIMES)),
}
_BY_CHANNEL_KINDS: Final = frozenset({
    "BatchNormalization", "SyncBatchNormalization", "GroupNormalization", "PReLU", "LayerScale",
})  # fmt: skip


def weights_of(layer: Any) -> tuple[Weight, ...]:
    """The weights of a layer, in its own order."""
    shapes = [tuple(map(int, w.shape)) for w in layer.weights]
    kind = kind_of(layer)
    if kind in _BY_CHANNEL_KINDS:
        return tuple(Weight(shape, _from_zero(_BY_CHANNEL, shape)) for shape in shapes)
    kernels = _KERNELS.get(kind, ())
    if groups_of(layer) > 1:
        kernels = (_GROUPED,)
    found = [
        Weight(shape, _from_zero(axes, shape), multiplies=True)
        for axes, shape in zip(kernels, shapes, strict=False)
    ]
    rest = _BY_CHANNEL if kernels else {}
    return (*found, *(Weight(s, _from_zero(rest, s)) for s in shapes[len(found) :]))


def kind_of(layer: Any) -> str:
    """The name of a layer's class when it is Keras's own, else nothing."""
    return type(layer).__name__ if is_keras(type(layer)) else ""


def groups_of(layer: Any) -> int:
    """Groups of a convolution, each of which reads and makes channels of its own."""
    return int(layer.groups) if kind_of(layer) in ("Conv1D", "Conv2D", "Conv3D") else 1


def group_width(layer: Any) -> int:
    """Channels that a group of a convolution reads."""
    return int(layer.kernel.shape[-2])


def places(layer: Any, axis: Axis, read: Indices, made: Indices) -> Indices:
    """Where on an axis the channels ``read`` and ``made`` by a layer sit."""
    match axis:
        case Axis.READ:
            return read
        case Axis.READ_IN_GROUP:
            shared: Indices = np.unique(read % group_width(layer))
            return shared
        case Axis.READ_TIMES:
            times = int(layer.depth_multiplier)
            spread: Indices = np.repeat(read * times, times)
            return spread + np.tile(np.arange(times, dtype=np.int64), len(read))
        case Axis.MADE:
            return made


def taken(layer: Any, read: Indices, made: Indices) -> list[NDArray[Any]]:
    """The weights of a layer that are left with the channels ``read`` and ``made``."""
    left = []
    for value, weight in zip(layer.get_weights(), weights_of(layer), strict=True):
        for number, axis in weight.axes.items():
            value = value.take(places(layer, axis, read, made), axis=number)
        left.append(value)
    return left


def read_as_zero(layer: Any, unread: Indices) -> list[NDArray[Any]]:
    """The weights of a layer with which channels it reads count as zero."""
    values = [value.copy() for value in layer.get_weights()]
    kernel, weight = values[0], weights_of(layer)[0]
    axis = next(n for n, runs in weight.axes.items() if runs is not Axis.MADE)
    by_channel = np.moveaxis(kernel, axis, 0)  # a view
    if weight.axes[axis] is Axis.READ_IN_GROUP:
        width, outputs = group_width(layer), kernel.shape[-1] // groups_of(layer)
        for channel in unread.tolist():
            group, place = divmod(channel, width)
            by_channel[place, ..., group * outputs : (group + 1) * outputs] = 0
    else:
        by_channel[unread] = 0
    return values


def kernel_by_channel(layer: Any) -> NDArray[Any]:
    """The kernel of a layer, float[output channels, weights of that channel].

    Of a separable convolution it is the pointwise kernel, which alone tells outputs apart.

    Raises:
        ValueError: the layer has no kernel of a known layout.
    """
    kind = kind_of(layer)
    if kind not in _KERNELS:
        raise ValueError(f"{layer.name} is no layer with a kernel of a known layout")
    last = len(_KERNELS[kind]) - 1
    kernel = np.asarray(layer.get_weights()[last])
    if kind.startswith("DepthwiseConv"):  # channel r * multiplier + m
        return kernel.reshape(-1, kernel.shape[-2] * kernel.shape[-1]).T
    made = next(n for n, runs in weights_of(layer)[last].axes.items() if runs is Axis.MADE)
    return np.moveaxis(kernel, made, 0).reshape(kernel.shape[made], -1)


def _from_zero(axes: Mapping[int, Axis], shape: Sequence[int]) -> dict[int, Axis]:
    return {axis % len(shape): runs for axis, runs in axes.items()} if shape else {}
