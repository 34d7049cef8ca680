"""int8 with the layers that lose most kept in float, as few as hold the accuracy.

Each operator is first made int8 alone and the whole network's answers are compared with float's;
that ranks them. Then ever more of the ranking stays float until the accuracy is within the
tolerance. Every float island costs a QUANTIZE and a DEQUANTIZE around it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat
from pipeline.data import Split
from pipeline.errors import ConversionError
from pipeline.export import selective, tflite
from pipeline.export.calibration import Calibration, choose
from pipeline.export.candidates import answers_of
from pipeline.export.convert import Converted, Order
from pipeline.export.ranking import Ranked, fewest, last_multiplying
from pipeline.min_runtime import stated
from pipeline.stages.evaluate import count_correct, spread

# The ranking needs no more: an operator that hurts does so on every image.
RANKING_SAMPLES: Final = 64
# Accuracy to half a percent; every candidate answers them all.
JUDGED_SAMPLES: Final = 2000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Accuracy of answers: against labels, or against float32's where nobody knows labels."""

    inputs: NDArray[np.float32]
    labels: NDArray[Any]
    measure: str

    def accuracy(self, outputs: NDArray[np.float32]) -> float:
        """Share of right answers."""
        return count_correct(outputs, self.labels) / len(self.labels)


def make_mixed(order: Order) -> Converted:
    """Convert to int8 with as few operators in float as hold ``order.quantize.tolerance``.

    Raises:
        ConversionError: no choice holds it.
    """
    content = tflite.convert(order.model, NumberFormat.FLOAT32)
    shown = choose(order.data, order.quantize.calibration_samples, order.name)
    search = _Search(order, content, shown)
    kept = search.fewest_float()
    return Converted(
        content=search.made[kept],
        facts={"calibration": shown.facts, **search.facts(kept)},
        warnings=shown.warnings,
    )


@final
class _Search:
    """The candidates of one order; each is made and judged once."""

    def __init__(self, order: Order, content: bytes, shown: Calibration) -> None:
        self._order, self._content, self._shown = order, content, shown
        self._ranges = selective.ranges_of(content, shown.inputs)
        self._judge = _judge(order, content)
        self._float = self._judge.accuracy(next(answers_of([content], self._judge.inputs)))
        self._accuracy: dict[int, float] = {}
        self.made: dict[int, bytes] = {}

    @cached_property
    def _ranked(self) -> list[Ranked]:
        """Takes a candidate per operator, so it is asked for when plain int8 does not do."""
        return rank(self._content, self._ranges, self._shown.inputs, self._order.name)

    def fewest_float(self) -> int:
        """How many of the ranking stay float."""
        if self._holds(0):
            return 0
        kept = fewest(last_multiplying(self._ranked), self._holds)
        if kept is not None:
            return kept
        best = max(self._accuracy, key=lambda k: (self._accuracy[k], -k))
        raise ConversionError(
            self._order.name,
            f"mixed holds no loss of {self._order.quantize.tolerance:.2%}: float32 has "
            f"{self._float:.2%} ({self._judge.measure}), the best mixture "
            f"{self._accuracy[best]:.2%}, with {best} of {len(self._ranked)} operators in float; "
            "raise tolerance under [quantize], train with quantize_aware, or ask for float16",
        )

    def facts(self, kept: int) -> dict[str, Any]:
        """What was measured, and what was chosen."""
        ranked = self._ranked if kept else []
        return {
            "quantizer": selective.title(),
            "mixed": [
                {"float_layers": k, "accuracy": self._accuracy[k], "bytes": len(self.made[k])}
                for k in sorted(self._accuracy)
            ],
            "float_layers": [one.operator.title for one in ranked[:kept]],
            "layers": len(selective.scopes(self._content)),
            "errors": [{"layer": one.operator.title, "error": one.told} for one in ranked],
            "judged_by": self._judge.measure,
            "judged_samples": len(self._judge.labels),
            "float32_accuracy": self._float,
            "tolerance": self._order.quantize.tolerance,
        }

    def _holds(self, kept: int) -> bool:
        """Whether the network does with the first ``kept`` of the ranking in float."""
        quantized = [one.operator.name for one in self._ranked[kept:]] if kept else None
        made = selective.static(self._content, self._ranges, quantized, self._order.name)
        made = stated(made).content  # as it will be kept, so that its size is the one told
        outputs = next(answers_of([made], self._judge.inputs))
        self.made[kept], self._accuracy[kept] = made, self._judge.accuracy(outputs)
        # Shares of the same count differ by whole samples; the rest is rounding.
        return self._accuracy[kept] >= self._float - self._order.quantize.tolerance - 1e-9


def rank(
    content: bytes, ranges: selective.Ranges, inputs: NDArray[np.float32], name: str
) -> list[Ranked]:
    """Operators of a float32 file, by what each changes when it alone is int8; the worst first."""
    operators = selective.scopes(content)
    checked = inputs[spread(len(inputs), RANKING_SAMPLES)]
    candidates = (selective.static(content, ranges, [one.name], name) for one in operators)
    expected, *answers = (*answers_of([content], checked), *answers_of(candidates, checked))
    found = [
        Ranked(operator=operator, error=_error(outputs, expected))
        for operator, outputs in zip(operators, answers, strict=True)
    ]
    return sorted(found, key=lambda one: -one.error)


def _judge(order: Order, content: bytes) -> Judge:
    split: Split = order.data.validation or order.data.train
    where = "validation split" if order.data.validation else "training split"
    chosen = spread(len(split.inputs), JUDGED_SAMPLES)
    inputs = np.ascontiguousarray(split.inputs[chosen], np.float32)
    if split.labels is not None:
        return Judge(inputs=inputs, labels=split.labels[chosen], measure=f"accuracy on {where}")
    labels = next(answers_of([content], inputs)).argmax(axis=1)
    return Judge(inputs=inputs, labels=labels, measure=f"agreement with float32 on {where}")


def _error(outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if not np.isfinite(outputs).all():
        return float("inf")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(outputs - expected, dtype=np.float64)))) / (scale or 1.0)
