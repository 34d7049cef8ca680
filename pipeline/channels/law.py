"""The law that every removal keeps: taking channels out changes no more than not reading them."""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from pipeline.channels.graph import ChannelGraph
from pipeline.channels.rewrite import Dropped, zeroed
from pipeline.keras_compat import tf

# float32 sums in another order. A network whose weights amplify rounding exceeds it although its
# removal is exact: then one float32 step of the input moves the zeroed original about as far, and
# in float64 the difference is gone. Such a network can only be held to the law in float64.
TOLERANCE: Final = 1e-4
# A softmax of random logits gives a one and nothing else, and hides every difference.
TELLING: Final = 1e-3


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """How far a smaller model is from the original that does not read the removed channels.

    Each output is held against its own scale, so that a large one hides nothing of a small one.

    Attributes:
        share: largest absolute difference of an output, as a share of the largest absolute value
            of that output; the worst of all outputs, infinite where there are no numbers.
        typical: median absolute value of an output, as a share of its largest; the least of all
            outputs.
    """

    share: float
    typical: float

    @property
    def telling(self) -> bool:
        """Whether the outputs are such that a wrong removal would show."""
        return self.typical >= TELLING

    @property
    def kept(self) -> bool:
        """Whether the law is kept, by outputs that would show it if it were not."""
        return self.telling and self.share <= TOLERANCE


def difference(
    model: Any, graph: ChannelGraph, dropped: Dropped, smaller: Any, inputs: Any
) -> Difference:
    """Hold a model that ``remove`` made against the original.

    Args:
        model: the original; one whose last activation is linear tells most.
        graph: of the original.
        dropped: what was removed.
        smaller: what ``remove`` gave.
        inputs: a batch, as ``model`` takes it.
    """
    pairs = zip(
        _outputs(zeroed(model, graph, dropped), inputs), _outputs(smaller, inputs), strict=True
    )
    found = [compared(expected, given) for expected, given in pairs]
    return Difference(max(d.share for d in found), min(d.typical for d in found))


def compared(expected: Any, given: Any) -> Difference:
    """One output, float[...], against what it should be."""
    scale = float(np.max(np.abs(expected)))
    largest = float(np.max(np.abs(expected - given)))
    if not np.isfinite(scale) or not np.isfinite(largest) or scale == 0.0:
        return Difference(float("inf"), 0.0)
    return Difference(largest / scale, float(np.median(np.abs(expected))) / scale)


def _outputs(model: Any, inputs: Any) -> list[Any]:
    return [np.asarray(t) for t in tf.nest.flatten(model(inputs, training=False))]
