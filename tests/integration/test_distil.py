"""Distillation and the training loop's own errors, with networks of a few hundred weights."""

from typing import Any

import numpy as np
import pytest

from pipeline.data import Data, Split
from pipeline.errors import OutOfMemory, TeachingError, TrainingDiverged
from pipeline.keras_compat import keras, pruning, tf
from pipeline.settings import Distil, Fit, PruneChannels, PruneWeights, Train
from pipeline.stages import prune_weights, train
from pipeline.stages.fit import Batches, fit
from pipeline.stages.given import Given, Outcome
from pipeline.stages.teaching import ends_in_softmax, lesson

pytestmark = [
    pytest.mark.slow,
    # tensorflow_model_optimization compares TensorFlow's version while it is imported.
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
]
CLASSES, SIDE = 4, 6


def network(channels: int, *, softmax: bool, name: str = "net") -> Any:
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.8, name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.Conv2D(16, 3, 2, activation="relu", name="body")(x)
    x = keras.layers.Flatten(name="flat")(x)
    end = "softmax" if softmax else None
    return keras.Model(
        inputs, keras.layers.Dense(CLASSES, activation=end, name="end")(x), name=name
    )


def blurred_classes() -> Data:
    """Four patterns in so much noise that no answer is certain: soft targets tell something."""
    random = np.random.default_rng(3)
    patterns = random.normal(0, 1, (CLASSES, SIDE, SIDE, 1))
    labels = random.integers(0, CLASSES, 640)
    inputs = (patterns[labels] + random.normal(0, 3.0, (640, SIDE, SIDE, 1))).astype(np.float32)
    parts = [Split(inputs=inputs[a:b], labels=labels[a:b]) for a, b in ((0, 256), (256, 384))]
    test = Split(inputs=inputs[384:], labels=labels[384:])
    return Data(train=parts[0], validation=parts[1], test=test)


@pytest.fixture(scope="module")
def data() -> Data:
    return blurred_classes()


@pytest.fixture(scope="module")
def teacher(data: Data) -> Any:
    keras.utils.set_random_seed(1)
    settings = Train(stage="train", epochs=6, batch=32, learning_rate=3e-3)
    outcome = train.run(settings, Given(model=network(8, softmax=False), data=data, seed=1))
    return outcome.model


@pytest.fixture(scope="module")
def soft_teacher(teacher: Any) -> Any:
    ended = keras.layers.Activation("softmax")(teacher.outputs[0])
    return keras.Model(teacher.inputs, ended, name="soft_teacher")


@pytest.fixture(scope="module")
def alone(data: Data) -> Any:
    """The control: the same student, by labels alone."""
    return taught(student(softmax=False), data).model


def student(*, softmax: bool) -> Any:
    keras.utils.set_random_seed(2)
    return network(6, softmax=softmax, name="student")


def taught(model: Any, data: Data, *, teacher: Any = None, distil: Distil | None = None) -> Outcome:
    settings = Train(stage="train", epochs=8, batch=32, learning_rate=1e-2, distil=distil)
    return train.run(settings, Given(model=model, data=data, seed=4, teacher=teacher))


def log_probabilities(model: Any, data: Data) -> np.ndarray:
    outputs = model.predict(data.test.inputs, verbose=0).astype(np.float64)
    if ends_in_softmax(model):
        return np.log(outputs)
    return outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))


def divergence(teacher: Any, model: Any, data: Data) -> float:
    """Mean KL divergence of the model's answers from the teacher's, on unseen samples."""
    theirs, ours = log_probabilities(teacher, data), log_probabilities(model, data)
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())


def distance(teacher: Any, model: Any, layer: str, data: Data) -> float:
    """Mean square between what a layer gives in both models, on unseen samples."""
    theirs, ours = (
        keras.Model(m.inputs, m.get_layer(layer).output).predict(data.test.inputs, verbose=0)
        for m in (teacher, model)
    )
    return float(np.square(theirs - ours).mean())


@pytest.mark.parametrize("student_softmax", [False, True])
@pytest.mark.parametrize("teacher_softmax", [False, True])
def test_a_student_comes_near_its_teacher(
    data: Data, teacher: Any, soft_teacher: Any, alone: Any,
    teacher_softmax: bool, student_softmax: bool,
) -> None:  # fmt: skip
    master = soft_teacher if teacher_softmax else teacher
    before = master.get_weights()
    distil = Distil(teacher="big", temperature=2.0, weight=0.9)
    made = taught(student(softmax=student_softmax), data, teacher=master, distil=distil)
    assert divergence(teacher, made.model, data) < 0.3 * divergence(teacher, alone, data)
    assert all(np.array_equal(a, b) for a, b in zip(before, master.get_weights(), strict=True))
    _check_metrics(made, master, data)


