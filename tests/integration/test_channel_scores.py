"""Scores, statistics and sensitivity on networks whose answers can be worked out by hand."""

from typing import Any

import numpy as np
import pytest

from pipeline.channels.graph import analyse
from pipeline.channels.recalibrate import recalibrate
from pipeline.channels.score import score
from pipeline.channels.sensitivity import harms, judge
from pipeline.data import Data, Split
from pipeline.errors import DataError, StageFailed
from pipeline.keras_compat import keras, tf

pytestmark = pytest.mark.slow

KERNEL = np.array([[3.0, 0.5, -1.0, 1.0], [4.0, 0.5, 1.0, 1.1]], np.float32)  # of four channels


@pytest.fixture
def data() -> Data:
    random = np.random.default_rng(0)
    split = Split(inputs=random.normal(1, 2, (64, 2)).astype(np.float32), labels=np.arange(64) % 3)
    return Data(train=split, validation=split, test=split)


def dense(*, normalised: bool = False, scale: bool = True) -> Any:
    inputs = keras.Input((2,))
    x = keras.layers.Dense(4, name="hidden", use_bias=False)(inputs)
    if normalised:
        x = keras.layers.BatchNormalization(scale=scale, name="norm")(x)
    x = keras.layers.Dense(3, name="logits")(x)
    model = keras.Model(inputs, x, name="by_hand")
    model.get_layer("hidden").set_weights([KERNEL])
    return model


def units(model: Any, how: Any, data: Data) -> Any:
    return score(model, analyse(model), how, data, 0).units["hidden"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("l1", [7.0, 1.0, 2.0, 2.1]),
        ("l2", [5.0, 0.5**0.5, 2.0**0.5, 2.21**0.5]),
        # Each to the other three: the second and the fourth stand in the middle.
        (
            "geometric_median",
            [
                18.5**0.5 + 25.0**0.5 + 12.41**0.5,
                18.5**0.5 + 2.5**0.5 + 0.61**0.5,
                25.0**0.5 + 2.5**0.5 + 4.01**0.5,
                12.41**0.5 + 0.61**0.5 + 4.01**0.5,
            ],
        ),
    ],
)
def test_kernels_are_measured(how: str, expected: list[float], data: Data) -> None:
    found = units(dense(), how, data)
    np.testing.assert_allclose(found, np.array(expected) / np.mean(expected), rtol=1e-5)


def test_batchnorm_scores_by_scale_and_says_where_there_is_none(data: Data) -> None:
    model = dense(normalised=True)
    model.get_layer("norm").gamma.assign([0.5, -2.0, 1.0, 0.5])
    np.testing.assert_allclose(units(model, "batchnorm", data), [0.5, 2, 1, 0.5])
    with pytest.raises(DataError, match="no batch normalisation scales"):
        units(dense(normalised=True, scale=False), "batchnorm", data)


def test_taylor_is_weight_times_gradient_of_each_batch(data: Data) -> None:
    model = dense()
    model.get_layer("logits").kernel.assign(np.eye(4, 3, k=-1))  # nothing reads the first channel
    expected = np.zeros(4)
    order = np.random.default_rng(0).permutation(64)
    for start in range(0, 64, 8):
        inputs, labels = (
            a[order[start : start + 8]] for a in (data.train.inputs, data.train.labels)
        )
        chances = tf.nn.softmax(model(inputs)).numpy() - np.eye(3)[labels]
        gradient = inputs.T @ (chances @ np.eye(4, 3, k=-1).T) / 8
        expected += np.abs(KERNEL * gradient).sum(axis=0)
    found = units(model, "taylor", data)
    assert found[0] == 0  # the largest weights of all, for nothing
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-4)


def test_coupled_producers_are_normalised_before_they_are_added(data: Data) -> None:
    inputs = keras.Input((2,))
    both = [keras.layers.Dense(4, name=n, use_bias=False)(inputs) for n in ("hidden", "other")]
    logits = keras.layers.Dense(3)(keras.layers.Add()(both))
    model = keras.Model(inputs, logits, name="coupled")
    model.get_layer("hidden").set_weights([KERNEL])
    model.get_layer("other").set_weights([1000 * KERNEL[:, ::-1]])
    alone = np.array([7.0, 1.0, 2.0, 2.1])
    expected = (alone + alone[::-1]) / alone.mean()
    np.testing.assert_allclose(units(model, "l1", data), expected, rtol=1e-5)


def test_random_depends_on_the_seed_alone(data: Data) -> None:
    model = dense()
    graph = analyse(model)
    one, again, other = (score(model, graph, "random", data, s).units["hidden"] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_statistics_are_those_of_the_training_inputs(data: Data) -> None:
    model = dense(normalised=True)
    norm = model.get_layer("norm")
    assert recalibrate(model, data, 0) == 1
    made = data.train.inputs @ KERNEL
    np.testing.assert_allclose(norm.moving_mean, made.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, made.var(axis=0), rtol=1e-4)
    assert norm.momentum == 0.99
    norm.trainable = False
    norm.moving_mean.assign(np.zeros(4))
    assert recalibrate(model, data, 0) == 0
    assert not norm.moving_mean.numpy().any()


def test_silencing_what_nothing_reads_does_no_harm(data: Data) -> None:
    inputs = keras.Input((2,))
    x = keras.layers.Dense(4, name="read")(inputs)
    y = keras.layers.Dense(4, name="unread")(inputs)
    logits = keras.layers.Add()([keras.layers.Dense(3)(x), keras.layers.Dense(3, name="deaf")(y)])
    model = keras.Model(inputs, logits, name="half_deaf")
    model.get_layer("deaf").kernel.assign(np.zeros((4, 3)))
    split = Split(inputs=data.train.inputs, labels=model(data.train.inputs).numpy().argmax(axis=1))
    graph = analyse(model)
    found = harms(model, graph, score(model, graph, "l1", data, 0).units, split)
    assert found["unread"].harm == pytest.approx((0, 0, 0), abs=1e-6)
    assert found["read"].harm[-1] > 0.05


def test_judging_takes_logits_and_probabilities_alike(data: Data) -> None:
    model = dense()
    softmax = keras.Model(model.input, keras.layers.Softmax()(model.output), name="softmax")
    logits, likely = judge(model, data.train), judge(softmax, data.train)
    assert likely.loss == pytest.approx(logits.loss, rel=1e-4)
    assert likely.accuracy == logits.accuracy
    model.get_layer("hidden").set_weights([KERNEL * np.nan])
    with pytest.raises(StageFailed, match="no numbers"):
        judge(model, data.train)
