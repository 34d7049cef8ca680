"""A trained Keras model to a TFLite file, in whatever number format is asked for."""

from dataclasses import dataclass, field
from typing import Any, Final, final

from pipeline.artifact import NumberFormat
from pipeline.data import Data
from pipeline.export import tflite
from pipeline.recipe import Quantize


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


_PLAIN: Final = frozenset({
    NumberFormat.FLOAT32, NumberFormat.FLOAT16, NumberFormat.DYNAMIC, NumberFormat.INT8,
})  # fmt: skip


def convert(order: Order) -> Converted:
    """Convert a model.

    Raises:
        ConversionError: an operator has no TFLite form, or the format cannot be made of it.
    """
    if order.number_format in _PLAIN:
        content = tflite.convert(order.model, order.number_format, order.data.train.inputs)
        return Converted(content=content)
    raise NotImplementedError(order.number_format)
