import hashlib

import numpy as np
import pytest

from pipeline.data import Data, Split
from pipeline.errors import ConversionError
from pipeline.export.calibration import balanced, choose


def split(labels: list[int] | None, count: int = 0) -> Split:
    size = count if labels is None else len(labels)
    inputs = np.arange(size, dtype=np.float32).reshape(size, 1)
    return Split(inputs=inputs, labels=None if labels is None else np.array(labels))


def data(train: Split, test: Split | None = None) -> Data:
    return Data(train=train, test=test or split([0]))


def test_each_class_gives_alike() -> None:
    """Nine in ten samples show class 0, as in a split that is not balanced."""
    chosen = choose(data(split([0] * 90 + [1] * 5 + [2] * 5)), 9, "x")
    assert chosen.facts["classes"] == {"0": 3, "1": 3, "2": 3}
    assert chosen.inputs.ravel().tolist() == [0, 44, 89, 90, 92, 94, 95, 97, 99]


def test_a_small_class_gives_all_and_the_others_share_the_rest() -> None:
    labels = np.array([0] * 50 + [1] * 2 + [2] * 50)
    counts = np.bincount(labels[balanced(labels, 20)])
    assert counts.tolist() == [9, 2, 9]


@pytest.mark.parametrize("asked", [4, 7, 10, 64])
def test_never_more_than_asked_for_and_no_sample_twice(asked: int) -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    chosen = balanced(labels, asked)
    assert len(chosen) == min(asked, 10)
    assert len(set(chosen.tolist())) == len(chosen)
    assert chosen.tolist() == sorted(chosen.tolist())


def test_without_labels_the_split_is_crossed_evenly() -> None:
    chosen = choose(data(split(None, 101), split([0])), 5, "x")
    assert chosen.inputs.ravel().tolist() == [0, 25, 50, 75, 100]
    assert chosen.facts["classes"] is None
    assert "no labels" in chosen.facts["reason"]


def test_the_samples_can_be_told_again() -> None:
    chosen = choose(data(split([0, 1])), 128, "x")
    assert (chosen.facts["samples"], chosen.facts["asked"]) == (2, 128)
    content = b"float32 (2, 1)\n" + np.array([[0], [1]], np.float32).tobytes()
    assert chosen.facts["sha256"] == hashlib.sha256(content).hexdigest()
    other = choose(data(split([1, 1])), 1, "x")
    assert other.facts["sha256"] != chosen.facts["sha256"]


def test_classes_that_are_missing_are_named() -> None:
    chosen = choose(data(split([0, 0, 3, 3]), split([0, 1, 2, 3])), 4, "x")
    assert len(chosen.warnings) == 1
    assert "class 1, 2 (4 samples" in chosen.warnings[0]
    assert choose(data(split([0, 1, 2, 3]), split([0, 1])), 4, "x").warnings == ()


def test_many_missing_classes_are_counted() -> None:
    chosen = choose(data(split(list(range(30)))), 8, "x")
    assert sum(chosen.facts["classes"].values()) == 8
    assert "and 12 more" in chosen.warnings[0]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(ConversionError, match="v: the training split holds no sample"):
        choose(data(split([])), 8, "v")
