"""Train the model as it stands."""

from pipeline.keras_compat import copy_of
from pipeline.settings import Train
from pipeline.stages.fit import fit
from pipeline.stages.given import Given, Outcome


def run(settings: Train, given: Given) -> Outcome:
    """Train a copy of the model; facts are the last epoch's numbers.

    Raises:
        DataError: the training split has no labels.
    """
    trained = copy_of(given.model)
    facts = fit(trained, settings, given)
    return Outcome(model=copy_of(trained), facts=facts)
