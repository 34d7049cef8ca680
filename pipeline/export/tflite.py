"""Trained Keras model to a TFLite flatbuffer, in four number formats."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat
from pipeline.errors import ConversionError
from pipeline.keras_compat import quiet_stderr, tf
from pipeline.stages.evaluate import spread

# Ranges settle after some tens of images; more only take longer.
CALIBRATION_SAMPLES: Final = 128


def convert(model: Any, number_format: NumberFormat, calibration: NDArray[Any]) -> bytes:
    """Convert ``model``, which is not changed.

    Args:
        model: one input float32[batch, ...], one output.
        number_format: of weights and, for int8, of everything else too.
        calibration: training inputs float32[samples, ...]; only int8 reads them.

    Returns:
        A flatbuffer with batch 1.

    Raises:
        ConversionError: an operator has no TFLite form; the cause is chained.
    """
    converter = _configured(model, number_format, calibration)
    try:
        with quiet_stderr():
            return bytes(converter.convert())
    except Exception as exc:  # the converter raises several unrelated types
        reason = f"cannot be converted to {number_format} ({type(exc).__name__}: {exc})"
        raise ConversionError(model.name, reason[:2000]) from exc


class _Weights(tf.Module):  # type: ignore[misc]  # TensorFlow is untyped
    """What the converter must save of a model: its variables.

    Given the model itself, it would trace every layer alone, too, which takes most of the time.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.held = model.variables


def _configured(model: Any, number_format: NumberFormat, calibration: NDArray[Any]) -> Any:
    with quiet_stderr():
        weights = _Weights(model)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_traced(model)], weights)
    match number_format:
        case NumberFormat.FLOAT32:
            pass
        case NumberFormat.FLOAT16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        case NumberFormat.DYNAMIC:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            # One scale per row of a dense layer needs FULLY_CONNECTED version 12, which engines
            # before 2024 refuse to load.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        case NumberFormat.INT8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _representative(calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            # Without these two the file takes and gives float32 whatever is inside.
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        case _:
            raise AssertionError(number_format)
    return converter


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


def _representative(calibration: NDArray[Any]) -> Iterator[list[NDArray[Any]]]:
    for index in spread(len(calibration), CALIBRATION_SAMPLES):
        yield [calibration[index : index + 1].astype(np.float32)]
