import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_bench.report import numbers
from device_bench.report.model import Estimate
from pipeline.artifact import Accuracy


def plain_text(text: str) -> str:
    return (
        text.replace(numbers.SPACE, " ")
        .replace(numbers.MINUS, "-")
        .replace("\u202f", " ")
        .replace("\u2060", "")
    )


@pytest.mark.parametrize(
    ("value_us", "shown"),
    [
        (0.5, "0.500 µs"),
        (9.999, "10.0 µs"),
        (123.4, "123 µs"),
        (999.4, "999 µs"),
        (999.6, "1.00 ms"),
        (12_345, "12.3 ms"),
        (12e6, "12.0 s"),
    ],
)
def test_duration_has_three_digits_and_the_fitting_unit(value_us: float, shown: str) -> None:
    assert plain_text(numbers.duration(value_us)) == shown


@pytest.mark.parametrize(
    ("value_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (48_213, "48.2 kB"), (999_600, "1.00 MB")],
)
def test_size_is_decimal(value_bytes: float, shown: str) -> None:
    assert plain_text(numbers.size(value_bytes)) == shown


def test_proc_kilobytes_are_1024_bytes() -> None:
    assert plain_text(numbers.memory(1000)) == "1.02 MB"


def test_a_narrow_interval_still_shows_two_ends() -> None:
    shown = numbers.duration_range(Estimate(value=1234, low=1233.2, high=1234.9))
    assert plain_text(shown) == "1.233 – 1.235 ms"


def test_an_interval_keeps_the_unit_of_its_value() -> None:
    shown = numbers.duration_range(Estimate(value=1000, low=950, high=1100))
    assert plain_text(shown) == "0.95 – 1.10 ms"


def test_only_all_of_it_is_100_percent() -> None:
    assert plain_text(numbers.share(1.0)) == "100 %"
    assert plain_text(numbers.share(0.9999)) == "99.9 %"


def test_share_range_shows_the_interval() -> None:
    assert plain_text(numbers.share_range(Accuracy.of(904, 1000))) == "88.4 – 92.1 %"


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    assert plain_text(numbers.points(-0.00001)) == "0.0 points"
    assert plain_text(numbers.change(99.999, 100)) == "0.0 %"


def test_changes_are_signed() -> None:
    assert plain_text(numbers.points(0.004)) == "+0.4 points"
    assert plain_text(numbers.change(26, 100)) == "-74 %"
    assert plain_text(numbers.change(103, 100)) == "+3.0 %"


def test_a_change_from_nothing_is_not_a_number() -> None:
    assert numbers.change(1, 0) == numbers.MISSING


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0078, "0.0078"), (2.4e-7, "2.4e-7"), (0, "0"), (math.nan, "not a number")],
)
def test_quantity_reads_well_at_any_size(value: float, shown: str) -> None:
    assert plain_text(numbers.quantity(value)) == shown


@given(st.floats(min_value=1e-3, max_value=1e12))
def test_a_duration_is_shown_within_half_a_percent(value_us: float) -> None:
    number, unit = plain_text(numbers.duration(value_us)).split()
    shown_us = float(number) * {"µs": 1.0, "ms": 1e3, "s": 1e6}[unit]
    assert shown_us == pytest.approx(value_us, rel=0.0051)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_no_number_shows_a_negative_zero(value: float) -> None:
    for shown in (numbers.plain(value, 1), numbers.quantity(value), numbers.amount(value)):
        text = shown.split(numbers.SPACE)[0]
        assert not text.startswith(numbers.MINUS) or any(c in "123456789" for c in text)
