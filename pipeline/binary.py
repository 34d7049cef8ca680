"""Weights and activations of two values, and the layers that train and keep them.

Forward, a kernel counts as its signs times one scale for each output channel; backward, the
gradient goes straight through to the kernel, whose values only remember how sure each sign is.

Sources: Courbariaux, Bengio and David, "BinaryConnect", 2015 (latent weights, clipped);
Rastegari et al., "XNOR-Net", 2016 (the scale is the mean magnitude); Liu et al., "ReActNet",
2020 (activations are told apart at a trained threshold: behind a ReLU, all are above 0).
"""

from collections.abc import Mapping
from typing import Any, Final

from pipeline.keras_compat import keras, tf


def binary_kernel(kernel: Any) -> Any:
    """Signs of a kernel [..., output channels] times the mean magnitude of each channel."""
    return _straight_through(tf.convert_to_tensor(kernel))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _straight_through(kernel: Any) -> Any:
    scales = tf.reduce_mean(tf.abs(kernel), axis=list(range(kernel.shape.rank - 1)))
    return scales * _signs(kernel, 0.0), lambda upstream: upstream


@tf.custom_gradient  # type: ignore[untyped-decorator]
def binary_inputs(inputs: Any, thresholds: Any) -> Any:
    """+1 where ``inputs`` [..., channels] reach the channel's threshold, else -1.

    A comparison and a choice: of all ways to write it, this one has int8 kernels as well as
    float ones in every LiteRT, and no rounding.
    """

    def gradient(upstream: Any) -> tuple[Any, Any]:
        near = tf.cast(tf.abs(inputs - thresholds) <= 1.0, upstream.dtype)
        passed = upstream * near
        return passed, -tf.reduce_sum(passed, axis=list(range(passed.shape.rank - 1)))

    return _signs(inputs, thresholds), gradient


def _signs(values: Any, thresholds: Any) -> Any:
    return tf.where(values >= thresholds, 1.0, -1.0)


class Clipped(keras.constraints.Constraint):  # type: ignore[misc]  # tf_keras is untyped
    """Keeps latent weights in -1..1: those beyond would never change their sign again."""

    def __call__(self, weights: Any) -> Any:
        """Clip."""
        return tf.clip_by_value(weights, -1.0, 1.0)


class _BinaryInputs:
    """Mixed into a layer: what it takes becomes -1 or +1.

    Attributes:
        least: what no threshold goes below while training, or None.
    """

    least: float | None = None

    def build(self: Any, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]  # of the layer it is mixed into
        self.threshold = self.add_weight(
            name="threshold", shape=(int(input_shape[-1]),), initializer="zeros",
            constraint=self.bounded,
        )  # fmt: skip

    def call(self: Any, inputs: Any) -> Any:
        signs = binary_inputs(inputs, self.threshold)
        return super().call(signs)  # type: ignore[misc]  # of the layer it is mixed into

    def bounded(self, thresholds: Any) -> Any:
        """Thresholds, none below ``least``."""
        return thresholds if self.least is None else tf.maximum(thresholds, self.least)


class _LatentConvolution:
    """Mixed into a convolution: its kernel counts as binary."""

    def convolution_op(self: Any, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, binary_kernel(kernel))  # type: ignore[misc]  # as above


class _LatentDense(keras.layers.Dense):  # type: ignore[misc]  # tf_keras is untyped
    """A dense layer whose kernel counts as binary."""

    def call(self, inputs: Any) -> Any:
        outputs = tf.matmul(inputs, binary_kernel(self.kernel))
        outputs = tf.nn.bias_add(outputs, self.bias) if self.use_bias else outputs
        return outputs if self.activation is None else self.activation(outputs)


_CONVOLUTIONS: Final = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def _mixed(mixin: type, kinds: Mapping[type, Any], name: str) -> dict[type, Any]:
    """Classes named after the plain one first: a convolution's class names its operator."""
    return {
        plain: type(f"{plain.__name__}{name}", (mixin, kind), {"__module__": __name__})
        for plain, kind in kinds.items()
    }


# Classes by the plain one they stand for. Latent ones live only while they train.
_PLAIN: Final[Mapping[type, Any]] = {kind: kind for kind in (*_CONVOLUTIONS, keras.layers.Dense)}
_LATENT: Final[Mapping[type, Any]] = {
    **_mixed(_LatentConvolution, {kind: kind for kind in _CONVOLUTIONS}, "Latent"),
    keras.layers.Dense: _LatentDense,
}
_LATENT_BINARY_INPUTS: Final = _mixed(_BinaryInputs, _LATENT, "BinaryInputsLatent")
_BINARY_INPUTS: Final = _mixed(_BinaryInputs, _PLAIN, "BinaryInputs")


def can_be_binary(layer: Any) -> bool:
    """Whether there is a binary form of the layer; subclasses may compute something else."""
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return type(layer) in _PLAIN and channels_last


def latent_form(layer: Any, activations: bool) -> Any:
    """The layer to train in place of ``layer``, not built.

    A penalty on the kernel's size is left out: it would pull every weight to the point where its
    sign flips.
    """
    kinds = _LATENT_BINARY_INPUTS if activations else _LATENT
    changed = {"kernel_constraint": Clipped(), "kernel_regularizer": None}
    return kinds[type(layer)].from_config(layer.get_config() | changed)


def kept_form(layer: Any, activations: bool) -> Any:
    """The layer that stands for ``layer`` after training, not built."""
    kinds = _BINARY_INPUTS if activations else _PLAIN
    return kinds[type(layer)].from_config(layer.get_config())


def custom_objects() -> dict[str, Any]:
    """Classes by which a saved model with binary activations is read."""
    return {kind.__name__: kind for kind in _BINARY_INPUTS.values()}
