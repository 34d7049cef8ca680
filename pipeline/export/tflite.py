"""Trained Keras model to a TFLite flatbuffer by TensorFlow's own converter."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat
from pipeline.errors import ConversionError
from pipeline.keras_compat import quiet_stderr, tf


def convert(
    model: Any, number_format: NumberFormat, calibration: NDArray[Any] | None = None
) -> bytes:
    """Convert ``model``, which is not changed.

    Args:
        model: one input float32[batch, ...], one output. When its layers learnt their ranges
            (see ``is_quantize_aware``), int8 takes those.
        number_format: of weights and, for int8 and int16x8, of everything else too.
        calibration: inputs float32[samples, ...] for a format that needs ranges, of a model
            that did not learn them.

    Returns:
        A flatbuffer with batch 1.

    Raises:
        ConversionError: an operator has no TFLite form; the cause is chained.
    """
    return converted(configured(model, number_format, calibration), model.name, number_format)


def converted(converter: Any, name: str, number_format: NumberFormat) -> bytes:
    """What a configured converter makes.

    Raises:
        ConversionError: an operator has no TFLite form; the cause is chained.
    """
    try:
        with quiet_stderr():
            return bytes(converter.convert())
    except Exception as exc:  # the converter raises several unrelated types
        reason = f"cannot be converted to {number_format} ({type(exc).__name__}: {exc})"
        raise ConversionError(name, reason[:2000]) from exc


def configured(
    model: Any, number_format: NumberFormat, calibration: NDArray[Any] | None = None
) -> Any:
    """A ``tf.lite.TFLiteConverter`` that makes ``number_format``; for who must add a setting.

    Args: as ``convert`` takes them.
    """
    with quiet_stderr():
        weights = _Weights(model)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_traced(model)], weights)
    match number_format:
        case NumberFormat.FLOAT32:
            pass
        case NumberFormat.FLOAT16:
            _set_float16(converter)
        case NumberFormat.DYNAMIC:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # One scale per row of a dense layer needs FULLY_CONNECTED version 12, which engines
            # before 2024 refuse to load.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        case NumberFormat.INT8 if is_quantize_aware(model):
            # The graph holds its ranges. Layers that training left out stay float, so operators
            # are not bound to int8; and then the converter asks for no samples.
            _set_integers(converter, tf.lite.OpsSet.TFLITE_BUILTINS, tf.int8)
        case NumberFormat.INT8:
            _set_integers(converter, tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.int8)
        case NumberFormat.INT16X8:
            ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            _set_integers(converter, ops, tf.int16)
        case _:
            raise AssertionError(number_format)
    if calibration is not None and needs_calibration(model, number_format):
        converter.representative_dataset = lambda: _one_by_one(calibration)
    return converter


def needs_calibration(model: Any, number_format: NumberFormat) -> bool:
    """Whether the converter must be shown samples."""
    integers = number_format in (NumberFormat.INT8, NumberFormat.INT16X8)
    return integers and not is_quantize_aware(model)


def is_quantize_aware(model: Any) -> bool:
    """Whether layers of ``model`` learnt their ranges in training.

    tensorflow_model_optimization wraps such layers; its classes are told by name, as importing
    them takes seconds.
    """
    return any(
        "QuantizeWrapper" in kind.__name__
        for layer in _layers(model) for kind in type(layer).__mro__
    )  # fmt: skip


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        yield from _layers(layer) if hasattr(layer, "layers") else ()


def _set_float16(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    # Writes reduced_precision_support into the file: the engine may then compute in float16,
    # too, on processors that can. Others compute in float32, as without it.
    converter.target_spec._experimental_supported_accumulation_type = tf.float16


def _set_integers(converter: Any, operators: Any, taken_and_given: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [operators]
    # Without these two the file takes and gives float32 whatever is inside.
    converter.inference_input_type = taken_and_given
    converter.inference_output_type = taken_and_given


class _Weights(tf.Module):  # type: ignore[misc]  # TensorFlow is untyped
    """What the converter must save of a model: its variables.

    Given the model itself, it would trace every layer alone, too, which takes most of the time.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.held = model.variables


def _traced(model: Any) -> Any:
    """The model for exactly one sample.

    With an open batch the converter emits shape arithmetic, for which some engines leave their
    fast kernels (ten times slower).
    """
    taken = model.inputs[0]
    name = taken.name.split(":")[0]
    spec = tf.TensorSpec([1, *taken.shape[1:]], tf.float32, name=name)
    # TensorFlow reads the argument's name into the signature.
    traced = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    return traced.get_concrete_function()


def _one_by_one(calibration: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    for index in range(len(calibration)):
        yield [calibration[index : index + 1].astype(np.float32)]
