import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_bench import stats

# Whole numbers: the mean of two of them is exact, so the bounds can be too.
positive = st.integers(1, 1_000_000).map(float)


@given(st.lists(positive, min_size=2, max_size=9))
def test_interval_holds_the_median_and_stays_within_the_values(values):
    found = stats.median_of_blocks(values)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)
    assert found.value == pytest.approx(float(np.median(values)))


def test_same_values_give_the_same_interval_every_time():
    values = [10.0, 11.0, 10.5, 12.0, 10.2]
    assert stats.median_of_blocks(values) == stats.median_of_blocks(values)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    chance = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        found = stats.median_of_blocks(chance.lognormal(0.0, 0.05, size=5).tolist())
        hits += found.low <= 1.0 <= found.high
    # Five blocks can promise 93.75 %: the truth is outside only when all lie on one side.
    assert 0.88 <= hits / 200 <= 0.98


def test_pairing_takes_slow_drift_out():
    drift = np.asarray([1.0, 1.3, 1.6, 1.9, 2.2])
    found = stats.paired_ratio((20.0 * drift).tolist(), (10.0 * drift).tolist())
    assert (found.low, found.value, found.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_blocks_give_no_estimate(values):
    with pytest.raises(ValueError, match="blocks"):
        stats.median_of_blocks(values)


def test_unpaired_blocks_are_refused():
    with pytest.raises(ValueError, match="paired"):
        stats.paired_ratio([1.0, 2.0], [1.0])


def test_spread_is_relative_to_the_median():
    assert stats.spread_percent([9.0, 10.0, 11.0]) == pytest.approx(20.0)
