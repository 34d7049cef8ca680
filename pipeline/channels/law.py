"""The law that every removal keeps: taking channels out changes no more than not reading them."""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from pipeline.channels.graph import ChannelGraph
from pipeline.channels.rewrite import Dropped, zeroed
from pipeline.keras_compat import tf

# float32 sums in another order; ten times what the deepest networks of tf_keras show.
TOLERANCE: Final = 1e-4


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """How far a smaller model is from the original that does not read the removed channels.

    Attributes:
        largest: absolute difference, of all outputs.
        scale: largest absolute value of the outputs.
    """

    largest: float
    scale: float

    @property
    def share(self) -> float:
        """Of the outputs' scale; infinite for outputs that are not numbers."""
        if not np.isfinite(self.largest) or self.scale == 0.0:
            return float("inf")
        return self.largest / self.scale

    @property
    def kept(self) -> bool:
        """Whether the law is."""
        return self.share <= TOLERANCE


def difference(
    model: Any, graph: ChannelGraph, dropped: Dropped, smaller: Any, inputs: Any
) -> Difference:
    """Hold a model that ``remove`` made against the original.

    Args:
        model: the original.
        graph: of the original.
        dropped: what was removed.
        smaller: what ``remove`` gave.
        inputs: a batch, as ``model`` takes it.
    """
    expected, given = (_outputs(m, inputs) for m in (zeroed(model, graph, dropped), smaller))
    pairs = list(zip(expected, given, strict=True))
    return Difference(
        largest=max(float(np.max(np.abs(a - b))) for a, b in pairs),
        scale=max(float(np.max(np.abs(a))) for a, _ in pairs),
    )


def _outputs(model: Any, inputs: Any) -> list[Any]:
    return [np.asarray(t) for t in tf.nest.flatten(model(inputs, training=False))]
