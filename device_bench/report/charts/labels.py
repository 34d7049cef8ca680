"""Where a scatter chart's labels go: beside their points, over nothing. Pure geometry, pixels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

CHARACTER_PX = 6.3  # a little more than the mean of common sans-serif faces at 11 px
LINE_PX = 13.0
_MOST_COVERED_PX2 = 40.0  # three characters' worth: the text can still be read
_STEPS_PX = (0.0, 8.0, 18.0, 30.0, 44.0, 60.0)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A disc with a name."""

    x_px: float
    y_px: float
    radius_px: float
    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An upright rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Area shared with another box, square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    @property
    def middle(self) -> float:
        """Height of the text's middle line."""
        return (self.top + self.bottom) / 2


def place_labels(
    points: Sequence[Point], *, width_px: float, height_px: float, always: int = 2
) -> list[Box | None]:
    """One box a point, in their order; earlier points get the better places.

    Args:
        points: in the order of importance.
        width_px: of the plot; labels stay inside where they can.
        height_px: of the plot.
        always: so many of the first points are labelled whatever is in the way; a later one
            that finds no free place gets None.
    """
    discs = [_disc(point) for point in points]
    frame = Box(left=0, top=0, right=width_px, bottom=height_px)
    taken: list[Box] = []
    boxes: list[Box | None] = []
    for number, point in enumerate(points):
        ways = [
            (_in_the_way(box, frame, discs, taken), far, order, box)
            for order, (box, far) in enumerate(_candidates(point))
        ]
        covered, _, _, best = min(ways, key=lambda way: (way[0] + way[1], way[2]))
        if number >= always and covered > _MOST_COVERED_PX2:
            boxes.append(None)
            continue
        taken.append(best)
        boxes.append(best)
    return boxes


def _in_the_way(box: Box, frame: Box, discs: Sequence[Box], taken: Sequence[Box]) -> float:
    """Area that a label here would hide or lose; the frame counts most."""
    return 4 * _outside(box, frame) + sum(map(box.overlap, discs)) + sum(map(box.overlap, taken))


def _disc(point: Point) -> Box:
    reach = point.radius_px + 1
    return Box(
        left=point.x_px - reach, right=point.x_px + reach,
        top=point.y_px - reach, bottom=point.y_px + reach,
    )  # fmt: skip


def _candidates(point: Point) -> Iterable[tuple[Box, float]]:
    """Places around a point, each with the price of being far from it."""
    width, gap = len(point.text) * CHARACTER_PX, point.radius_px + 4
    for step in _STEPS_PX:
        for down in (0.0,) if step == 0 else (-step, step):
            for left in (point.x_px + gap, point.x_px - gap - width):
                yield _box(left, point.y_px + down, width), step
        for down in (-gap - LINE_PX / 2 - step, gap + LINE_PX / 2 + step):
            yield _box(point.x_px - width / 2, point.y_px + down, width), step + 2


def _box(left: float, middle: float, width: float) -> Box:
    return Box(left=left, right=left + width, top=middle - LINE_PX / 2, bottom=middle + LINE_PX / 2)


def _outside(box: Box, frame: Box) -> float:
    area = (box.right - box.left) * (box.bottom - box.top)
    return area - box.overlap(frame)
