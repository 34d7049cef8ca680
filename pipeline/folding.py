"""Batch normalisation folded into the layer before it; the model computes the same.

The converter folds, too, but too late: it multiplies each channel of a kernel by a factor of its
own, and values that the weights of a layer share are shared no longer. Zeros survive either way.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.2.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.keras_compat import keras, tf

_LAYERS: Final = keras.layers
# Layers that multiply by one kernel, and the attribute that holds it. Exact classes only: what a
# subclass does with its kernel cannot be known.
KERNELS: Final[Mapping[type, str]] = {
    _LAYERS.Conv2D: "kernel",
    _LAYERS.DepthwiseConv2D: "depthwise_kernel",
    _LAYERS.Conv2DTranspose: "kernel",
    _LAYERS.Dense: "kernel",
}
_CONSTRAINTS: Final = ("kernel_constraint", "depthwise_constraint", "bias_constraint")
# What a layer becomes in a model that is built anew: called as the layer was.
Make = Callable[[Any], Callable[..., Any]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """A model after folding.

    Attributes:
        model: a new one; the one that was given has not changed.
        folded: the layer that took it over, by the name of the batch normalisation.
        kept: why it stays, by the name of the batch normalisation.
    """

    model: Any
    folded: dict[str, str]
    kept: dict[str, str]


def fold(model: Any) -> Folded:
    """Fold every batch normalisation that follows a layer of ``KERNELS`` and nothing else does.

    Raises:
        DataError: the model is neither functional nor sequential.
    """
    wiring = Wiring(model)
    found = {norm: _before(norm, wiring) for norm in _norms(model)}
    takers = {taker: norm for norm, taker in found.items() if not isinstance(taker, str)}
    kept = {norm.name: reason for norm, reason in found.items() if isinstance(reason, str)}
    gone = set(takers.values())

    def make(layer: Any) -> Callable[..., Any]:
        if layer in gone:
            return unchanged
        new: Callable[..., Any] = clone(layer, **({"use_bias": True} if layer in takers else {}))
        return new

    folded = rebuilt(model, make)
    for taker, norm in takers.items():
        folded.get_layer(taker.name).set_weights(_folded_weights(taker, norm))
    names = {norm.name: taker.name for taker, norm in takers.items()}
    return Folded(model=folded, folded=names, kept=kept | _nested(model))


def clone(layer: Any, **changes: Any) -> Any:
    """A layer like ``layer``, without weights yet, but for ``changes`` of its configuration."""
    return type(layer).from_config({**layer.get_config(), **changes})


def unchanged(value: Any, **_: Any) -> Any:
    """What a layer becomes that is to vanish."""
    return value


def rebuilt(model: Any, make: Make, entry: Callable[[Any], Any] = unchanged) -> Any:
    """Build a functional model anew from what ``make`` says each layer becomes.

    Weights go over wherever a layer of the same name and shapes comes out.

    Args:
        model: functional or sequential; it is not changed.
        make: called once for each layer.
        entry: applied to each input of the new model.

    Raises:
        DataError: the model is neither functional nor sequential.
    """
    nodes, counts = nodes_of(model), model._tensor_usage_count
    inputs = [
        keras.Input(t.shape[1:], t.shape[0], name=t.name.split(":")[0], dtype=t.dtype)
        for t in model.inputs
    ]
    # Keras takes one of these away at each use.
    known = {
        str(id(old)): [entry(new)] * counts[str(id(old))]
        for old, new in zip(model.inputs, inputs, strict=True)
    }
    made: dict[Any, Callable[..., Any]] = {}
    for node in nodes:
        if node.layer not in made:
            made[node.layer] = make(node.layer)
        args, kwargs = node.map_arguments(known)
        given = tf.nest.flatten(made[node.layer](*args, **kwargs))
        known |= {i: [t] * counts[i] for i, t in zip(node.flat_output_ids, given, strict=True)}
    outputs = [known[str(id(old))].pop() for old in model.outputs]
    new = keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name=model.name)
    _take_weights(new, model)
    return new


def nodes_of(model: Any) -> list[Any]:
    """The calls of layers a model is made of, in the order of execution; inputs left out.

    Raises:
        DataError: the model is neither functional nor sequential.
    """
    if not getattr(model, "_is_graph_network", False):
        reason = "is a subclass of Model, whose layers cannot be told; build it functionally"
        raise DataError(model.name, f"the model {reason}")
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [n for depth in depths for n in model._nodes_by_depth[depth] if not n.is_input]


@final
class Wiring:
    """Who makes and who takes each tensor of a functional model."""

    def __init__(self, model: Any) -> None:
        self._nodes = nodes_of(model)
        self._outputs = {str(id(t)) for t in model.outputs}
        self._calls = Counter(node.layer for node in self._nodes)

    def node(self, layer: Any) -> Any | None:
        """The only call of a layer; None when it is called several times."""
        if self._calls[layer] != 1:
            return None
        return next(node for node in self._nodes if node.layer is layer)

    def makers(self, layer: Any) -> list[Any]:
        """Layers whose output ``layer`` takes, in all its calls; inputs of the model left out."""
        wanted = {i for n in self._nodes if n.layer is layer for i in n.flat_input_ids}
        return [n.layer for n in self._nodes if wanted & set(n.flat_output_ids)]

    def takers(self, layer: Any) -> list[Any]:
        """Layers that take what ``layer`` gives; None among them stands for the model's output."""
        given = {i for n in self._nodes if n.layer is layer for i in n.flat_output_ids}
        found = [n.layer for n in self._nodes for i in n.flat_input_ids if i in given]
        return [*found, *(None for _ in given & self._outputs)]


