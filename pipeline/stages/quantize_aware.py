"""Training with int8's rounding in place, so that the weights learn to live with it.

Every kernel is rounded as the file will hold it, and every value between two layers has a range,
which starts where the float model's values lie and follows them. Batch normalisation is folded
first, so that what is rounded is what will be stored.

tensorflow_model_optimization's quantize_apply() is not used. It refuses what it has no entry for;
rounds nothing in a convolution that a ReLU layer follows, which is what folding leaves; gives all
channels of a depthwise kernel one scale; and starts each range at -6 to 6, from where it moves by
a thousandth each step. What its version 0.8.1 makes cannot be read back from a .keras file.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, section 3.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Data
from pipeline.errors import StageFailed
from pipeline.folding import KERNELS, Wiring, clone, factors, fold, is_norm, nodes_of, rebuilt
from pipeline.keras_compat import copy_of, keras, tf
from pipeline.order import Trait
from pipeline.settings import QuantizeAware
from pipeline.stages.cluster import (
    WeightsHeld,
    check_names,
    folding_facts,
    is_pruned,
    is_shared,
    kernels,
)
from pipeline.stages.evaluate import spread
from pipeline.stages.fit import fit
from pipeline.stages.given import Facts, Given, Outcome

_LAYERS: Final = keras.layers
# How far a range moves to what a batch shows; after some hundred steps it has followed.
_FOLLOWS: Final = 0.01
# Where ranges start; more samples only take longer.
_SAMPLES: Final = 128
_BATCH: Final = 16
# Layers that give values they take: engines let both have one scale.
_PASSES: Final = (
    _LAYERS.AveragePooling2D, _LAYERS.Cropping2D, _LAYERS.Dropout, _LAYERS.Flatten,
    _LAYERS.GlobalMaxPooling2D, _LAYERS.MaxPooling2D, _LAYERS.Permute, _LAYERS.Reshape,
    _LAYERS.SpatialDropout2D, _LAYERS.ZeroPadding2D,
)  # fmt: skip
_PASSING_CALLS: Final = (
    "expand_dims", "getitem", "identity", "reshape", "split", "squeeze", "transpose",
)  # fmt: skip
# Layers all of whose inputs and output must have one scale.
_JOINS: Final = (_LAYERS.Concatenate, _LAYERS.Maximum, _LAYERS.Minimum)
# Layers that are one operator, whatever follows.
_SINGLE: Final = (
    _LAYERS.Add, _LAYERS.GlobalAveragePooling2D, _LAYERS.LeakyReLU, _LAYERS.Multiply, _LAYERS.ReLU,
    _LAYERS.Softmax, _LAYERS.Subtract, _LAYERS.UpSampling2D,
)  # fmt: skip
# Layers whose operator computes a ReLU behind it, too.
_FUSING: Final = (
    _LAYERS.Add, _LAYERS.Conv2D, _LAYERS.Dense, _LAYERS.DepthwiseConv2D, _LAYERS.Multiply,
    _LAYERS.Subtract,
)  # fmt: skip
# Layers that multiply and add by channel; as a depthwise convolution they are one operator.
_AFFINE: Final = (_LAYERS.BatchNormalization, _LAYERS.Normalization, _LAYERS.Rescaling)
# Activations that the operator before computes itself, and those whose range is a fixed one.
_FUSED: Final = ("linear", "relu", "relu6")
_BOUND: Final = ("sigmoid", "softmax", "tanh")
_ACTIVATIONS: Final = (*_FUSED, *_BOUND, "elu", "gelu", "leaky_relu", "silu", "swish")
# Less than any scale that int8 can hold beside another; a range must not be empty.
_LEAST: Final = 1e-9


def custom_objects() -> dict[str, Any]:
    """Layer classes by which a model behind this stage is read again."""
    return {kind.__name__: kind for kind in (KernelQuantizeWrapper, QuantizedRange)}


def run(settings: QuantizeAware, given: Given) -> Outcome:
    """Fold, round and train a copy of the model; a model whose kernels are wrapped comes back.

    Zeros of pruned layers and shared values stay; they are told from the weights. Facts say what
    is kept, what stays float and why, and what was folded.

    Raises:
        DataError: the training split has no labels, or the model is a subclass of Model.
        StageFailed: ``skip`` names a layer that is not there or has no kernel, or leaves none.
    """
    folded = fold(given.model)
    plan = planned(folded.model, settings.skip)
    model = rounded(plan, given.data)
    variables = [_variable(model.get_layer(name)) for name in kernels(folded.model)]
    held = WeightsHeld(variables)
    facts = {"keeps": _kept(variables), **plan.facts(), **folding_facts(folded)}
    numbers = fit(model, settings, given, [held])
    return Outcome(model=copy_of(model), facts=numbers | facts, warnings=_warnings(plan))


def planned(model: Any, skip: tuple[str, ...]) -> "Plan":
    """Where rounding goes in ``model``, which has no batch normalisation that can be folded.

    Raises:
        StageFailed: ``skip`` names a layer that is not there or has no kernel, or leaves none.
    """
    check_names(model.name, "quantize_aware", "skip", skip, kernels(model))
    if not set(kernels(model)) - set(skip):
        reason = "no layer with a kernel is left to round; convert the model to float instead"
        raise StageFailed(model.name, "quantize_aware", reason)
    return Plan(model, skip)


def rounded(plan: "Plan", data: Data) -> Any:
    """The plan's model with rounding in place, not trained yet; ranges come of training inputs."""
    probe, made = (_Assembly(plan, real).model() for real in (False, True))
    chosen = spread(len(data.train.inputs), _SAMPLES)
    _set_ranges(made, probe, data.train.inputs[chosen])
    return made


