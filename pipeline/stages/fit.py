"""The training loop every stage shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Data, Split
from pipeline.errors import DataError, OutOfMemory, TeachingError, TrainingDiverged
from pipeline.keras_compat import keras, tf
from pipeline.settings import Fit
from pipeline.stages.given import Facts, Given, Report
from pipeline.stages.teaching import Lesson, ends_in_softmax, lesson


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


class _InOrder(keras.utils.Sequence):  # type: ignore[misc]  # tf_keras is untyped
    """The validation split as it stands."""

    def __init__(self, split: Split, batch: int) -> None:
        super().__init__()
        self._split, self._batch = split, batch

    def __len__(self) -> int:
        return -(-len(self._split.inputs) // self._batch)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        chosen = slice(index * self._batch, (index + 1) * self._batch)
        assert self._split.labels is not None  # _validation() looked
        return self._split.inputs[chosen], self._split.labels[chosen]


class _Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    def __init__(self, epochs: int, report: Report) -> None:
        super().__init__()
        self._epochs, self._report = epochs, report

    def on_epoch_end(self, epoch: int, logs: Facts | None = None) -> None:
        said = {k: v for k, v in (logs or {}).items() if k in ("loss", "val_accuracy")}
        text = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in said.items())
        self._report(epoch + 1, self._epochs, text)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    """Stops at the first loss or weight that is no number; nothing comes of training on."""

    def __init__(self, name: str, settings: Fit) -> None:
        super().__init__()
        self._name, self._settings, self._epoch = name, settings, 0

    def on_epoch_begin(self, epoch: int, logs: Facts | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Facts | None = None) -> None:
        # Keras gives the mean of the epoch so far, in which one bad loss stays visible.
        if not np.isfinite((logs or {}).get("loss", 0.0)):
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Facts | None = None) -> None:
        # ReLU turns NaN into 0, so a loss may look sound while weights are lost.
        if not all(np.isfinite(w.numpy()).all() for w in self.model.trainable_weights):
            self._stop()

    def _stop(self) -> None:
        raise TrainingDiverged(self._name, self._epoch, self._settings.learning_rate)


def fit(model: Any, settings: Fit, given: Given, callbacks: Sequence[Any] = ()) -> Facts:
    """Train ``model`` in place, also from a teacher when ``settings.distil`` says so.

    Args:
        model: gives logits (or probabilities, by a softmax at its end) float32[batch, classes];
            plain, or wrapped by tensorflow_model_optimization.
        settings: epochs, batch size, learning rate, distillation.
        given: data, whose training split needs labels; seed; who is told of each epoch; teacher.
        callbacks: Keras callbacks of the stage. Their ``model`` holds the layers of ``model``,
            but is a larger one when features are distilled.

    Returns:
        Loss and accuracy of the last epoch; nothing when no epoch is asked for.

    Raises:
        DataError: the training split has no labels.
        TeachingError: there is no teacher where one is asked for, or it does not fit.
        TrainingDiverged: a loss or a weight is no number.
        OutOfMemory: a step does not fit into memory.
    """
    if not settings.epochs:
        return {}
    if given.data.train.labels is None:
        raise DataError(model.name, "train.labels is None, so no stage can train")
    keras.utils.set_random_seed(given.seed)
    task = _task(model, settings, given)
    steps = settings.epochs * len(task.batches)
    task.model.compile(_optimizer(settings, steps), task.loss, metrics=task.metrics)
    watching = [_Watch(model.name, settings), _Reporter(settings.epochs, given.report)]
    try:
        history = task.model.fit(
            task.batches, epochs=settings.epochs, verbose=0, validation_data=task.validation,
            callbacks=[*callbacks, *watching],
        )  # fmt: skip
    except (tf.errors.ResourceExhaustedError, MemoryError) as exc:
        raise OutOfMemory(model.name, settings.batch) from exc
    return {name: float(values[-1]) for name, values in history.history.items()}


def training_steps(settings: Fit, data: Data) -> int:
    """Optimizer steps fit() will do."""
    return settings.epochs * len(Batches(data, settings.batch, 0))


def _task(model: Any, settings: Fit, given: Given) -> Lesson:
    """What to train on what, by labels alone or with a teacher."""
    batches = Batches(given.data, settings.batch, given.seed)
    validation = _validation(given.data, settings.batch)
    if settings.distil is None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model))
        return Lesson(
            model=model, batches=batches, validation=validation, loss=loss, metrics=["accuracy"]
        )
    if given.teacher is None:
        asked = f"distil asks for teacher {settings.distil.teacher!r}, but none was given"
        raise TeachingError(model.name, f"{asked}; name a branch whose stages train")
    return lesson(model, given.teacher, batches, validation, settings.distil)


def _optimizer(settings: Fit, steps: int) -> Any:
    rate: Any = settings.learning_rate
    if settings.decay == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.Adam(rate)


def _validation(data: Data, batch: int) -> _InOrder | None:
    split = data.validation
    return None if split is None or split.labels is None else _InOrder(split, batch)
