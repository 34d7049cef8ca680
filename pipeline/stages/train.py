"""Train the model as it stands."""

from pipeline.keras_compat import copy_of, keras
from pipeline.settings import Train
from pipeline.stages.fit import fit
from pipeline.stages.given import Given, Outcome


def run(settings: Train, given: Given) -> Outcome:
    """Train a copy of the model, or its architecture from new weights.

    Facts are the last epoch's numbers.

    Raises:
        DataError: the training split has no labels.
    """
    if settings.fresh:
        keras.utils.set_random_seed(given.seed)
        trained = keras.models.clone_model(given.model)
    else:
        trained = copy_of(given.model)
    facts = fit(trained, settings, given)
    return Outcome(model=copy_of(trained), facts=facts)
