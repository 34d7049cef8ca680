"""How many channels each group keeps, so that the whole meets a target; pure.

An allocation is a curve: a strength from 0 (nothing is removed) to 1 (as little stays as may)
gives the channels each group is to keep. Which strength meets the target is searched for; the
widths it asks for are rounded to those that run well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

Widths = Mapping[str, int]
# Channels each group is to keep, unrounded, at a strength of 0 to 1; never more at more strength.
Curve = Callable[[float], Mapping[str, float]]
# What a network of these widths costs; never more when a group becomes narrower.
Price = Callable[[Widths], float]

_HALVINGS: Final = 40  # of the interval of strengths: 1e-12, finer than any width


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The widths a group may take.

    Attributes:
        original: channels before anything was removed.
        widths: ascending; the last is what the group has now.
    """

    original: int
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.widths or sorted(set(self.widths)) != list(self.widths) or self.widths[0] < 1:
            raise ValueError(f"widths must ascend from 1 or more, not {self.widths}")

    @property
    def now(self) -> int:
        """Channels the group has."""
        return self.widths[-1]

    def nearest(self, wanted: float) -> int:
        """The allowed width nearest to ``wanted``; of two equally near ones, the wider."""
        return min(self.widths, key=lambda width: (abs(width - wanted), -width))

    def above(self, width: int) -> int:
        """The next wider one; the widest stays."""
        return next((wider for wider in self.widths if wider > width), width)


