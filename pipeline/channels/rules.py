"""What each kind of Keras layer does to the channels it is given.

A rule takes the labels of what a call reads and gives those of what it makes, and tells the
ledger which hang together. A layer without a rule, or with a setting that no rule covers, is
opaque: what it reads and what it makes stays whole, and the reason names it. Kinds are matched
exactly, as a subclass may compute something else.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from pipeline.channels.labels import Labels, Ledger, Role
from pipeline.channels.network import Call, is_keras, is_tensor

Read = list[Labels]
Rule = Callable[[Ledger, Call, Read], Labels]


class Opaque(Exception):
    """A rule does not cover this call; the text says why, after the layer's name."""


_ACTIVATIONS: Final = frozenset({
    "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "mish", "relu", "relu6",
    "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh",
})  # fmt: skip
_KNOWN_OPAQUE: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("UnitNormalization", "Softmax", "nn.softmax", "math.l2_normalize"), "mixes all channels"
    ),
    "Normalization": "holds constants by channel",
}


def propagate(ledger: Ledger, call: Call, read: list[Labels | None]) -> list[Labels | None]:
    """Labels of what a call gives; None for what has no channel axis of known length."""
    try:
        return [_rule(call)(ledger, call, _known(call, read))]
    except Opaque as exc:
        return _opaque(ledger, call, read, f"{call.path}, {_article(call.kind)}, {exc}")


def has_kernel(layer: Any) -> bool:
    """Whether a layer holds weights with an axis for what it reads and one for what it makes."""
    return any(len(w.shape) > 1 for w in layer.weights)


def _rule(call: Call) -> Rule:
    rule = _RULES.get(call.kind) if is_keras(type(call.layer)) else None
    if rule is None:
        raise Opaque(_KNOWN_OPAQUE.get(call.kind, "does something unknown to channels"))
    if getattr(call.layer, "data_format", None) == "channels_first":
        raise Opaque("works on channels_first")
    return rule


def _known(call: Call, read: list[Labels | None]) -> Read:
    known = [labels for labels in read if labels is not None]
    if len(known) < len(read) or not known:
        raise Opaque("reads something without a channel axis of known length")
    if len(call.outputs) != 1 or call.outputs[0].width is None:
        raise Opaque("gives something without a channel axis of known length")
    return known


def _opaque(
    ledger: Ledger, call: Call, read: list[Labels | None], reason: str
) -> list[Labels | None]:
    for labels in read:
        if labels is not None:
            ledger.freeze(labels, reason)
    if has_kernel(call.layer):
        ledger.whole.setdefault(call.path, reason)
    made = [None if t.width is None else ledger.fresh(t.width) for t in call.outputs]
    for labels in made:
        if labels is not None:
            ledger.freeze(labels, reason)
    return made


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"


# Layers with a kernel


def _dense(ledger: Ledger, call: Call, read: Read) -> Labels:
    count = call.outputs[0].width
    assert count is not None
    makes = ledger.produce(call, read[0], lambda: ledger.fresh(count))
    _activate(ledger, call, makes)
    return makes


def _convolution(ledger: Ledger, call: Call, read: Read) -> Labels:
    groups = int(call.layer.groups)
    if groups == 1:
        return _dense(ledger, call, read)
    makes = _dense(ledger, call, read)
    given, made = (labels.reshape(groups, -1) for labels in (read[0], makes))
    if groups >= given.shape[1]:  # whole groups can go: finer steps than thinning every group
        ledger.join(given, given[:, :1])
        ledger.join(made, given[:, :1])
    else:  # each group loses the channels at the same places
        ledger.join(given, given[:1])
        ledger.join(made, made[:1])
    return makes


def _depthwise(ledger: Ledger, call: Call, read: Read) -> Labels:
    multiplier = int(call.layer.depth_multiplier)
    makes = ledger.produce(call, read[0], lambda: np.repeat(read[0], multiplier))
    _activate(ledger, call, makes)
    return makes


