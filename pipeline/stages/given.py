"""What every stage is given, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from pipeline.data import Data

# Told about each finished epoch: epoch, of how many, and what to say about it.
Report = Callable[[int, int, str], None]
# Numbers and words a stage says of its work; kept as JSON beside the model and in the artifact.
Facts = dict[str, Any]


def unheard(_step: int, _steps: int, _message: str) -> None:
    """A Report for whoever does not listen."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a stage works on.

    Attributes:
        model: a plain Keras model, never changed; stages work on copies.
        data: the recipe's.
        seed: of everything random.
        report: called after each epoch.
        teacher: a trained Keras model to learn from, when the stage's ``distil`` names one.
    """

    model: Any
    data: Data
    seed: int
    report: Report = unheard
    teacher: Any | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a stage made.

    Attributes:
        model: not compiled; a plain Keras model but for quantize_aware, whose layers are wrapped.
        facts: what it did, as JSON.
        warnings: what every reader of a result must know.
    """

    model: Any
    facts: Facts = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