def room_of(original: int, now: int, multiple: int, smallest: int) -> Room:
    """The widths a group may be given.

    Multiples of ``multiple`` of at least ``smallest``, and what it has now. A group that was
    never as wide as ``multiple`` cannot keep to it: its widths are multiples of ``smallest``.
    """
    step = multiple if original >= multiple else smallest
    first = -(-smallest // step) * step
    return Room(original=original, widths=(*range(first, now, step), now))


def held(room: Room, share: float) -> Room:
    """The same group with one width: that nearest to ``share`` of its original."""
    return Room(original=room.original, widths=(room.nearest(room.original * share),))


def uniform(rooms: Mapping[str, Room]) -> Curve:
    """Every group keeps the same share of what it once had."""
    return lambda strength: {
        name: min(room.original * (1 - strength), room.now) for name, room in rooms.items()
    }


def ranked(scores: Mapping[str, NDArray[Any]]) -> Curve:
    """The lowest scores of the whole network go first, in whichever group they are."""
    ordered = {name: np.sort(values) for name, values in scores.items()}
    every = np.sort(np.concatenate(list(ordered.values())))

    def curve(strength: float) -> Mapping[str, float]:
        removed = round(strength * len(every))
        if not removed:
            return {name: len(values) for name, values in ordered.items()}
        bar = every[removed - 1]
        return {
            name: len(values) - float(np.searchsorted(values, bar, side="right"))
            for name, values in ordered.items()
        }

    return curve


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What removing shares of one group alone did.

    Attributes:
        removed: shares, ascending, above 0 and up to 1.
        harm: rise of the loss for each.
    """

    removed: tuple[float, ...]
    harm: tuple[float, ...]


def sensitive(rooms: Mapping[str, Room], harms: Mapping[str, Harm]) -> Curve:
    """Every group is narrowed as far as the same harm; groups that hurt keep more.

    Harm that falls with more removed is noise, and taken for level. One hundredth of the greatest
    is added by share removed, so that groups that do no harm are not emptied at once.
    """
    greatest = max((0.0, *(max(found.harm) for found in harms.values())))
    slope = greatest / 100 or 1.0
    knots = {name: _knots(found, slope) for name, found in harms.items()}
    ceiling = max((levels[-1] for _, levels in knots.values()), default=1.0)

    def curve(strength: float) -> Mapping[str, float]:
        # Squared: most groups are narrowed at levels far below the one that empties the last.
        level = ceiling * strength**2
        return {
            name: rooms[name].now * (1 - float(np.interp(level, levels, removed)))
            for name, (removed, levels) in knots.items()
        }

    return curve


def _knots(found: Harm, slope: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shares removed and the levels of harm that allow them, both ascending from 0 to 1."""
    removed = np.array([0.0, *found.removed])
    levels = np.maximum.accumulate([0.0, *found.harm]) + slope * removed
    if removed[-1] < 1.0:  # beyond what was tried, harm grows as it did last
        last = (levels[-1] - levels[-2]) / (removed[-1] - removed[-2])
        levels = np.append(levels, levels[-1] + last * (1.0 - removed[-1]))
        removed = np.append(removed, 1.0)
    return removed, levels


class OutOfReach(ValueError):
    """No allowed widths meet the target.

    Attributes:
        least: the price at the narrowest widths.
        limiting: groups whose floor costs most, with what narrowing each to one channel would
            take off the price; the greatest first.
    """

    def __init__(self, least: float, limiting: Sequence[tuple[str, float]]) -> None:
        super().__init__(least, limiting)
        self.least, self.limiting = least, tuple(limiting)


def check_reach(rooms: Mapping[str, Room], price: Price, limit: float) -> None:
    """Check that some allowed widths cost at most ``limit``.

    Raises:
        OutOfReach: the narrowest cost more.
    """
    floor = {name: room.widths[0] for name, room in rooms.items()}
    least = price(floor)
    if least > limit:
        held_by = {name: least - price({**floor, name: 1}) for name in floor}
        raise OutOfReach(least, sorted(held_by.items(), key=lambda item: -item[1]))


def allocate(rooms: Mapping[str, Room], curve: Curve, price: Price, limit: float) -> dict[str, int]:
    """Widths that cost at most ``limit``, as near to it as rounding allows.

    Each group has the width nearest to what the weakest sufficient strength asks for, or, as far
    as the limit leaves room, a wider one, at least the next.

    Args:
        rooms: every group, by name.
        curve: the allocation; groups with one width need not be in it.
        price: called some fifty times.
        limit: in the unit of ``price``.

    Raises:
        OutOfReach: the narrowest widths cost more.
    """
    check_reach(rooms, price, limit)
    rounded = _rounded(rooms, curve)
    if price(rounded(0.0)) <= limit:
        return rounded(0.0)
    weak, strong = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (weak + strong) / 2
        weak, strong = (weak, middle) if price(rounded(middle)) <= limit else (middle, strong)
    return _widened(rooms, rounded(strong), curve(weak), lambda widths: price(widths) <= limit)


def _rounded(rooms: Mapping[str, Room], curve: Curve) -> Callable[[float], dict[str, int]]:
    def rounded(strength: float) -> dict[str, int]:
        if strength >= 1.0:
            return {name: room.widths[0] for name, room in rooms.items()}
        wanted = curve(strength)
        return {name: room.nearest(wanted.get(name, room.now)) for name, room in rooms.items()}

    return rounded


def _widened(
    rooms: Mapping[str, Room], widths: dict[str, int], wanted: Mapping[str, float],
    fits: Callable[[Widths], bool],
) -> dict[str, int]:  # fmt: skip
    """Give back step by step what the limit leaves room for, to the most wanting group first.

    Up to what the next weaker strength asks for, and one step to those for which it asks the same.
    """
    caps = {
        name: max(room.nearest(wanted.get(name, 0)), room.above(widths[name]))
        for name, room in rooms.items()
    }
    open_ = set(rooms)
    while open_:
        name = max(sorted(open_), key=lambda n: (wanted.get(n, 0) - widths[n]) / rooms[n].original)
        wider = {**widths, name: rooms[name].above(widths[name])}
        if widths[name] < caps[name] and fits(wider):
            widths = wider
        else:  # and never will, as the others only become wider
            open_.remove(name)
    return widths