def _activate(ledger: Ledger, call: Call, labels: Labels) -> None:
    """Freeze what a layer's own activation function mixes."""
    activation = call.layer.activation
    if activation is not None and not _is_known(activation):
        name = getattr(activation, "__name__", type(activation).__name__)
        ledger.freeze(labels, f"the activation {name} of {call.path} may mix channels")


def _is_known(activation: Any) -> bool:
    origin = str(getattr(activation, "__module__", "")).split(".")[0]
    return origin in ("tf_keras", "keras", "tensorflow") and activation.__name__ in _ACTIVATIONS


# Layers that keep channels apart


def _pass(_ledger: Ledger, _call: Call, read: Read) -> Labels:
    return read[0]


def _activation(_ledger: Ledger, call: Call, read: Read) -> Labels:
    if not _is_known(call.layer.activation):
        name = getattr(call.layer.activation, "__name__", "unnamed")
        raise Opaque(f"may mix channels by its function {name}")
    return read[0]


def _batch_normalization(ledger: Ledger, call: Call, read: Read) -> Labels:
    _check_last_axis(call)
    return ledger.follow(call, read[0], Role.NORMALISER)


def _group_normalization(ledger: Ledger, call: Call, read: Read) -> Labels:
    """A group's mean and variance stay as they are as long as the group goes as a whole."""
    _check_last_axis(call)
    if call.layer.groups == 1:
        raise Opaque("mixes all channels")
    grouped = read[0].reshape(call.layer.groups, -1)
    ledger.join(grouped, grouped[:, :1])
    return ledger.follow(call, read[0])


def _layer_normalization(_ledger: Ledger, call: Call, read: Read) -> Labels:
    rank = len(call.inputs[0].shape)
    axes = np.atleast_1d(np.asarray(list(_listed(call.layer.axis)))) % rank
    if rank - 1 in axes:
        raise Opaque("mixes all channels")
    return read[0]


def _check_last_axis(call: Call) -> None:
    rank = len(call.inputs[0].shape)
    if [axis % rank for axis in _listed(call.layer.axis)] != [rank - 1]:
        raise Opaque("normalises another axis than the last")


def _listed(axis: Any) -> list[int]:
    return [int(a) for a in axis] if hasattr(axis, "__iter__") else [int(axis)]


def _prelu(ledger: Ledger, call: Call, read: Read) -> Labels:
    one_for_all = call.layer.alpha.shape[-1] == 1
    return read[0] if one_for_all else ledger.follow(call, read[0])


def _follow(ledger: Ledger, call: Call, read: Read) -> Labels:
    return ledger.follow(call, read[0])


def _input(ledger: Ledger, call: Call, read: Read) -> Labels:
    """Of a nested model, which states the number of channels unless that is left open."""
    stated = call.layer.output.shape[-1] is not None
    return ledger.follow(call, read[0]) if stated else read[0]


def _rescaling(_ledger: Ledger, call: Call, read: Read) -> Labels:
    if np.size(call.layer.scale) > 1 or np.size(call.layer.offset) > 1:
        raise Opaque("holds constants by channel")
    return read[0]


# Layers that change the shape


