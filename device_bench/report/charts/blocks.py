"""Latency block by block: whether fresh processes agree, and whether a run drifted."""

from collections.abc import Sequence

from device_bench.report import numbers
from device_bench.report.charts.drawing import (
    ACCENT,
    INK,
    QUIET,
    Axis,
    Chart,
    Layer,
    Row,
    around,
    as_is,
    channel,
    draw,
    layer,
)
from device_bench.report.charts.rows import (
    HEADING_PX,
    PLOT_WIDTH_PX,
    Heading,
    down,
    stacked,
    titles,
)
from device_bench.report.model import Block, Recipe, Variant

_BLOCK_PX, _BOX_PX, _TRACE_PX = 9.0, 6.0, 44.0
_BETWEEN_TRACES_PX = 6.0
_TRACE_PERCENT = (-10.0, 40.0)


def blocks(recipe: Recipe, key: str) -> Chart | None:
    """A box a block, grouped by variant, relative to the variant's median.

    Relative, because variants may be ten times apart while their blocks differ by a percent.
    """
    variants = _measured(recipe)
    if not variants:
        return None
    headings, height = _headings(recipe, variants, [_BLOCK_PX * len(v.blocks) for v in variants])
    rows: list[Row] = []
    for heading, variant in zip(headings, variants, strict=True):
        rows += _boxes(heading, variant)
    across = around([r[end] for r in rows for end in ("x", "x2")], pixels=PLOT_WIDTH_PX, log=False)
    svg = draw(
        [*_box_layers(rows, across, height), *titles(headings, down(height))],
        size_px=(PLOT_WIDTH_PX, height), key=key,
        label="Latency of every block, a row each; the values are in the table of blocks.",
    )  # fmt: skip
    caption = (
        "A row is one fresh process: light 5–95 % of its inferences, dark 25–75 %, line the median."
    )
    return Chart(key=key, title="Latency block by block", caption=caption, svg=svg)


def trace(recipe: Recipe, key: str) -> Chart | None:
    """Every block's samples in the order they were taken: shows drift and disturbances."""
    variants = _measured(recipe)
    if not variants:
        return None
    headings, height = _headings(recipe, variants, [_TRACE_PX] * len(variants))
    rows: list[Row] = []
    for heading, variant in zip(headings, variants, strict=True):
        rows += _lines(heading, variant)
    vertical = down(height)
    across = channel("x", Axis(low=0, high=PLOT_WIDTH_PX, pixels=PLOT_WIDTH_PX), None)
    line = {"type": "line", "strokeWidth": 0.8, "strokeJoin": "round"}
    lines = layer(rows, line, x=across, y=vertical, detail="block:N", stroke=as_is("fill"))
    low, high = (numbers.plain(end, 0) for end in _TRACE_PERCENT)
    return Chart(
        key=key, title="Every block in run order",
        caption="Blocks from left to right, at most 200 samples each. A variant's band is "
                f"{low} % to +{high} % of its median; what lies beyond is cut off.",
        svg=draw([lines, *titles(headings, vertical)], size_px=(PLOT_WIDTH_PX, height), key=key,
                 label="Latency of single inferences in run order, block by block."),
    )  # fmt: skip


def _measured(recipe: Recipe) -> list[Variant]:
    return [v for v in recipe.variants if v.latency is not None and v.blocks]


def _median_us(variant: Variant) -> float:
    assert variant.latency is not None  # _measured let it through
    return variant.latency.p50_us.value


def _headings(
    recipe: Recipe, variants: Sequence[Variant], heights_px: Sequence[float]
) -> tuple[list[Heading], float]:
    return stacked(recipe, variants, [_note(v) for v in variants], heights_px)


def _note(variant: Variant) -> str:
    assert variant.latency is not None  # _measured let it through
    spread = numbers.percent(variant.latency.block_spread_percent)
    return f"median {numbers.duration(_median_us(variant))}, blocks within {spread}"


def _boxes(heading: Heading, variant: Variant) -> list[Row]:
    median_us = _median_us(variant)

    def at(value_us: float) -> float:
        return 100 * (value_us / median_us - 1)

    tops = (heading.top_px + HEADING_PX + n * _BLOCK_PX for n in range(len(variant.blocks)))
    return [
        {
            "x": at(b.p5_us), "x2": at(b.p95_us), "from": at(b.p25_us), "to": at(b.p75_us),
            "median": at(b.p50_us), "y": top, "y2": top + _BOX_PX,
            "fill": ACCENT if heading.chosen else QUIET, "tip": _told(heading.name, b),
        }
        for top, b in zip(tops, variant.blocks, strict=True)
    ]  # fmt: skip


def _told(name: str, block: Block) -> str:
    say = numbers.duration
    return (
        f"{name}, block {block.number}: median {say(block.p50_us)}, "
        f"5–95 % {say(block.p5_us)} – {say(block.p95_us)}, p99 {say(block.p99_us)}, "
        f"{block.samples} samples"
    )


def _box_layers(rows: Sequence[Row], across: Axis, height_px: float) -> list[Layer]:
    """Light box, dark box, median; the light one carries the words."""
    vertical = down(height_px)
    place = {"y": vertical, "y2": "y2"}
    x = channel("x", across, "difference from the variant's median, %")
    silent = [{name: value for name, value in row.items() if name != "tip"} for row in rows]
    inner = [{**row, "x": row["from"], "x2": row["to"]} for row in silent]
    middle = [{**row, "x": row["median"]} for row in silent]
    box = {"type": "rect"}
    fill = as_is("fill")
    return [
        layer(inner, box, x=x, x2="x2", fill=fill, **place),
        layer(middle, {"type": "rule", "color": INK, "strokeWidth": 1.5}, x=x, **place),
        layer(rows, {**box, "opacity": 0.3}, x=x, x2="x2", fill=fill, **place),
    ]


def _lines(heading: Heading, variant: Variant) -> list[Row]:
    each_px = PLOT_WIDTH_PX / len(variant.blocks)
    rows: list[Row] = []
    for place, block in enumerate(variant.blocks):
        step_px = (each_px - _BETWEEN_TRACES_PX) / max(1, len(block.trace_us) - 1)
        rows += [
            {
                "x": place * each_px + at * step_px,
                "y": heading.top_px + HEADING_PX + _trace_y_px(sample_us / _median_us(variant)),
                "block": f"{heading.name} {place:04}",
                "fill": ACCENT if heading.chosen else QUIET,
            }
            for at, sample_us in enumerate(block.trace_us)
        ]  # fmt: skip
    return rows


def _trace_y_px(of_median: float) -> float:
    low, high = _TRACE_PERCENT
    percent = min(max(100 * (of_median - 1), low), high)
    return _TRACE_PX * (1 - (percent - low) / (high - low))
