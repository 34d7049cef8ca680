"""Operators by what int8 costs them, and how many of the worst must stay float; pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

_MULTIPLY: Final = frozenset({
    "BATCH_MATMUL", "CONV_2D", "CONV_2D_TRANSPOSE", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
})  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """An operator as the quantizer knows it: by the names of its outputs.

    Attributes:
        kind: the operator, in the quantizer's words.
        name: exact.
        title: operator and Keras layers, for people.
    """

    kind: str
    name: str
    title: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An operator with what it costs: rms(change of the answers) / rms(answers)."""

    operator: Scope
    error: float

    @property
    def told(self) -> float | None:
        """The error for JSON, which knows no infinity: None when answers were no numbers."""
        return float(f"{self.error:.3g}") if math.isfinite(self.error) else None


def fewest(limit: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number from 1 to ``limit`` that holds, when more always holds better.

    Asks 1, 2, 4, 8 ... and then between the last two: most networks have few bad layers.
    None: not even ``limit`` holds.
    """
    below, tried = 0, min(1, limit)
    while tried and not holds(tried):
        below, tried = tried, min(2 * tried, limit) if tried < limit else 0
    if not tried:
        return None
    while tried - below > 1:
        middle = (below + tried) // 2
        below, tried = (below, middle) if holds(middle) else (middle, tried)
    return tried


def last_multiplying(ranked: Sequence[Ranked]) -> int:
    """How many may be float at most: one operator that multiplies stays int8, else none is."""
    return max((i for i, one in enumerate(ranked) if one.operator.kind in _MULTIPLY), default=0)


def layers_of(names: str) -> str:
    """The Keras layers behind tensors, joined by +; empty when the names tell none.

    Keras writes model/layer/Operation, and the converter joins what it fused by semicolons.
    """
    parts = [part.split("/") for part in names.split(";")]
    plain = [part[:-1] if part[-1].startswith("ReadVariableOp") else part for part in parts]
    return "+".join(dict.fromkeys(part[-2] for part in plain if len(part) > 1))