@final
class KernelQuantizeWrapper(keras.layers.Wrapper):  # type: ignore[misc]  # tf_keras is untyped
    """Rounds the kernel of the layer it wraps as an int8 file holds it.

    The converter tells a model that was trained so by ``QuantizeWrapper`` in this name.

    Args:
        layer: one of pipeline.folding.KERNELS.
        per_channel: one scale for each output channel, or one for all.
    """

    def __init__(self, layer: Any, per_channel: bool, **kwargs: Any) -> None:
        kwargs.setdefault("name", layer.name)
        super().__init__(layer, **kwargs)
        self._per_channel = per_channel

    def call(self, inputs: Any) -> Any:
        """What the layer gives with its kernel rounded."""
        attribute = KERNELS[type(self.layer)]
        kernel = getattr(self.layer, attribute)
        # Past Keras, which would take the variable for removed.
        object.__setattr__(self.layer, attribute, self._rounded(kernel))
        try:
            return self.layer.call(inputs)
        finally:
            object.__setattr__(self.layer, attribute, kernel)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's own."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "per_channel": self._per_channel}

    def _rounded(self, kernel: Any) -> Any:
        if not self._per_channel:
            most = _some(tf.reduce_max(tf.abs(kernel)))
            return tf.quantization.fake_quant_with_min_max_vars(
                kernel, -most, most, narrow_range=True
            )
        shape = kernel.shape
        if type(self.layer) is _LAYERS.DepthwiseConv2D:  # [height, width, in, multiplier]
            kernel = tf.reshape(kernel, [*kernel.shape[:2], -1])
        most = _some(tf.reduce_max(tf.abs(kernel), axis=range(len(kernel.shape) - 1)))
        by_channel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -most, most, narrow_range=True
        )
        return tf.reshape(by_channel, shape)


