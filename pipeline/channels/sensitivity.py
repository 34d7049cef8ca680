"""What a model gets right, and what removing channels of one group alone does to that.

Source: Li et al., "Pruning Filters for Efficient ConvNets", 2017, section 3.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.allocate import Harm
from pipeline.channels.graph import ChannelGraph
from pipeline.channels.rewrite import zeroed
from pipeline.data import Split
from pipeline.errors import StageFailed
from pipeline.keras_compat import copy_of
from pipeline.stages.evaluate import count_correct, keras_outputs, spread
from pipeline.stages.teaching import ends_in_softmax

REMOVED: Final = (0.25, 0.5, 0.75)  # shares of a group; between them harm is interpolated
SAMPLES: Final = 512  # every group is judged on them three times


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How well a model does on a labelled split.

    Attributes:
        accuracy: share of right answers.
        loss: cross entropy by sample, in nats.
    """

    accuracy: float
    loss: float


def judge(model: Any, split: Split) -> Judgement:
    """Ask a model about a labelled split.

    Raises:
        StageFailed: its outputs are no numbers.
    """
    assert split.labels is not None  # whoever asks looked
    outputs = keras_outputs(model, split.inputs).reshape(len(split.labels), -1)
    if not np.isfinite(outputs).all():
        reason = "the model's outputs are infinite or no numbers; train it at a lower learning_rate"
        raise StageFailed(model.name, "prune_channels", reason)
    likely = outputs if ends_in_softmax(model) else _softmax(outputs)
    right = likely[np.arange(len(outputs)), split.labels]
    return Judgement(
        accuracy=count_correct(outputs, split.labels) / len(outputs),
        loss=float(-np.log(np.maximum(right, 1e-7)).mean()),
    )


def harms(
    model: Any, graph: ChannelGraph, units: Mapping[str, NDArray[np.float64]], split: Split
) -> dict[str, Harm]:
    """Rise of the loss when the lowest scored shares of each group alone are silenced.

    Args:
        model: not changed.
        graph: of the model.
        units: scores by group.
        split: labelled; at most SAMPLES of it are asked about.
    """
    assert split.labels is not None  # whoever asks looked
    chosen = spread(len(split.labels), SAMPLES)
    asked = Split(inputs=split.inputs[chosen], labels=split.labels[chosen])
    working = copy_of(model)  # one model for all, so that it is traced once
    whole = judge(working, asked).loss

    def harm(name: str, share: float) -> float:
        dropped = lowest(units[name], round(len(units[name]) * share))
        working.set_weights(zeroed(model, graph, {name: dropped}).get_weights())
        return judge(working, asked).loss - whole

    return {
        group.name: Harm(removed=REMOVED, harm=tuple(harm(group.name, s) for s in REMOVED))
        for group in graph.groups
    }


def lowest(scores: NDArray[np.float64], count: int) -> list[int]:
    """Indices of the ``count`` lowest scores; of equal ones, the first."""
    return sorted(int(unit) for unit in np.argsort(scores, kind="stable")[:count])


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = raised / raised.sum(axis=1, keepdims=True)
    return shares
