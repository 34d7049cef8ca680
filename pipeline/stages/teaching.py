"""Distillation: a trained model's answers to learn from, beside the labels.

The teacher answers the very batch the student sees, augmented alike, and its answers travel with
the labels in one array; a loss and metrics take that array apart. So the student trains as any
Keras model does, whatever wrappers of tensorflow_model_optimization it holds.

Sources: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015;
Romero et al., "FitNets: Hints for Thin Deep Nets", 2015 (features).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TeachingError
from pipeline.keras_compat import keras, tf
from pipeline.settings import Distil

# The least probability told from 0; products with it are still ordinary float32 numbers.
_LEAST: Final = 1e-30
# Layers behind a softmax that leave its values as they are.
_PASSES: Final = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)
# What tensorflow_model_optimization puts before the name of a layer it wraps.
_WRAPPED: Final = ("prune_low_magnitude_", "cluster_", "quant_")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What to train, and on what, so that ``student`` learns from a teacher.

    Attributes:
        model: the student itself, or with features a model around it that shares its layers.
        batches: inputs, with labels and the teacher's answers as ``loss`` takes them.
        validation: likewise; None when there is none.
        loss: of labels, softened answers and features together.
        metrics: accuracy by the labels, and how often teacher and student choose the same class.
    """

    model: Any
    batches: Any
    validation: Any | None
    loss: Any
    metrics: list[Any]


def lesson(student: Any, teacher: Any, batches: Any, validation: Any, settings: Distil) -> Lesson:
    """Prepare a lesson; neither model is changed until the lesson's model is trained.

    Args:
        student: gives logits or probabilities float32[batch, classes].
        teacher: likewise, for the same classes.
        batches: a Keras Sequence of inputs and labels int[batch].
        validation: likewise, or None.
        settings: temperature, weights, names of features.

    Raises:
        TeachingError: the two models do not fit each other, or a feature is not in both.
    """
    _check(student, teacher)
    pairs = [_pair(student, teacher, name) for name in settings.features]
    answers = _Answers(teacher, [theirs for _, theirs in pairs], settings.temperature)
    judge = _Judge(student, settings)
    metrics = [
        keras.metrics.MeanMetricWrapper(judge.accuracy, name="accuracy"),
        keras.metrics.MeanMetricWrapper(judge.agreement, name="teacher_agreement"),
    ]
    return Lesson(
        model=_with_features(student, pairs) if pairs else student,
        batches=Taught(batches, answers),
        validation=None if validation is None else Taught(validation, answers),
        loss=judge.loss,
        metrics=metrics,
    )


class Taught(keras.utils.Sequence):  # type: ignore[misc]  # tf_keras is untyped
    """Batches whose labels are packed with the teacher's answers to the same inputs.

    A row holds the label, the logarithms of the teacher's softened probabilities, and the
    values of the teacher's features: float32[batch, 1 + classes + values].
    """

    def __init__(self, batches: Any, answers: "_Answers") -> None:
        super().__init__()
        self._batches, self._answers = batches, answers

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        inputs, labels = self._batches[index]
        column = np.reshape(labels, (-1, 1)).astype(np.float32)
        return inputs, np.concatenate([column, self._answers.of(inputs)], axis=1)

    def on_epoch_end(self) -> None:
        """Pass it on: the batches shuffle."""
        self._batches.on_epoch_end()


