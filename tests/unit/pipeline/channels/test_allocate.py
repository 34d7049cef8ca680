from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.allocate import (
    Curve,
    Harm,
    OutOfReach,
    Price,
    Room,
    allocate,
    held,
    ranked,
    room_of,
    sensitive,
    uniform,
)

REMOVED = (0.25, 0.5, 0.75)


def chain(channels: Mapping[str, int]) -> Price:
    """Multiplications of a chain of 1x1 convolutions on one pixel, from 3 inputs to 10 outputs."""

    def price(widths: Mapping[str, int]) -> int:
        line = [3, *(widths[name] for name in channels), 10]
        return sum(a * b for a, b in pairwise(line))

    return price


networks = st.lists(st.integers(1, 200), min_size=1, max_size=6).map(
    lambda line: {f"layer{i}": channels for i, channels in enumerate(line)}
)


def rooms_of(channels: Mapping[str, int], multiple: int, smallest: int) -> dict[str, Room]:
    return {name: room_of(count, count, multiple, smallest) for name, count in channels.items()}


def curves(channels: Mapping[str, int], rooms: Mapping[str, Room], seed: int) -> list[Curve]:
    random = np.random.default_rng(seed)
    scores = {name: random.random(count) for name, count in channels.items()}
    harms = {name: Harm(removed=REMOVED, harm=tuple(random.normal(0.2, 1, 3))) for name in channels}
    return [uniform(rooms), ranked(scores), sensitive(rooms, harms)]


@given(networks, st.integers(1, 32), st.integers(1, 16), st.floats(0.05, 0.95), st.integers(0, 99))
def test_widths_meet_the_limit_and_one_step_more_everywhere_does_not(
    channels: dict[str, int], multiple: int, smallest: int, share: float, seed: int
) -> None:
    price, rooms = chain(channels), rooms_of(channels, multiple, smallest)
    limit = share * price(channels)
    floor = {name: room.widths[0] for name, room in rooms.items()}
    for curve in curves(channels, rooms, seed):
        if price(floor) > limit:
            with pytest.raises(OutOfReach) as caught:
                allocate(rooms, curve, price, limit)
            assert caught.value.least == price(floor)
            continue
        widths = allocate(rooms, curve, price, limit)
        assert price(widths) <= limit
        assert all(widths[name] in rooms[name].widths for name in channels)
        wider = {name: rooms[name].above(width) for name, width in widths.items()}
        assert price(wider) > limit or widths == channels


@given(networks, st.floats(0.1, 0.9))
def test_one_group_alone_is_as_wide_as_the_limit_allows(
    channels: dict[str, int], share: float
) -> None:
    """The search against trying every width."""
    name, count = next(iter(channels.items()))
    rooms, price = {name: room_of(count, count, 4, 2)}, chain({name: count})
    limit = share * price({name: count})
    fitting = [width for width in rooms[name].widths if price({name: width}) <= limit]
    if fitting:
        assert allocate(rooms, uniform(rooms), price, limit) == {name: max(fitting)}
    else:
        with pytest.raises(OutOfReach):
            allocate(rooms, uniform(rooms), price, limit)


@given(networks, st.integers(0, 99))
def test_more_strength_never_asks_for_more_channels(channels: dict[str, int], seed: int) -> None:
    for curve in curves(channels, rooms_of(channels, 1, 1), seed):
        line = [curve(s / 50) for s in range(51)]
        for weaker, stronger in pairwise(line):
            assert all(stronger[name] <= weaker[name] + 1e-9 for name in channels)
        assert all(line[0][name] == pytest.approx(channels[name]) for name in channels)
        assert all(line[-1][name] == pytest.approx(0) for name in channels)


@pytest.mark.parametrize(
    ("original", "now", "multiple", "smallest", "widths"),
    [
        (64, 64, 16, 8, (16, 32, 48, 64)),
        (40, 40, 16, 8, (16, 32, 40)),  # it may stay as it is
        (16, 16, 16, 8, (16,)),
        (12, 12, 16, 8, (8, 12)),  # narrower than the multiple: multiples of smallest
        (6, 6, 16, 8, (6,)),  # never above what it had
        (64, 48, 16, 24, (32, 48)),
        (40, 16, 16, 8, (16,)),
        (5, 5, 1, 1, (1, 2, 3, 4, 5)),
    ],
)
def test_widths_that_are_allowed(
    original: int, now: int, multiple: int, smallest: int, widths: tuple[int, ...]
) -> None:
    assert room_of(original, now, multiple, smallest).widths == widths


def test_a_layer_of_its_own_share_is_held_while_the_others_pay() -> None:
    channels = {"a": 64, "b": 64, "c": 64}
    rooms = rooms_of(channels, 16, 8) | {"b": held(room_of(64, 64, 16, 8), 0.75)}
    price = chain(channels)
    widths = allocate(rooms, uniform(rooms), price, 0.5 * price(channels))
    assert widths == {"a": 48, "b": 48, "c": 32}  # 4112 of 4512; 48, 48, 48 would be 5232


def test_a_limit_that_is_already_met_removes_nothing_but_held_shares() -> None:
    channels = {"a": 64, "b": 64}
    rooms = rooms_of(channels, 16, 8) | {"b": held(room_of(64, 64, 16, 8), 0.25)}
    assert allocate(rooms, uniform(rooms), chain(channels), 1e9) == {"a": 64, "b": 16}


def test_ranking_empties_the_layer_of_low_scores_down_to_its_floor() -> None:
    channels = {"low": 32, "high": 32}
    scores = {"low": np.full(32, 0.1), "high": np.linspace(0.5, 1.5, 32)}
    rooms = rooms_of(channels, 8, 8)
    price = chain(channels)
    assert price(channels) == 1440
    # Equal scores would all go at once; as many come back as the limit allows.
    assert allocate(rooms, ranked(scores), price, 900) == {"low": 16, "high": 32}  # 880
    assert allocate(rooms, ranked(scores), price, 360) == {"low": 8, "high": 16}  # 312


def test_groups_that_hurt_keep_more() -> None:
    channels = {"tender": 64, "numb": 64}
    rooms = rooms_of(channels, 1, 1)
    harms = {
        "tender": Harm(removed=REMOVED, harm=(1.0, 2.0, 3.0)),
        "numb": Harm(removed=REMOVED, harm=(0.0, 0.1, 0.3)),
    }
    price = chain(channels)
    widths = allocate(rooms, sensitive(rooms, harms), price, 0.5 * price(channels))
    assert widths["tender"] > 2 * widths["numb"]


def test_the_groups_that_limit_are_named_with_what_they_hold() -> None:
    channels = {"a": 64, "b": 16}
    rooms = rooms_of(channels, 16, 16)
    with pytest.raises(OutOfReach) as caught:
        allocate(rooms, uniform(rooms), chain(channels), 100)
    assert caught.value.least == 3 * 16 + 16 * 16 + 16 * 10
    assert caught.value.limiting == (("b", 390), ("a", 285))  # 464 - 74; 464 - 179


@pytest.mark.parametrize("widths", [(), (0, 4), (4, 4), (8, 4)])
def test_widths_must_ascend(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        Room(original=8, widths=widths)