def factors(norm: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a batch normalisation multiplies by and adds, float64[channels]."""
    mean = norm.moving_mean.numpy().astype(np.float64)
    scale = 1 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    return scale, (norm.beta.numpy() if norm.center else 0) - mean * scale


def is_norm(layer: Any) -> bool:
    """Whether a layer is Keras' own batch normalisation."""
    return type(layer) is _LAYERS.BatchNormalization


def _norms(model: Any) -> list[Any]:
    return [layer for layer in model.layers if is_norm(layer)]


def _before(norm: Any, wiring: Wiring) -> Any | str:
    """The layer that can take over ``norm``, or why none can."""
    node, makers = wiring.node(norm), wiring.makers(norm)
    if node is None:
        return "is called several times"
    if node.call_kwargs.get("training"):
        return "normalises by each batch, also when the model runs"
    if not makers:
        return "follows the model's input"
    (layer,) = makers
    if type(layer) not in KERNELS:
        return f"follows {layer.name} ({type(layer).__name__}), which has no kernel to take it"
    if wiring.node(layer) is None or wiring.takers(layer) != [norm]:
        return f"the output of {layer.name} is used elsewhere, too"
    if layer.activation is not keras.activations.linear:
        return f"{layer.name} applies {layer.get_config()['activation']} before it"
    if any(getattr(layer, name, None) for name in _CONSTRAINTS):
        return f"{layer.name} holds its weights to a constraint, which folding would break"
    rank = len(norm.input_shape)
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    if list(norm.axis) != [1 if first else rank - 1]:
        return f"normalises axis {list(norm.axis)}, which are not the channels of {layer.name}"
    return layer


def _nested(model: Any) -> dict[str, str]:
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return {
        norm.name: f"lies inside the nested model {m.name}" for m in inner for norm in _norms(m)
    }


def _folded_weights(layer: Any, norm: Any) -> list[NDArray[Any]]:
    scale, shift = factors(norm)
    kernel = getattr(layer, KERNELS[type(layer)]).numpy()
    match type(layer):
        case _LAYERS.DepthwiseConv2D:  # [height, width, in, multiplier]
            by_channel = scale.reshape(kernel.shape[2:])
        case _LAYERS.Conv2DTranspose:  # [height, width, out, in]
            by_channel = scale[:, np.newaxis]
        case _:  # [..., in, out]
            by_channel = scale
    bias = layer.bias.numpy() if layer.use_bias else 0
    return [(kernel * by_channel).astype(kernel.dtype), (bias * scale + shift).astype(kernel.dtype)]


def _take_weights(new: Any, model: Any) -> None:
    by_name = {layer.name: layer for layer in new.layers}
    for layer in model.layers:
        taker = by_name.get(layer.name)
        values = layer.get_weights()
        if taker and [v.shape for v in values] == [tuple(w.shape) for w in taker.weights]:
            taker.set_weights(values)
