"""A trained Keras model to a TFLite file, in whatever number format is asked for."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

from pipeline.artifact import NumberFormat
from pipeline.data import Data
from pipeline.delegation import count_delegated
from pipeline.errors import ConversionError, ReferenceFailed
from pipeline.export import selective, tflite
from pipeline.export.calibration import choose
from pipeline.min_runtime import stated
from pipeline.recipe import Quantize
from pipeline.tflite_file import TfliteModel, read_model


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be converted, and to what.

    Attributes:
        model: Keras; one input float32[batch, ...], one output. It is not changed.
        data: calibration comes from its training split, judgement from its validation split.
        name: of the variant, for errors.
    """

    model: Any
    number_format: NumberFormat
    data: Data
    quantize: Quantize
    name: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A flatbuffer with batch 1, and what its conversion said.

    Attributes:
        facts: how it was made, as JSON; the artifact's ``conversion``.
        warnings: what every reader of a result must know.
    """

    content: bytes
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


# Formats whose operators need more than what makes them writes into the file: ai-edge-quantizer
# writes no versions, and TensorFlow's converter counts int16 as if it were int8.
_UNSTATED: Final = frozenset({
    NumberFormat.INT16X8, NumberFormat.DYNAMIC_CONV, NumberFormat.WEIGHT_INT8,
    NumberFormat.WEIGHT_INT4, NumberFormat.MIXED,
})  # fmt: skip


def convert(order: Order) -> Converted:
    """Convert a model, and count on this host what XNNPACK takes of it.

    Raises:
        ConversionError: an operator has no TFLite form, or the format cannot be made of it.
        ReferenceFailed: LiteRT does not load the file.
    """
    if tflite.is_quantize_aware(order.model) and order.number_format is not NumberFormat.INT8:
        reason = (
            f"was trained with int8's rounding, so only int8 can be made of it, not "
            f"{order.number_format}; put the other formats into a branch that ends before "
            "quantize_aware"
        )
        raise ConversionError(order.name, reason)
    return _examined(_made(order), order)


def _made(order: Order) -> Converted:
    match order.number_format:
        case NumberFormat.DYNAMIC_CONV:
            content = selective.dynamic_convolutions(_float32(order), order.name)
            return _by_quantizer(content)
        case NumberFormat.WEIGHT_INT8 | NumberFormat.WEIGHT_INT4:
            bits = 8 if order.number_format is NumberFormat.WEIGHT_INT8 else 4
            return _by_quantizer(selective.weights_only(_float32(order), bits, order.name))
        case NumberFormat.MIXED:
            from pipeline.export.mixed import make_mixed  # takes orders as they stand here

            return make_mixed(order)
        case NumberFormat.FLOAT32_SPARSE | NumberFormat.FLOAT16_SPARSE:
            from pipeline.export.sparse import make_sparse  # takes orders as they stand here

            made: Converted = make_sparse(order)
            return made
        case _:
            return _by_tensorflow(order)


def _float32(order: Order) -> bytes:
    return tflite.convert(order.model, NumberFormat.FLOAT32)


def _by_quantizer(content: bytes) -> Converted:
    return Converted(content=content, facts={"quantizer": selective.title()})


def _by_tensorflow(order: Order) -> Converted:
    model, number_format = order.model, order.number_format
    if not tflite.needs_calibration(model, number_format):
        facts: dict[str, Any] = {}
        if tflite.is_quantize_aware(model):
            reason = "ranges were learnt in training"
            facts["calibration"] = {"samples": 0, "reason": reason}
        return Converted(content=tflite.convert(model, number_format), facts=facts)
    shown = choose(order.data, order.quantize.calibration_samples, order.name)
    content = tflite.convert(model, number_format, shown.inputs)
    return Converted(content=content, facts={"calibration": shown.facts}, warnings=shown.warnings)


def _examined(made: Converted, order: Order) -> Converted:
    """What the finished file, and LiteRT on this host, say of it."""
    content, facts = made.content, dict(made.facts)
    if order.number_format in _UNSTATED:
        release = stated(content)
        content, facts["min_runtime"] = release.content, release.facts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        try:
            delegation = count_delegated(path)
        except ReferenceFailed as exc:
            reason = f"{exc.reason}; leave {order.number_format} out of its formats"
            raise ReferenceFailed(exc.engine, order.name, reason) from exc
        advice = advice_against(read_model(path))
    facts["delegate"] = delegation.facts
    warnings = (*made.warnings, *advice, *delegation.warnings)
    return replace(made, content=content, facts=facts, warnings=warnings)


def advice_against(model: TfliteModel) -> tuple[str, ...]:
    """What the graph alone tells of a file that will disappoint."""
    slow = [
        operator for operator in model.operators
        if operator.name == "DEPTHWISE_CONV_2D"
        and model.tensors[operator.inputs[0]].dtype == "float32"
        and model.tensors[operator.inputs[1]].dtype == "int8"
    ]  # fmt: skip
    if not slow:
        return ()
    return (
        "depthwise convolutions quantize what they take while running, for which engines have no "
        f"fast kernel ({len(slow)} of them here): about three times slower than float was measured "
        "on x86 (MobileNetV2); dynamic_conv keeps depthwise float, int8 needs no such step",
    )
