"""Weights of -1 and +1 times one scale for each output channel.

First and last layer stay: they hold few weights, and most of what a network knows of its inputs
and classes. Depthwise layers stay, too: each channel hangs on its nine weights, together they are
some per cent of a network's, and a trial on ``digits_mobile`` (10 epochs, one seed) gave 98.6 %
with them binary and 99.4 % without, 98.9 % being that of the float network.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline import binary
from pipeline.errors import DataError
from pipeline.keras_compat import keras
from pipeline.settings import Binarize
from pipeline.stages.evaluate import spread
from pipeline.stages.fit import fit
from pipeline.stages.given import Facts, Given, Outcome

_THRESHOLD_SAMPLES: Final = 128
# Of the largest activation: the least threshold behind a ReLU. int8 has 255 steps for that range,
# which training may widen.
_LEAST_SHARE: Final = 1 / 64
_BITS: Final = 8
_FLOAT_BYTES: Final = 4

NO_BINARY_KERNELS: Final = (
    "LiteRT has no kernels for binary weights: this variant runs no faster than the same network "
    "without binarize in the same number format, and its file becomes smaller only when it is "
    "compressed; packed_bytes in the stage's facts is what an engine with such kernels would store"
)
COMPARISONS: Final = (
    "binary activations are made by a comparison before each binarized layer, which ordinary "
    "engines carry out in addition: expect it to run slower than without them"
)


def run(settings: Binarize, given: Given) -> Outcome:
    """Train a copy of the model whose inner layers count as binary; then make them so.

    The outcome is a plain Keras model; with ``activations`` its binarized layers are of the
    classes in ``custom_objects()``.

    Facts are the last epoch's numbers, the layers binarized, those kept with the reason, and
    the bytes that packed weights would take.

    Raises:
        DataError: there is no layer to binarize, or the training split has no labels.
    """
    model = given.model
    kept = kept_layers(model)
    chosen = [la.name for la in model.layers if _has_kernel(la) and la.name not in kept]
    if not chosen:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in kept.items())
        raise DataError(model.name, f"no layer is left to binarize ({reasons})")
    latent = _rebuilt(model, chosen, settings.activations, binary.latent_form)
    for layer in model.layers:
        copy = latent.get_layer(layer.name)
        copy.set_weights([*layer.get_weights(), *copy.get_weights()[len(layer.weights) :]])
    if settings.activations:
        _set_thresholds(latent, model, chosen, given)
    facts = fit(latent, settings, given)
    made = _rebuilt(model, chosen, settings.activations, binary.kept_form)
    for layer in made.layers:
        layer.set_weights(_final(latent.get_layer(layer.name), layer.name in chosen))
    warnings = (NO_BINARY_KERNELS, *((COMPARISONS,) if settings.activations else ()))
    return Outcome(model=made, facts=facts | _facts(made, chosen, kept), warnings=warnings)


def custom_objects() -> dict[str, Any]:
    """Classes by which a saved model with binary activations is read."""
    return binary.custom_objects()


def kept_layers(model: Any) -> dict[str, str]:
    """Layers with a kernel that stay as they are, and why."""
    layers = [layer for layer in model.layers if _has_kernel(layer)]
    return {
        layer.name: reason
        for layer in layers
        if (reason := _reason(layer, first=layer is layers[0], last=layer is layers[-1]))
    }


def packed_bytes(model: Any, binarized: list[str], rest_bytes: int) -> int:
    """Bytes of a model whose binary weights take a bit each.

    Binary layers hold a float32 scale for each output channel beside their bits; biases, and the
    two vectors that BatchNormalization comes down to, are float32.

    Args:
        model: after binarize.
        binarized: its binary layers.
        rest_bytes: of each weight of other kernels: 4 as float32; 1 as int8, which adds a
            scale for each output channel.
    """
    return sum(_layer_bytes(layer, layer.name in binarized, rest_bytes) for layer in model.layers)


def _layer_bytes(layer: Any, binarized: bool, rest_bytes: int) -> int:
    if isinstance(layer, keras.Model):
        return packed_bytes(layer, [], rest_bytes)
    if isinstance(layer, keras.layers.BatchNormalization):
        return 2 * _FLOAT_BYTES * int(layer.moving_mean.shape[0])
    total = 0
    for weight in layer.weights:
        size, scales = weight.shape.num_elements(), _FLOAT_BYTES * _channels(layer, weight)
        if weight.shape.rank < 2:
            total += _FLOAT_BYTES * size
        elif binarized:
            total += -(-size // _BITS) + scales
        else:
            total += rest_bytes * size + (scales if rest_bytes < _FLOAT_BYTES else 0)
    return total


def _channels(layer: Any, weight: Any) -> int:
    """Output channels of a kernel; a depthwise one has as many as its last two axes tell."""
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return int(np.prod(weight.shape[-2:] if depthwise else weight.shape[-1:]))


def _has_kernel(layer: Any) -> bool:
    return any(weight.shape.rank >= 2 for weight in layer.weights)


def _reason(layer: Any, *, first: bool, last: bool) -> str | None:
    if first:
        return "first layer"
    if last:
        return "last layer"
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return "depthwise: few weights, on which whole channels hang"
    if isinstance(layer, keras.Model):
        return "a model within the model"
    if not binary.can_be_binary(layer):
        return f"{type(layer).__name__} has no binary form here"
    return None


def _rebuilt(model: Any, chosen: list[str], activations: bool, form: Any) -> Any:
    def made(layer: Any) -> Any:
        if layer.name in chosen:
            return form(layer, activations)
        return layer.__class__.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=made)


def _set_thresholds(latent: Any, model: Any, chosen: list[str], given: Given) -> None:
    """Tell activations apart at their means at first, of each channel.

    Behind a ReLU half of all activations are exactly 0. A threshold at or below 0 would tell
    nothing, and one just above it would be 0 in int8; so there it stays well above.
    """
    inputs = given.data.train.inputs
    some = inputs[spread(len(inputs), _THRESHOLD_SAMPLES)]
    taken = [model.get_layer(name).get_input_at(-1) for name in chosen]
    values = keras.Model(model.inputs, taken).predict(some, batch_size=32, verbose=0)
    arrays = values if len(chosen) > 1 else [values]
    for name, array in zip(chosen, arrays, strict=True):
        layer, means = latent.get_layer(name), array.mean(axis=tuple(range(array.ndim - 1)))
        layer.least = _LEAST_SHARE * float(array.max()) if array.min() >= 0 else None
        layer.threshold.assign(layer.bounded(means))


def _final(latent: Any, binarized: bool) -> list[NDArray[Any]]:
    values: list[NDArray[Any]] = latent.get_weights()
    if binarized:
        values[0] = binary.binary_kernel(values[0]).numpy()
    return values


def _facts(made: Any, binarized: list[str], kept: dict[str, str]) -> Facts:
    bits = sum(made.get_layer(name).kernel.shape.num_elements() for name in binarized)
    return {
        "binarized": binarized,
        "kept": kept,
        "binary_weights": bits,
        "packed_bytes": {
            "rest_float32": packed_bytes(made, binarized, _FLOAT_BYTES),
            "rest_int8": packed_bytes(made, binarized, 1),
        },
    }
