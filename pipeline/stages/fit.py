"""The training loop every stage shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Data
from pipeline.errors import DataError
from pipeline.keras_compat import keras
from pipeline.settings import Fit
from pipeline.stages.given import Facts, Given, Report


class Batches(keras.utils.Sequence):  # type: ignore[misc]  # tf_keras is untyped
    """Shuffled, augmented training batches, the same in every run.

    Randomness comes from (seed, epoch, batch), not from a shared generator, because Keras asks
    for batches ahead and out of order.
    """

    def __init__(self, data: Data, batch: int, seed: int) -> None:
        super().__init__()
        self._data, self._batch, self._seed, self._epoch = data, batch, seed, 0
        self._order = self._shuffled()

    def __len__(self) -> int:
        return len(self._order) // self._batch or 1  # a last, shorter batch upsets BatchNorm

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        inputs, labels = self._data.train.inputs[chosen], self._data.train.labels
        if self._data.augment is not None:
            random = np.random.default_rng((self._seed, self._epoch, index))
            inputs = self._data.augment(inputs, random)
        assert labels is not None  # fit() looked
        return inputs, labels[chosen]

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self._epoch += 1
        self._order = self._shuffled()

    def _shuffled(self) -> NDArray[Any]:
        random = np.random.default_rng((self._seed, self._epoch))
        return random.permutation(len(self._data.train.inputs))


class _Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    def __init__(self, epochs: int, report: Report) -> None:
        super().__init__()
        self._epochs, self._report = epochs, report

    def on_epoch_end(self, epoch: int, logs: Facts | None = None) -> None:
        said = {k: v for k, v in (logs or {}).items() if k in ("loss", "val_accuracy")}
        text = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in said.items())
        self._report(epoch + 1, self._epochs, text)


def fit(model: Any, settings: Fit, given: Given, callbacks: Sequence[Any] = ()) -> Facts:
    """Train ``model`` in place.

    Args:
        model: gives logits (or probabilities, by a softmax at its end) float32[batch, classes].
        settings: epochs, batch size, learning rate.
        given: data, whose training split needs labels; seed; who is told of each epoch.
        callbacks: Keras callbacks of the stage.

    Returns:
        Loss and accuracy of the last epoch.

    Raises:
        DataError: the training split has no labels.
    """
    if given.data.train.labels is None:
        raise DataError(model.name, "train.labels is None, so no stage can train")
    keras.utils.set_random_seed(given.seed)
    batches = Batches(given.data, settings.batch, given.seed)
    steps = settings.epochs * len(batches)
    model.compile(_optimizer(settings, steps), _loss(model), metrics=["accuracy"])
    history = model.fit(
        batches, epochs=settings.epochs, verbose=0, validation_data=_validation(given.data),
        callbacks=[*callbacks, _Reporter(settings.epochs, given.report)],
    )  # fmt: skip
    return {name: float(values[-1]) for name, values in history.history.items()}


def training_steps(settings: Fit, data: Data) -> int:
    """Optimizer steps fit() will do."""
    return settings.epochs * len(Batches(data, settings.batch, 0))


def _optimizer(settings: Fit, steps: int) -> Any:
    rate: Any = settings.learning_rate
    if settings.decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.Adam(rate)


def _loss(model: Any) -> Any:
    ends_in_softmax = getattr(model.layers[-1], "activation", None) is keras.activations.softmax
    return keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax)


def _validation(data: Data) -> tuple[NDArray[Any], NDArray[Any]] | None:
    split = data.validation
    return None if split is None or split.labels is None else (split.inputs, split.labels)
