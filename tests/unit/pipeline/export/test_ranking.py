import pytest

from pipeline.export.ranking import Ranked, Scope, fewest, last_multiplying, layers_of


def ranked(*kinds: str) -> list[Ranked]:
    return [Ranked(operator=Scope(kind=k, name=k, title=k), error=1.0) for k in kinds]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 60])
def test_the_fewest_that_hold_are_found(limit: int) -> None:
    for wanted in range(1, limit + 1):
        asked: list[int] = []

        def holds(count: int, wanted: int = wanted, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count >= wanted

        assert fewest(limit, holds) == wanted
        assert len(asked) == len(set(asked)) <= 2 * limit.bit_length() + 1
        assert max(asked) <= limit


@pytest.mark.parametrize("limit", [0, 1, 5, 8])
def test_nothing_is_found_when_the_last_does_not_hold(limit: int) -> None:
    asked: list[int] = []
    assert fewest(limit, lambda count: bool(asked.append(count))) is None
    assert asked == [n for n in (1, 2, 4, 5, 8) if n <= limit and (n != 5 or limit == 5)]


def test_one_operator_that_multiplies_stays_int8() -> None:
    assert last_multiplying(ranked("CONV_2D", "ADD", "FULLY_CONNECTED", "MEAN")) == 2
    assert last_multiplying(ranked("CONV_2D", "ADD")) == 0
    assert last_multiplying(ranked("ADD")) == 0


@pytest.mark.parametrize(
    ("names", "layers"),
    [
        ("model/re_lu/Relu6;model/stem/Conv2D;", "re_lu+stem"),
        ("model/wide/Relu;model/wide/BiasAdd/ReadVariableOp;model/wide/Conv2D;", "wide"),
        ("model/inner/mixer/Conv2D1", "mixer"),
        ("StatefulPartitionedCall:0;", ""),
    ],
)
def test_layers_are_told_from_names(names: str, layers: str) -> None:
    assert layers_of(names) == layers


def test_an_answer_that_is_no_number_is_told_as_none() -> None:
    assert Ranked(operator=ranked("ADD")[0].operator, error=float("inf")).told is None
    assert Ranked(operator=ranked("ADD")[0].operator, error=0.123456).told == 0.123
