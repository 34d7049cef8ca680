"""What a removal of channels is to bring down, and what any widths would cost in it."""

from typing import Any, Final, Literal

from pipeline.artifact import NumberFormat
from pipeline.channels.allocate import Price, Widths
from pipeline.channels.cost import cost_of, predicted
from pipeline.channels.graph import ChannelGraph
from pipeline.export import tflite

Kind = Literal["macs", "parameters", "bytes", "channels"]

_FLOAT_BYTES: Final = 4
# Of a normaliser's four parameters a channel, the converter folds three into the layer before it
# and keeps the fourth as that layer's bias.
_FOLDED: Final = 3


def measure(kind: Kind, model: Any, widths: Widths) -> int:
    """What the model has of it; bytes are those of the float32 file, which is made for that.

    Args:
        kind: what is counted.
        model: whose groups have these widths.
        widths: units by group.

    Raises:
        ConversionError: the model has no TFLite form.
    """
    match kind:
        case "macs":
            return cost_of(model).macs
        case "parameters":
            return cost_of(model).parameters
        case "bytes":
            return len(tflite.convert(model, NumberFormat.FLOAT32))
        case "channels":
            return sum(widths.values())


def price_of(kind: Kind, model: Any, graph: ChannelGraph, measured: int) -> Price:
    """What the model would have of it with other widths.

    Args:
        kind: what is counted.
        model: with its present widths.
        graph: of the model.
        measured: what the model has now; only bytes, of which the part that no channel changes
            is not known otherwise, read it.
    """
    predict = predicted(model, graph)
    match kind:
        case "macs":
            return lambda widths: predict(widths).macs
        case "parameters":
            return lambda widths: predict(widths).parameters
        case "channels":
            return lambda widths: sum(widths.values())
        case "bytes":
            folded = _folded(graph)

            def stored(widths: Widths) -> int:
                lost = sum(folded[name] * width for name, width in widths.items())
                return _FLOAT_BYTES * (predict(widths).parameters - lost)

            fixed = measured - stored({group.name: group.channels for group in graph.groups})
            return lambda widths: fixed + stored(widths)


def _folded(graph: ChannelGraph) -> dict[str, int]:
    """Parameters that one unit of each group has in the model and not in its file."""
    return {
        group.name: _FOLDED * sum(len(slot.indices[0]) for slot in group.normalisers)
        for group in graph.groups
    }
