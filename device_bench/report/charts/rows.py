"""Charts that give every variant a row: its name and figure above, the drawing below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import altair as alt

from device_bench.report.charts.drawing import ACCENT, INK, WIDTH_PX, Layer, as_is, layer, short
from device_bench.report.model import Recipe, Variant

PLOT_WIDTH_PX = WIDTH_PX - 20.0
HEADING_PX, GAP_PX = 18.0, 14.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What stands above a row's drawing."""

    name: str
    note: str
    chosen: bool
    top_px: float


def stacked(
    recipe: Recipe, variants: Sequence[Variant], notes: Sequence[str], heights_px: Sequence[float]
) -> tuple[list[Heading], float]:
    """The headings of rows whose drawings have these heights, and the height of all."""
    headings, top = [], 0.0
    for variant, note, height in zip(variants, notes, heights_px, strict=True):
        chosen = variant.variant == recipe.answer.chosen
        headings.append(Heading(name=variant.variant, note=note, chosen=chosen, top_px=top))
        top += HEADING_PX + height + GAP_PX
    return headings, top - GAP_PX + 4


def down(height_px: float) -> alt.Y:
    """The vertical channel: pixels from the top, no axis."""
    return alt.Y("y:Q", scale=alt.Scale(domain=[height_px, 0], nice=False, zero=False), axis=None)


def titles(headings: Sequence[Heading], vertical: alt.Y) -> list[Layer]:
    """The headings as text: name on the left, figure on the right."""
    texts = short([heading.name for heading in headings])
    rows = [
        {
            "y": h.top_px + HEADING_PX / 2, "note": h.note,
            "name": f"{texts[h.name]} ✓" if h.chosen else texts[h.name],
            "fill": ACCENT if h.chosen else INK, "weight": 600 if h.chosen else 400,
        }
        for h in headings
    ]  # fmt: skip
    text = {"type": "text", "fontWeight": {"expr": "datum.weight"}}
    left, right = {**text, "x": 0}, {**text, "x": PLOT_WIDTH_PX, "align": "right"}
    fill = as_is("fill")
    return [
        layer(rows, left, y=vertical, text="name:N", fill=fill),
        layer(rows, right, y=vertical, text="note:N", fill=fill),
    ]