def _reshape(ledger: Ledger, call: Call, read: Read) -> Labels:
    """Channels run fastest in memory, before and after."""
    labels, width = read[0], call.outputs[0].width
    assert width is not None
    if width % len(labels) == 0:
        made = np.tile(labels, width // len(labels))
    elif len(labels) % width == 0:
        rows = labels.reshape(-1, width)
        ledger.join(rows, rows[:1])
        made = rows[0]
    else:
        raise Opaque("cuts channels apart")
    return ledger.follow(call, made) if call.kind == "Reshape" else made


def _permute(_ledger: Ledger, call: Call, read: Read) -> Labels:
    if call.layer.dims[-1] != len(call.layer.dims):
        raise Opaque("moves the channel axis")
    return read[0]


# Layers that combine tensors


def _merge(ledger: Ledger, call: Call, read: Read) -> Labels:
    """Add, multiply and the like; a tensor with one channel is spread over all of the others."""
    _check_constants(call)
    width = call.outputs[0].width
    whole = [labels for labels in read if len(labels) == width]
    if not whole or any(len(labels) not in (1, width) for labels in read):
        raise Opaque("spreads channels in a way that is not known")
    for labels in read:
        if len(labels) == width:
            ledger.join(whole[0], labels)
        else:
            ledger.freeze(labels, f"{call.path} spreads its one channel over others")
    return whole[0]


def _check_constants(call: Call) -> None:
    if any(np.shape(constant)[-1:] not in ((), (1,)) for constant in call.constants):
        raise Opaque("holds constants by channel")


def _elementwise(_ledger: Ledger, call: Call, read: Read) -> Labels:
    _check_constants(call)
    if len(read) != 1:
        raise Opaque("does something unknown to channels")
    return read[0]


def _concatenate(ledger: Ledger, call: Call, read: Read) -> Labels:
    rank = len(call.inputs[0].shape)
    axis = call.layer.axis if call.kind == "Concatenate" else _argument(call, 1, "axis")
    parts = call.arguments[0] if call.arguments else call.named.get("values", ())
    if not isinstance(axis, int) or not all(is_tensor(part) for part in parts):
        raise Opaque("joins constants or unknown axes")
    if axis % rank == rank - 1:
        return np.concatenate(read)
    for labels in read[1:]:
        ledger.join(read[0], labels)
    return read[0]


def _reduce(_ledger: Ledger, call: Call, read: Read) -> Labels:
    rank = len(call.inputs[0].shape)
    axis = _argument(call, 1, "axis")
    if axis is None or rank - 1 in [a % rank for a in _listed(axis)]:
        raise Opaque("mixes all channels")
    return read[0]


def _pad(_ledger: Ledger, call: Call, read: Read) -> Labels:
    paddings = _argument(call, 1, "paddings")
    if is_tensor(paddings) or np.any(np.asarray(paddings)[-1]):
        raise Opaque("adds channels")
    return read[0]


def _resize(_ledger: Ledger, _call: Call, read: Read) -> Labels:
    if len(read) != 1:
        raise Opaque("takes its size from another layer")
    return read[0]


def _argument(call: Call, place: int, name: str) -> Any:
    return call.arguments[place] if len(call.arguments) > place else call.named.get(name)


def _each(kinds: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(kinds.split(), rule)


_PASSING: Final = """
    ReLU LeakyReLU ELU ThresholdedReLU Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D
    GaussianNoise GaussianDropout AlphaDropout ActivityRegularization
    MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D Resizing CenterCrop
    RepeatVector StochasticDepth"""
_FUNCTIONS: Final = """
    nn.relu nn.relu6 nn.silu nn.gelu nn.elu nn.selu nn.leaky_relu math.sigmoid math.tanh math.abs
    math.sqrt math.rsqrt math.square math.exp math.log math.negative math.pow math.softplus
    math.softsign clip_by_value cast identity stop_gradient"""
_ARITHMETIC: Final = """
    Add Subtract Multiply Average Maximum Minimum CustomScaleLayer __operators__.add math.add
    math.subtract math.multiply math.truediv math.divide math.maximum math.minimum"""

_RULES: Final[Mapping[str, Rule]] = {
    **_each("Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose", _convolution),
    **_each("Dense SeparableConv1D SeparableConv2D", _dense),
    **_each("DepthwiseConv1D DepthwiseConv2D", _depthwise),
    **_each("BatchNormalization SyncBatchNormalization", _batch_normalization),
    **_each("GroupNormalization", _group_normalization),
    **_each("LayerNormalization", _layer_normalization),
    **_each("Activation", _activation),
    **_each("PReLU", _prelu),
    **_each("LayerScale", _follow),
    **_each("InputLayer", _input),
    **_each("Rescaling", _rescaling),
    **_each("Flatten Reshape", _reshape),
    **_each("Permute", _permute),
    **_each("Concatenate concat", _concatenate),
    **_each("math.reduce_mean math.reduce_max math.reduce_min math.reduce_sum", _reduce),
    **_each("compat.v1.pad", _pad),
    **_each("image.resize", _resize),
    **_each(_PASSING, _pass),
    **_each(_FUNCTIONS, _elementwise),
    **_each(_ARITHMETIC, _merge),
}