def _check_metrics(made: Outcome, teacher: Any, data: Data) -> None:
    assert data.validation is not None
    inputs, labels = data.validation.inputs, data.validation.labels
    ours, theirs = (m.predict(inputs, verbose=0).argmax(axis=1) for m in (made.model, teacher))
    assert made.facts["val_accuracy"] == pytest.approx((ours == labels).mean())
    assert made.facts["val_teacher_agreement"] == pytest.approx((ours == theirs).mean())


def test_the_loss_is_hintons(data: Data, teacher: Any, soft_teacher: Any) -> None:
    """Worked out anew in float64; the same for logits and probabilities on either side."""
    model, temperature, weight = student(softmax=False), 3.0, 0.7
    ended = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
    given = Given(model=model, data=data, seed=0)
    settings = Distil(teacher="big", temperature=temperature, weight=weight)
    inputs, labels = data.train.inputs[:16], data.train.labels[:16]  # type: ignore[index]

    def softened(logits: np.ndarray, by: float) -> np.ndarray:
        powers = np.exp(logits.astype(np.float64) / by)
        return powers / powers.sum(axis=1, keepdims=True)

    ours, theirs = (m.predict(inputs, verbose=0) for m in (model, teacher))
    q, p = softened(theirs, temperature), softened(ours, temperature)
    hard = -np.log(softened(ours, 1.0)[np.arange(16), labels])
    soft = (q * np.log(q / p)).sum(axis=1) * temperature**2
    expected = weight * soft + (1 - weight) * hard
    for learner in (model, ended):
        for master in (teacher, soft_teacher):
            made = lesson(learner, master, [(inputs, labels)], None, settings)
            _, packed = made.batches[0]
            loss = made.loss(packed, learner(given.data.train.inputs[:16], training=False))
            assert np.allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_the_teacher_answers_the_augmented_batch(data: Data, teacher: Any) -> None:
    changed = Data(
        train=data.train, test=data.test, augment=lambda x, r: x + r.normal(size=x.shape)
    )
    batches = Batches(changed, 8, 1)
    made = lesson(student(softmax=False), teacher, batches, None, Distil(teacher="big"))
    for _ in range(2):
        (inputs, labels), (same, packed) = batches[1], made.batches[1]
        answers = tf.nn.log_softmax(teacher(inputs, training=False) / 4.0).numpy()
        assert np.array_equal(inputs, same)
        assert np.array_equal(packed[:, 0], labels)
        assert np.allclose(packed[:, 1:], answers, atol=1e-5)
        before = inputs
        made.batches.on_epoch_end()
        assert not np.array_equal(batches[1][0], before)


@pytest.fixture(scope="module")
def pruned_alone(data: Data) -> Outcome:
    return pruned(data, None, None)


def pruned(data: Data, teacher: Any, distil: Distil | None) -> Outcome:
    settings = PruneWeights(
        stage="prune_weights", sparsity=0.5, epochs=8, batch=32, learning_rate=1e-2, distil=distil
    )
    given = Given(model=student(softmax=False), data=data, seed=4, teacher=teacher)
    return prune_weights.run(settings, given)


def test_a_wrapped_model_learns_answers_and_features(
    data: Data, teacher: Any, pruned_alone: Outcome
) -> None:
    """Stem has other channels than the teacher's, which takes a layer that must not stay."""
    distil = Distil(teacher="big", temperature=2.0, weight=0.9, features=("norm", "body"))
    made = pruned(data, teacher, distil)
    control = pruned_alone.model
    assert divergence(teacher, made.model, data) < 0.4 * divergence(teacher, control, data)
    near, far = (distance(teacher, m, "body", data) for m in (made.model, control))
    assert near < 0.6 * far
    assert made.facts["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert made.model.get_config() == control.get_config()
    assert [w.shape for w in made.model.weights] == [w.shape for w in control.weights]
    _check_metrics(made, teacher, data)


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (("bodi",), "the student has no layer 'bodi' for features; is it one of body?"),
        (("wide",), r"the teacher has no layer 'wide' for features; is it one of image"),
        (("stem",), r"feature 'stem' has shape \[4, 4, 16\] here and \[6, 6, 8\] in the teacher"),
    ],
)
def test_a_feature_that_is_not_in_both_is_refused(
    data: Data, teacher: Any, features: tuple[str, ...], text: str
) -> None:
    base = student(softmax=False)
    wide = keras.layers.Conv2D(16, 3, name="stem")(base.inputs[0])
    flat = keras.layers.Flatten()(keras.layers.ReLU(name="wide")(wide))
    renamed = keras.layers.Dense(CLASSES)(keras.layers.Dense(4, name="body")(flat))
    model = keras.Model(base.inputs, renamed)
    with pytest.raises(TeachingError, match=text):
        taught(model, data, teacher=teacher, distil=Distil(teacher="big", features=features))


