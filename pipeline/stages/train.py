"""Train the model as it stands."""

from typing import Any

from pipeline.data import Data
from pipeline.keras_compat import copy_of
from pipeline.recipe import Train
from pipeline.stages.fit import Facts, Report, fit


def run(model: Any, settings: Train, data: Data, seed: int, report: Report) -> tuple[Any, Facts]:
    """Train a copy of ``model``.

    Returns:
        The trained copy, not compiled, and the last epoch's numbers.

    Raises:
        DataError: the training split has no labels.
    """
    trained = copy_of(model)
    facts = fit(trained, settings, data, seed, report)
    return copy_of(trained), facts