@final
class QuantizedRange(keras.layers.Layer):  # type: ignore[misc]  # tf_keras is untyped
    """Rounds values to 256 steps of a range that follows what training shows.

    Args:
        widens_only: several layers share it, so that it must hold the values of each.
    """

    def __init__(self, widens_only: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._widens_only = widens_only

    def build(self, input_shape: Any) -> None:
        """Make the range's two ends; they are set before any use."""
        one = keras.initializers.Constant(1.0)
        self._low = self.add_weight("low", initializer="zeros", trainable=False)
        self._high = self.add_weight("high", initializer=one, trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Rounded ``inputs``; values outside the range become its ends."""
        if training:
            self._low.assign(self._moved(self._low, tf.minimum(tf.reduce_min(inputs), 0), min))
            self._high.assign(self._moved(self._high, tf.maximum(tf.reduce_max(inputs), 0), max))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self._low, self._high)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "widens_only": self._widens_only}

    def _moved(self, end: Any, seen: Any, wider: Callable[..., Any]) -> Any:
        if self._widens_only:
            return tf.minimum(end, seen) if wider is min else tf.maximum(end, seen)
        return end + _FOLLOWS * (seen - end)


@final
class Plan:
    """Where rounding goes: which values get a range, which layers stay float and why.

    Attributes:
        model: functional, without batch normalisation that can be folded.
        skip: layers whose kernels are not rounded.
        stays_float: reasons, by layer.
        affine: layers that become depthwise convolutions.
    """

    def __init__(self, model: Any, skip: Iterable[str]) -> None:
        self.model, self.skip = model, frozenset(skip)
        self._wiring = Wiring(model)
        self._layers = list(dict.fromkeys(node.layer for node in nodes_of(model)))
        self.affine = {layer for layer in self._layers if _is_affine(layer)}
        self.stays_float: dict[str, str] = {}
        self._open: set[Any] = set()  # layers that give float values without a range
        for layer in self._layers:
            self._follow(layer)
        self._groups: dict[str, str] = {}
        for layer in reversed(self._layers):
            self._join(layer)

    def ranged(self, layer: Any) -> bool:
        """Whether a range follows ``layer``."""
        if layer in self._open or _passes(layer) or _activation(layer) in _BOUND:
            return False
        takers = self._wiring.takers(layer)
        fuses = type(layer) in _FUSING and _activation(layer) in (None, "linear")
        if len(takers) == 1 and _is_fused(takers[0]) and (fuses or layer in self.affine):
            return False
        return _gives_values(layer)

    def group(self, layer: Any) -> str:
        """The name of the range behind ``layer``, which others may share."""
        name: str = layer.name
        return self._groups.get(name, name)

    def has_several(self, group: str) -> bool:
        """Whether several layers share a range."""
        return list(self._groups.values()).count(group) > 1

    def facts(self) -> Facts:
        """The plan as JSON."""
        affine = sorted(layer.name for layer in self.affine)
        return {"stays_float": self.stays_float, "as_depthwise": affine}

    def _follow(self, layer: Any) -> None:
        """Note what ``layer`` makes of values without a range, and what stays float itself."""
        before = [maker for maker in self._wiring.makers(layer) if maker in self._open]
        if layer.name in self.skip:
            self.stays_float[layer.name] = "skip names it"
            self._open.add(layer)
        elif before and (_passes(layer) or _joins(layer) or _is_fused(layer)):
            self._open.add(layer)
        elif before:
            self.stays_float[layer.name] = f"takes what {before[0].name} gives, which is float"
        elif layer not in self.affine and (reason := _unknown(layer)):
            self.stays_float[layer.name] = reason

    def _join(self, layer: Any) -> None:
        """Give all that a concatenation takes its range; otherwise engines would convert."""
        if not _joins(layer):
            return
        group = self._groups.setdefault(layer.name, layer.name)
        sources = self._wiring.makers(layer)
        while sources:
            source = sources.pop()
            if _passes(source):
                sources += self._wiring.makers(source)
            elif old := self._groups.get(source.name):
                self._groups |= {name: group for name, g in self._groups.items() if g == old}
            else:
                self._groups[source.name] = group


@final
class _Assembly:
    """Builds a plan's model; ``real`` is False for one that shows what goes through each range."""

    def __init__(self, plan: Plan, real: bool) -> None:
        self._plan, self._real = plan, real
        self._ranges: dict[str, Any] = {}

    def model(self) -> Any:
        """The model, with the weights of the plan's."""
        made = rebuilt(self._plan.model, self._make, lambda t: self._range(t.name)(t))
        for layer in self._plan.affine:
            made.get_layer(layer.name).set_weights(_depthwise_weights(layer))
        return made

    def _make(self, layer: Any) -> Callable[..., Any]:
        first, *others = self._steps(layer)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = first(*args, **kwargs)
            for step in others:
                given = step(given)
            return given

        return call

    def _steps(self, layer: Any) -> Iterator[Any]:
        kernel, activation = type(layer) in KERNELS, _activation(layer)
        if layer in self._plan.affine:
            as_depthwise = _LAYERS.DepthwiseConv2D(1, name=layer.name, trainable=is_norm(layer))
            yield self._with_rounding(as_depthwise, per_channel=True)
        elif kernel and activation in _FUSED:
            yield self._kernel(layer, clone(layer))
        elif kernel:
            yield self._kernel(layer, clone(layer, activation="linear"))
            if layer.name not in self._plan.skip:
                yield self._range(f"{layer.name}_linear")
            yield _LAYERS.Activation(layer.activation, name=f"{layer.name}_activation")
        else:
            yield clone(layer)
        if self._plan.ranged(layer):
            yield self._range(self._plan.group(layer))

    def _kernel(self, layer: Any, new: Any) -> Any:
        if layer.name in self._plan.skip:
            return new
        # One scale for a layer with shared values: with one for each channel, a value would be
        # stored as another number in every channel.
        by_channel = type(layer) in (_LAYERS.Conv2D, _LAYERS.DepthwiseConv2D)
        shares = is_shared(getattr(layer, KERNELS[type(layer)]).numpy())
        return self._with_rounding(new, per_channel=by_channel and not shares)

    def _with_rounding(self, layer: Any, *, per_channel: bool) -> Any:
        return KernelQuantizeWrapper(layer, per_channel) if self._real else layer

    def _range(self, group: str) -> Any:
        name = f"{group}_range"
        if group not in self._ranges and self._real:
            shared = self._plan.has_several(group)
            self._ranges[group] = QuantizedRange(widens_only=shared, name=name)
        elif group not in self._ranges:
            self._ranges[group] = _LAYERS.Activation("linear", name=name)
        return self._ranges[group]


def _set_ranges(made: Any, probe: Any, samples: NDArray[Any]) -> None:
    """Start each range where the float model's values lie."""
    ranges = [layer for layer in made.layers if isinstance(layer, QuantizedRange)]
    shown = [_outputs(probe.get_layer(layer.name)) for layer in ranges]
    look = keras.Model(probe.inputs, shown)
    ends = np.zeros((len(ranges), 2))
    for start in range(0, len(samples), _BATCH):
        for end, values in zip(ends, look(samples[start : start + _BATCH]), strict=True):
            end[0] = min(end[0], *(tf.reduce_min(v).numpy() for v in values))
            end[1] = max(end[1], *(tf.reduce_max(v).numpy() for v in values))
    for layer, (low, high) in zip(ranges, ends, strict=True):
        layer.set_weights([low, high if high > low else low + _LEAST])


def _outputs(layer: Any) -> list[Any]:
    return [layer.get_output_at(i) for i in range(len(layer.inbound_nodes))]


def _variable(layer: Any) -> Any:
    inner = layer.layer if isinstance(layer, KernelQuantizeWrapper) else layer
    return getattr(inner, KERNELS[type(inner)])


def _kept(variables: Iterable[Any]) -> list[str]:
    found = [variable.numpy() for variable in variables]
    tests = {Trait.SPARSE: is_pruned, Trait.CLUSTERED: is_shared}
    return [trait.value for trait, test in tests.items() if any(map(test, found))]


def _warnings(plan: Plan) -> tuple[str, ...]:
    unasked = {n: why for n, why in plan.stays_float.items() if n not in plan.skip}
    said = "; ".join(f"{name}: {why}" for name, why in unasked.items())
    return (f"stays float within int8: {said}",) if said else ()


def _activation(layer: Any) -> str | None:
    """The name of what a layer applies; None for a layer that is no activation."""
    if type(layer) is _LAYERS.Softmax:
        return "softmax"
    if _symbol(layer) in _BOUND:
        return _symbol(layer)
    applied = getattr(layer, "activation", None)
    return None if applied is None else getattr(applied, "__name__", type(applied).__name__)


def _symbol(layer: Any) -> str:
    """The last name of a TensorFlow function that was called on a Keras tensor; else empty."""
    return str(getattr(layer, "symbol", "")).rpartition(".")[2]


def _is_fused(layer: Any) -> bool:
    """Whether an operator before ``layer`` computes it, too."""
    if type(layer) is _LAYERS.ReLU:
        plain = not layer.negative_slope and not layer.threshold
        return plain and layer.max_value in (None, 6)
    return type(layer) is _LAYERS.Activation and _activation(layer) in _FUSED


def _gives_values(layer: Any) -> bool:
    """Whether a layer gives one tensor of real numbers; not several, and no shapes or indices."""
    given = layer.get_output_at(0)
    return hasattr(given, "dtype") and bool(tf.as_dtype(given.dtype).is_floating)


def _passes(layer: Any) -> bool:
    if type(layer) is _LAYERS.UpSampling2D:
        return bool(layer.interpolation == "nearest")
    return type(layer) in _PASSES or _symbol(layer) in _PASSING_CALLS


def _joins(layer: Any) -> bool:
    return type(layer) in _JOINS or _symbol(layer) == "concat"


def _is_affine(layer: Any) -> bool:
    if type(layer) not in _AFFINE or len(layer.input_shape) != 4 or layer.input_shape[3] is None:
        return False
    return type(layer) is _LAYERS.Rescaling or list(layer.axis) in ([3], [-1])


def _depthwise_weights(layer: Any) -> list[NDArray[Any]]:
    """Kernel [1, 1, channels, 1] and bias [channels] that compute what an affine layer does."""
    if is_norm(layer):
        scale, shift = factors(layer)
    else:
        ones = tf.ones([1, 1, 1, layer.input_shape[3]])
        shift = layer(0 * ones).numpy().ravel()
        scale = layer(ones).numpy().ravel() - shift
    return [scale.reshape(1, 1, -1, 1).astype(np.float32), shift.astype(np.float32)]


def _unknown(layer: Any) -> str | None:
    """Why operators inside ``layer`` stay float; None when it is one operator with a range."""
    if isinstance(layer, keras.Model):
        return "is a model within the model, which training for int8 does not reach into"
    if type(layer) in KERNELS or type(layer) is _LAYERS.Activation:
        activation = _activation(layer)
        return None if activation in _ACTIVATIONS else f"{activation} is several operators"
    known = type(layer) in _SINGLE or _passes(layer) or _joins(layer) or bool(_symbol(layer))
    return None if known else f"{type(layer).__name__} may be several operators"


def _some(most: Any) -> Any:
    return tf.maximum(most, _LEAST)