def test_a_teacher_that_is_missing_or_of_other_classes_is_refused(data: Data, teacher: Any) -> None:
    with pytest.raises(TeachingError, match="student cannot be distilled: distil asks for teacher"):
        taught(student(softmax=False), data, distil=Distil(teacher="big"))
    more = keras.Model(teacher.inputs, keras.layers.Dense(7)(teacher.outputs[0]))
    with pytest.raises(TeachingError, match=r"gives outputs of shape \[7\], the student \[4\]"):
        taught(student(softmax=False), data, teacher=more, distil=Distil(teacher="big"))


class Counter(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    steps = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.steps += 1


def with_a_nan(data: Data) -> Data:
    inputs = data.train.inputs.copy()
    inputs[0, 0, 0, 0] = np.nan
    return Data(train=Split(inputs=inputs, labels=data.train.labels), test=data.test)


def test_a_loss_that_is_no_number_ends_training_at_once(data: Data) -> None:
    broken, settings = with_a_nan(data), Fit(epochs=3, batch=256, learning_rate=0.5)
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    linear = keras.layers.Dense(CLASSES)(keras.layers.Flatten()(inputs))
    model, counter = keras.Model(inputs, linear, name="linear"), Counter()
    with pytest.raises(TrainingDiverged, match=r"epoch 1 with learning_rate = 0\.5.*lower") as info:
        fit(model, settings, Given(model=None, data=broken, seed=4), [counter])
    assert info.value.args == ("linear", 1, 0.5)
    assert counter.steps == 1


def test_weights_that_are_no_numbers_are_seen_behind_a_sound_loss(data: Data) -> None:
    """ReLU turns NaN into 0."""
    settings = Fit(epochs=3, batch=256)
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(student(softmax=False), settings, Given(model=None, data=with_a_nan(data), seed=4))


def test_a_step_beyond_all_memory_says_lower_batch(data: Data) -> None:
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    flat = keras.layers.Flatten()(inputs)
    # 2**50 bytes, which no address space holds, so that nothing is really taken.
    huge = keras.layers.Lambda(lambda x: tf.reduce_sum(tf.fill([2**24, 2**24], x[0, 0])) + x)(flat)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(huge), name="huge")
    with pytest.raises(OutOfMemory, match="huge ran out of memory with batch = 32; lower batch"):
        fit(model, Fit(epochs=1, batch=32), Given(model=None, data=data, seed=4))


def test_no_epochs_no_training(data: Data) -> None:
    model = student(softmax=False)
    settings = PruneChannels(stage="prune_channels", keep=0.5, epochs=0)
    assert fit(model, settings, Given(model=None, data=data, seed=4)) == {}
    assert model.optimizer is None


def test_a_softmax_is_found_wherever_it_is() -> None:
    inputs = keras.Input((5,))
    plain = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    dense = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    logits = plain.outputs[0]
    ended = [
        dense,
        pruning().prune_low_magnitude(keras.models.clone_model(dense)),
        keras.Model(inputs, keras.layers.Softmax()(logits)),
        keras.Model(inputs, keras.layers.Activation("softmax")(logits)),
        keras.Model(inputs, tf.nn.softmax(logits)),
        keras.Model(inputs, keras.layers.Reshape((3, 1))(dense.outputs[0])),
        keras.Sequential([keras.Input((5,)), dense]),
        quantized(dense),
    ]
    assert [ends_in_softmax(model) for model in ended] == [True] * len(ended)
    others = [plain, pruning().prune_low_magnitude(keras.models.clone_model(plain))]
    others += [keras.Model(inputs, keras.layers.ReLU()(dense.outputs[0])), quantized(plain)]
    assert [ends_in_softmax(model) for model in others] == [False] * len(others)


def quantized(model: Any) -> Any:
    from tensorflow_model_optimization.quantization.keras import quantize_model

    return quantize_model(keras.models.clone_model(model))