class _Answers:
    """What a teacher says of inputs, in inference mode."""

    def __init__(self, teacher: Any, features: Sequence[Any], temperature: float) -> None:
        probe = keras.Model(teacher.inputs, [teacher.outputs[0], *features])
        softmax = ends_in_softmax(teacher)

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
        def answer(inputs: Any) -> Any:
            outputs, *values = tf.nest.flatten(probe(inputs, training=False))
            soft = tf.nn.log_softmax(_logits(outputs, softmax) / temperature)
            return tf.concat([soft, *(_flat(value) for value in values)], axis=1)

        self._answer = answer

    def of(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Answers float32[batch, classes + values of features]."""
        answers: NDArray[Any] = self._answer(tf.convert_to_tensor(inputs, tf.float32)).numpy()
        return answers


class _Judge:
    """Loss and metrics of packed labels and a student's outputs."""

    def __init__(self, student: Any, settings: Distil) -> None:
        self._settings, self._softmax = settings, ends_in_softmax(student)
        self._classes = int(student.outputs[0].shape[-1])

    def loss(self, packed: Any, outputs: Any) -> Any:
        """Loss float32[batch].

        The divergence from the softened answers has the gradient of Hinton's cross-entropy and
        is 0 where both agree. Softening divides gradients by temperature**2, which is made good,
        so that ``weight`` means the same at every temperature.
        """
        asked, end = self._settings, 1 + self._classes
        logits = _logits(outputs[:, : self._classes], self._softmax)
        theirs, ours = packed[:, 1:end], tf.nn.log_softmax(logits / asked.temperature)
        soft = tf.reduce_sum(tf.exp(theirs) * (theirs - ours), axis=1) * asked.temperature**2
        labels = tf.cast(packed[:, 0], tf.int32)
        hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = asked.weight * soft + (1 - asked.weight) * hard
        if asked.features:
            error = tf.square(packed[:, end:] - _float(outputs[:, self._classes :]))
            loss += asked.feature_weight * tf.reduce_sum(error, axis=1)
        return loss

    def accuracy(self, packed: Any, outputs: Any) -> Any:
        """1 where the largest output is the label's."""
        return _equal(self._chosen(outputs), packed[:, 0])

    def agreement(self, packed: Any, outputs: Any) -> Any:
        """1 where student and teacher choose the same class."""
        theirs = tf.argmax(packed[:, 1 : 1 + self._classes], axis=1)
        return _equal(self._chosen(outputs), theirs)

    def _chosen(self, outputs: Any) -> Any:
        return tf.argmax(outputs[:, : self._classes], axis=1)


def ends_in_softmax(model: Any) -> bool:
    """Whether a model gives probabilities; otherwise it is taken to give logits.

    Looks through wrappers of tensorflow_model_optimization and models within models.
    """
    made = model.outputs[0]._keras_history
    while isinstance(_unwrapped(made.layer), _PASSES):
        node = made.layer.inbound_nodes[made.node_index]
        made = node.keras_inputs[0]._keras_history
    layer = _unwrapped(made.layer)
    if isinstance(layer, keras.Model):
        return ends_in_softmax(layer)
    if isinstance(layer, keras.layers.Softmax):
        return True
    if getattr(layer, "symbol", None) == "nn.softmax":  # tf.nn.softmax, called on a Keras tensor
        return True
    activation = getattr(layer, "activation", None)
    # Quantize-aware training wraps activations as it wraps layers.
    return getattr(activation, "activation", activation) is keras.activations.softmax


def _unwrapped(layer: Any) -> Any:
    return getattr(layer, "layer", layer)


def _check(student: Any, teacher: Any) -> None:
    for what, ours, theirs in (
        ("takes inputs", student.inputs[0].shape, teacher.inputs[0].shape),
        ("gives outputs", student.outputs[0].shape, teacher.outputs[0].shape),
    ):
        if ours[1:] != theirs[1:]:
            found = f"the teacher {what} of shape {list(theirs[1:])}, the student {list(ours[1:])}"
            raise TeachingError(student.name, f"{found}; name a branch that fits as teacher")


def _pair(student: Any, teacher: Any, name: str) -> tuple[Any, Any]:
    """The student's output of a layer and the teacher's.

    Raises:
        TeachingError: one has no such layer, or their shapes differ in more than channels.
    """
    ours, theirs = _output(student, name, "student"), _output(teacher, name, "teacher")
    if ours.shape[1:-1] != theirs.shape[1:-1]:
        found = f"{list(ours.shape[1:])} here and {list(theirs.shape[1:])} in the teacher"
        advice = "only the number of channels, which is last, may differ"
        raise TeachingError(student.name, f"feature {name!r} has shape {found}; {advice}")
    return ours, theirs


def _output(model: Any, name: str, role: str) -> Any:
    layers = {_plain(layer.name): layer for layer in model.layers}
    if name not in layers:
        near = get_close_matches(name, layers, n=3, cutoff=0.5) or list(layers)
        hint = f"is it one of {', '.join(near)}?"
        raise TeachingError(model.name, f"the {role} has no layer {name!r} for features; {hint}")
    # A wrapper lists the calls of the layer it holds before its own.
    return layers[name].get_output_at(-1)


def _plain(name: str) -> str:
    for prefix in _WRAPPED:
        name = name.removeprefix(prefix)
    return name


def _with_features(student: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """A model whose output is the student's, then the values of its features.

    Where teacher and student differ in channels, a trained 1 x 1 layer translates; it is left
    behind with this model.
    """
    values = [_flat(_translated(ours, theirs.shape[-1])) for ours, theirs in pairs]
    outputs = tf.concat([student.outputs[0], *values], axis=1)
    return keras.Model(student.inputs, outputs, name=student.name)


def _translated(ours: Any, channels: int) -> Any:
    return ours if ours.shape[-1] == channels else keras.layers.Dense(channels)(ours)


def _flat(values: Any) -> Any:
    """One row a sample, scaled so that its sum of squares is the mean square of the feature.

    Without that, the largest of several features would be the only one that counts.
    """
    size = int(np.prod(values.shape[1:]))
    return tf.reshape(_float(values), (-1, size)) / size**0.5


def _float(values: Any) -> Any:
    return tf.cast(values, tf.float32)


def _logits(outputs: Any, softmax: bool) -> Any:
    """Logits of either kind of outputs; the logarithm undoes a softmax up to a constant."""
    outputs = _float(outputs)
    return tf.math.log(tf.maximum(outputs, _LEAST)) if softmax else outputs


def _equal(left: Any, right: Any) -> Any:
    return tf.cast(tf.equal(tf.cast(left, tf.int64), tf.cast(right, tf.int64)), tf.float32)
