"""The chart that answers: what does speed, or size, cost in accuracy on this phone?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from device_bench.report import numbers
from device_bench.report.charts.drawing import (
    ACCENT,
    INK,
    QUIET,
    SURFACE,
    Axis,
    Chart,
    Layer,
    Row,
    around,
    as_is,
    channel,
    draw,
    layer,
    short,
)
from device_bench.report.charts.labels import Box, Point, place_labels
from device_bench.report.model import Estimate, Phone, Recipe, Variant

_PLOT_PX = (372.0, 250.0)
_LARGEST_DISC_PX2, _SMALLEST_DISC_PX2, _PLAIN_DISC_PX2 = 900.0, 30.0, 110.0
_LOG_FROM_RATIO = 4.0  # beyond this a linear axis crowds the fast variants into a corner


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """What an axis shows of a variant; None where it is not known."""

    title: str
    of: Callable[[Variant], Estimate | None]
    text: Callable[[float], str]
    form: str = "~r"
    may_be_log: bool = True


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """One variant on the chart."""

    variant: Variant
    x: Estimate
    y: Estimate
    area_px2: float
    role: str  # "chosen", "baseline" or ""
    text: str


def tradeoff(phone: Phone, recipe: Recipe, key: str) -> Chart | None:
    """Accuracy against latency, size as area; size stands in for what is not known.

    None when fewer than two variants can be compared.
    """
    variants = [v for v in recipe.variants if v.status == "ok"]
    time, share, size = _latency(variants), _accuracy(variants), _size(variants)
    timed = [v for v in variants if phone.time_is_latency and time.of(v)]
    judged = [v for v in variants if share.of(v)]
    if len(both := [v for v in timed if share.of(v)]) > 1:
        return _chart(_spots(both, time, share, recipe, area=True), time, share, key)
    if len(timed) > 1:
        return _chart(_spots(timed, time, size, recipe), time, size, key)
    if len(judged) > 1:
        return _chart(_spots(judged, size, share, recipe), size, share, key)
    return None


def _latency(variants: Sequence[Variant]) -> _Quantity:
    longest = max((v.latency.p50_us.value for v in variants if v.latency), default=1.0)
    scale, unit = numbers.duration_unit(longest)

    def of(variant: Variant) -> Estimate | None:
        p50 = variant.latency.p50_us if variant.latency else None
        return p50 and Estimate(value=p50.value / scale, low=p50.low / scale, high=p50.high / scale)

    return _Quantity(
        title=f"median latency, {unit}", of=of, text=lambda v: numbers.duration(v * scale)
    )


def _accuracy(variants: Sequence[Variant]) -> _Quantity:
    on_phone = all(v.accuracy_phone for v in variants)

    def of(variant: Variant) -> Estimate | None:
        found = variant.accuracy_phone or variant.accuracy_host
        return found and Estimate(value=found.value, low=found.low, high=found.high)

    where = "on the phone" if on_phone else "on the phone, else on the host"
    return _Quantity(
        title=f"accuracy {where}", of=of, text=numbers.share, form="~%", may_be_log=False
    )


def _size(variants: Sequence[Variant]) -> _Quantity:
    scale, unit = numbers.size_unit(max((v.bytes for v in variants), default=1))

    def of(variant: Variant) -> Estimate:
        value = variant.bytes / scale
        return Estimate(value=value, low=value, high=value)

    return _Quantity(title=f"file size, {unit}", of=of, text=lambda v: numbers.size(v * scale))


def _spots(
    variants: Sequence[Variant], x: _Quantity, y: _Quantity, recipe: Recipe, *, area: bool = False
) -> list[_Spot]:
    """The variants in the order of importance, the chosen one first."""
    largest = max(v.bytes for v in variants)
    names = short([v.variant for v in variants])
    spots = []
    for variant in variants:
        at_x, at_y = x.of(variant), y.of(variant)
        if at_x is None or at_y is None:
            continue
        share = _LARGEST_DISC_PX2 * variant.bytes / largest
        spots.append(
            _Spot(
                variant=variant, x=at_x, y=at_y, text=names[variant.variant],
                area_px2=max(_SMALLEST_DISC_PX2, share) if area else _PLAIN_DISC_PX2,
                role=_role(variant.variant, recipe),
            )
        )  # fmt: skip
    return sorted(spots, key=lambda spot: ("chosen", "baseline", "").index(spot.role))


def _role(name: str, recipe: Recipe) -> str:
    if name == recipe.answer.chosen:
        return "chosen"
    return "baseline" if name == recipe.baseline else ""


def _chart(spots: Sequence[_Spot], x: _Quantity, y: _Quantity, key: str) -> Chart:
    across = _axis(spots, [spot.x for spot in spots], x, upwards=False)
    up = _axis(spots, [spot.y for spot in spots], y, upwards=True)
    area = len({spot.area_px2 for spot in spots}) > 1
    boxes = place_labels(
        [_point(spot, across, up) for spot in spots], width_px=_PLOT_PX[0], height_px=_PLOT_PX[1]
    )
    title = f"{y.title.split(',')[0].capitalize()} against {x.title.split(',')[0]}"
    position = {"x": channel("x", across, x.title, x.form), "y": channel("y", up, y.title, y.form)}
    svg = draw(
        [*_whiskers(spots, position), *_leaders(spots, boxes, across, up, position),
         _discs(spots, position, x, y), *_names(spots, boxes, across, up, position)],
        size_px=_PLOT_PX, key=key, label=f"{title}; the values are in the table of variants.",
    )  # fmt: skip
    return Chart(
        key=key, title=title, caption=_caption(spots, unnamed=boxes.count(None), area=area), svg=svg
    )


def _axis(
    spots: Sequence[_Spot], values: Sequence[Estimate], quantity: _Quantity, *, upwards: bool
) -> Axis:
    ends = [v.low for v in values] + [v.high for v in values]
    log = quantity.may_be_log and max(ends) / min(ends) > _LOG_FROM_RATIO
    pixels = _PLOT_PX[1] if upwards else _PLOT_PX[0]
    return around(ends, pixels=pixels, log=log, upwards=upwards)


def _point(spot: _Spot, across: Axis, up: Axis) -> Point:
    return Point(
        x_px=across.place(spot.x.value), y_px=up.place(spot.y.value),
        radius_px=math.sqrt(spot.area_px2 / math.pi), text=_label(spot),
    )  # fmt: skip


def _label(spot: _Spot) -> str:
    return f"{spot.text} ✓" if spot.role == "chosen" else spot.text


def _whiskers(spots: Sequence[_Spot], position: Row) -> list[Layer]:
    """The 95 % intervals, thin lines behind the discs."""
    rule = {"type": "rule", "color": INK, "opacity": 0.28, "strokeWidth": 1}
    lying = [{"x": s.x.low, "x2": s.x.high, "y": s.y.value} for s in spots]
    standing = [{"x": s.x.value, "y": s.y.low, "y2": s.y.high} for s in spots]
    return [layer(lying, rule, **position, x2="x2"), layer(standing, rule, **position, y2="y2")]


def _leaders(
    spots: Sequence[_Spot], boxes: Sequence[Box | None], across: Axis, up: Axis, position: Row
) -> list[Layer]:
    """Lines to the labels that found no place beside their disc."""
    rows = []
    for spot, box in zip(spots, boxes, strict=True):
        if box is None:
            continue
        point = _point(spot, across, up)
        end_x = min(max(point.x_px, box.left), box.right)
        end_y = min(max(point.y_px, box.top + 2), box.bottom - 2)
        if math.hypot(end_x - point.x_px, end_y - point.y_px) > point.radius_px + 12:
            rows.append({
                "x": spot.x.value, "y": spot.y.value,
                "x2": across.value(end_x), "y2": up.value(end_y),
            })  # fmt: skip
    rule = {"type": "rule", "color": INK, "opacity": 0.35, "strokeWidth": 0.7}
    return [layer(rows, rule, **position, x2="x2", y2="y2")] if rows else []


def _discs(spots: Sequence[_Spot], position: Row, x: _Quantity, y: _Quantity) -> Layer:
    fills = {"chosen": ACCENT, "baseline": SURFACE, "": QUIET}
    rows = [
        {
            "x": s.x.value, "y": s.y.value, "area": s.area_px2, "fill": fills[s.role],
            "stroke": {"chosen": ACCENT, "baseline": INK, "": SURFACE}[s.role],
            "tip": f"{s.variant.variant}: {x.text(s.x.value)}, {y.text(s.y.value)}, "
                   f"{numbers.size(s.variant.bytes)}",
        }
        for s in sorted(spots, key=lambda spot: -spot.area_px2)
    ]  # fmt: skip
    mark = {"type": "point", "filled": True, "opacity": 0.92, "strokeWidth": 1.4}
    return layer(
        rows, mark, **position, fill=as_is("fill"), stroke=as_is("stroke"), size=as_is("area")
    )


def _names(
    spots: Sequence[_Spot], boxes: Sequence[Box | None], across: Axis, up: Axis, position: Row
) -> list[Layer]:
    rows = [
        {
            "x": across.value(box.left), "y": up.value(box.middle), "text": _label(spot),
            "fill": ACCENT if spot.role == "chosen" else INK, "role": spot.role,
        }
        for spot, box in zip(spots, boxes, strict=True)
        if box is not None
    ]  # fmt: skip
    plain = [row for row in rows if row["role"] != "chosen"]
    chosen = [row for row in rows if row["role"] == "chosen"]
    text = {"type": "text", "align": "left"}
    words = {**position, "text": "text:N", "fill": as_is("fill")}
    return [layer(plain, text, **words), layer(chosen, {**text, "fontWeight": 600}, **words)]


def _caption(spots: Sequence[_Spot], *, unnamed: int, area: bool) -> str:
    parts = ["Lines are 95 % intervals."]
    if area:
        parts.insert(0, "The area is the file size.")
    roles = {spot.role for spot in spots}
    if "chosen" in roles:
        parts.append("✓ is the chosen variant.")
    if "baseline" in roles:
        parts.append("The open disc is the baseline.")
    if unnamed:
        parts.append(f"{unnamed} names found no room; hover a disc to read its name.")
    return " ".join(parts)
