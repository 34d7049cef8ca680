"""Stacked bars, one a variant: memory up to its peak, time up to the first result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from device_bench.report import numbers
from device_bench.report.charts.drawing import (
    ACCENT,
    QUIET,
    SHADES,
    SURFACE,
    Axis,
    Chart,
    Row,
    as_is,
    channel,
    draw,
    layer,
)
from device_bench.report.charts.rows import HEADING_PX, PLOT_WIDTH_PX, down, stacked, titles
from device_bench.report.model import Memory, Recipe, Startup, Variant

_BAR_PX = 13.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Bars:
    """What a chart of stacked bars shows; every bar has the same parts."""

    title: str
    caption: str
    variants: Sequence[Variant]
    notes: Sequence[str]
    parts: Sequence[str]
    values: Sequence[Sequence[float]]
    unit_of: Callable[[float], tuple[float, str]]
    text: Callable[[float], str]


def memory(recipe: Recipe, key: str) -> Chart | None:
    """Resident memory at fixed points of the runner's life, stacked up to the peak."""
    known = [(v, v.memory) for v in recipe.variants if v.memory is not None]
    bars = _Bars(
        title="Peak memory",
        caption="Resident memory of the runner up to its peak, median over blocks.",
        variants=[v for v, _ in known],
        notes=[f"peak {numbers.memory(m.peak_kb)}" for _, m in known],
        parts=("process and engine", "model loaded and compiled", "running"),
        values=[[numbers.memory_bytes(kb) for kb in _memory_steps(m)] for _, m in known],
        unit_of=numbers.size_unit, text=numbers.size,
    )  # fmt: skip
    return _draw(recipe, bars, key)


def startup(recipe: Recipe, key: str) -> Chart | None:
    """What a user waits for before the second inference."""
    known = [(v, v.startup) for v in recipe.variants if v.startup is not None]
    bars = _Bars(
        title="Start-up",
        caption="From starting the engine to the first result, median over blocks.",
        variants=[v for v, _ in known],
        notes=[
            f"init {numbers.duration(s.total_us)} + first {numbers.duration(s.first_us)}"
            for _, s in known
        ],
        parts=("load the engine", "environment", "read the model", "compile", "first inference"),
        values=[_startup_steps(s) for _, s in known],
        unit_of=numbers.duration_unit, text=numbers.duration,
    )  # fmt: skip
    return _draw(recipe, bars, key)


def _memory_steps(memory: Memory) -> tuple[float, float, float]:
    """What each step added; a later reading may be lower, the pages were given back."""
    before = memory.before_load_rss_kb
    loaded = max(before, memory.after_init_rss_kb)
    return before, loaded - before, max(0.0, memory.peak_kb - loaded)


def _startup_steps(s: Startup) -> tuple[float, ...]:
    return s.library_us, s.environment_us, s.model_us, s.compile_us, s.first_us


def _draw(recipe: Recipe, bars: _Bars, key: str) -> Chart | None:
    if not bars.variants:
        return None
    longest = max(sum(values) for values in bars.values)
    scale, unit = bars.unit_of(longest)
    headings, height = stacked(recipe, bars.variants, bars.notes, [_BAR_PX] * len(bars.variants))
    rows: list[Row] = []
    for heading, values in zip(headings, bars.values, strict=True):
        fill = ACCENT if heading.chosen else QUIET
        rows += _segments(heading.name, values, bars, fill, heading.top_px + HEADING_PX, scale)
    across = Axis(low=0, high=longest / scale * 1.02, pixels=PLOT_WIDTH_PX)
    vertical = down(height)
    mark = {"type": "rect", "stroke": SURFACE, "strokeWidth": 1}
    segments = layer(
        rows, mark, x=channel("x", across, unit), x2="x2", y=vertical, y2="y2",
        fill=as_is("fill"), fillOpacity=as_is("shade"),
    )  # fmt: skip
    svg = draw(
        [segments, *titles(headings, vertical)], size_px=(PLOT_WIDTH_PX, height), key=key,
        label=f"{bars.title} by variant: "
              + "; ".join(f"{h.name}: {h.note}" for h in headings),
    )  # fmt: skip
    legend = tuple(enumerate(bars.parts, start=1))
    return Chart(key=key, title=bars.title, caption=bars.caption, svg=svg, legend=legend)


def _segments(
    name: str, values: Sequence[float], bars: _Bars, fill: str, top_px: float, scale: float
) -> list[Row]:
    rows, start = [], 0.0
    for what, value, shade in zip(bars.parts, values, SHADES, strict=False):
        rows.append({
            "x": start / scale, "x2": (start + value) / scale, "y": top_px, "y2": top_px + _BAR_PX,
            "fill": fill, "shade": shade, "tip": f"{name}, {what}: {bars.text(value)}",
        })  # fmt: skip
        start += value
    return rows
