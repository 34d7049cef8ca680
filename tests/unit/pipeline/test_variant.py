from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact import TensorSpec
from pipeline.data import Data, Split
from pipeline.stages.evaluate import count_correct, spread
from pipeline.variant import difference, real, stored, write_test_set

INT8 = TensorSpec(name="x", dtype="int8", shape=(1, 2), scale=0.5, zero_point=-10)
FLOAT = TensorSpec(name="x", dtype="float32", shape=(1, 2))


def test_values_are_stored_by_scale_and_zero_point() -> None:
    values = np.array([0.0, 1.0, -0.26, 100.0, -100.0], np.float32)
    assert stored(values, INT8).tolist() == [-10, -8, -11, 127, -128]
    assert stored(values, INT8).dtype == np.int8
    assert stored(values, FLOAT).tolist() == pytest.approx(values.tolist())


@given(st.lists(st.integers(-128, 127), min_size=1))
def test_stored_values_survive_a_round_trip(steps: list[int]) -> None:
    values = np.array(steps, np.int8)
    assert stored(real(values, INT8), INT8).tolist() == steps


def test_the_test_set_is_what_a_phone_reads(tmp_path: Path) -> None:
    inputs = np.arange(12, dtype=np.float32).reshape(6, 2)
    split = Split(inputs=inputs, labels=np.arange(6))
    test = write_test_set(Data(train=split, test=split), spread(6, 3), INT8, tmp_path)
    assert (test.samples, test.origin) == (3, "test split")
    found = np.fromfile(tmp_path / "inputs.bin", np.int8).reshape(3, 2)
    assert found.tolist() == stored(inputs[[0, 2, 5]], INT8).tolist()
    assert np.fromfile(tmp_path / "labels.bin", "<i4").tolist() == [0, 2, 5]


def test_a_test_set_without_labels_names_no_file(tmp_path: Path) -> None:
    split = Split(inputs=np.zeros((2, 2), np.float32))
    data = Data(train=split, test=split, accuracy_reason="nobody knows")
    assert write_test_set(data, spread(2, None), FLOAT, tmp_path).labels_file is None
    assert [p.name for p in tmp_path.iterdir()] == ["inputs.bin"]


@given(st.integers(1, 300), st.integers(1, 400))
def test_chosen_samples_are_spread_and_different(count: int, chosen: int) -> None:
    indices = spread(count, chosen).tolist()
    assert len(set(indices)) == len(indices) == min(count, chosen)
    assert min(indices) == 0
    assert max(indices) <= count - 1


def test_of_equal_answers_the_first_counts() -> None:
    outputs = np.array([[3, 3, 1], [1, 5, 5], [0, 0, 0]], np.int8)
    assert count_correct(outputs, np.array([0, 2, 0])) == 2
    assert count_correct(outputs.reshape(-1), np.array([0, 2, 0])) == 2


def test_differences_are_relative_and_nan_is_infinite() -> None:
    expected = np.array([3.0, -4.0], np.float32)
    assert difference(expected, expected) == 0
    assert difference(expected * 1.1, expected) == pytest.approx(0.1)
    assert difference(np.array([3.0, np.nan]), expected) == float("inf")
    assert difference(np.ones(2), np.zeros(2)) == 1
    assert difference(np.zeros(2), np.zeros(2)) == 0
