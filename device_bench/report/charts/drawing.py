"""What every chart is made of: layers of marks over axes whose pixels are known.

Importing this costs more than a second (Altair), so pages import it only when they draw.
Colours are the page's own (``currentColor`` and custom properties), so a chart follows light and
dark. The chosen variant has the accent colour, every other one the same quiet grey.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import altair as alt
import vl_convert
from markupsafe import Markup

from device_bench.report.charts.svg import clean, inline

# Charts are drawn at one size that still reads on a phone's screen; the page scales them.
WIDTH_PX = 430
LABEL_CHARACTERS = 34
INK, ACCENT, QUIET, SURFACE = "currentColor", "var(--accent)", "var(--mark)", "var(--surface)"
SHADES = (1.0, 0.8, 0.62, 0.46, 0.3)  # style.css has the same in .legend
_MEASURING_FONT = "Liberation Sans"  # comes with vl-convert, so every computer lays out the same
_LABEL_PX, _TITLE_PX = 11, 11

Row = dict[str, Any]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing with the words around it."""

    key: str
    title: str
    caption: str
    svg: Markup
    legend: tuple[tuple[int, str], ...] = ()  # number of a shade, what it stands for


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of mark, how its rows are encoded, and the rows."""

    mark: Row
    channels: dict[str, Any]
    rows: list[Row]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A quantitative axis whose pixel positions are known here, not only in Vega."""

    low: float
    high: float
    pixels: float
    log: bool = False
    upwards: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value."""
        share = (self._bent(value) - self._bent(self.low)) / self._span
        return self.pixels * (1 - share if self.upwards else share)

    def value(self, pixel: float) -> float:
        """The value at a pixel."""
        share = 1 - pixel / self.pixels if self.upwards else pixel / self.pixels
        bent = self._bent(self.low) + share * self._span
        return math.exp(bent) if self.log else bent

    def scale(self) -> alt.Scale:
        """The same axis for Vega."""
        kind: Literal["log", "linear"] = "log" if self.log else "linear"
        return alt.Scale(domain=[self.low, self.high], type=kind, nice=False, zero=False)

    @property
    def _span(self) -> float:
        return self._bent(self.high) - self._bent(self.low)

    def _bent(self, value: float) -> float:
        return math.log(value) if self.log else value


def around(values: Sequence[float], *, pixels: float, log: bool, upwards: bool = False) -> Axis:
    """An axis with some air on both sides of the values."""
    low, high = min(values), max(values)
    if log:
        air = (high / low) ** 0.14
        return Axis(low=low / air, high=high * air, pixels=pixels, log=True, upwards=upwards)
    margin = (high - low) * 0.12 or abs(high) * 0.2 or 1.0
    return Axis(low=low - margin, high=high + margin, pixels=pixels, upwards=upwards)


def channel(
    name: Literal["x", "y"], axis: Axis, title: str | None, form: str = "~r"
) -> alt.X | alt.Y:
    """The channel of an axis, not drawn without a title; rows name its value ``x`` or ``y``."""
    kind = alt.X if name == "x" else alt.Y
    if title is None:
        return kind(f"{name}:Q", scale=axis.scale(), axis=None)
    look: dict[str, Any] = {"title": title, "format": form, "tickCount": 5, "labelFlush": False}
    if axis.log:
        look["values"] = round_ticks(axis.low, axis.high)
    return kind(f"{name}:Q", scale=axis.scale(), axis=alt.Axis(**look))


def layer(rows: Sequence[Row], mark: Row, **channels: Any) -> Layer:
    """Marks for rows; a row's ``tip`` is what hovering says and a screen reader reads."""
    if rows and "tip" in rows[0]:
        channels["description"] = alt.Description("tip:N")
    else:
        mark = {**mark, "aria": False}
    safe = [{name: _safe(value) for name, value in row.items()} for row in rows]
    return Layer(mark=mark, channels=channels, rows=safe)


def as_is(field: str) -> dict[str, Any]:
    """A channel whose value is drawn as it stands in the row."""
    return {"field": field, "type": "nominal", "scale": None}


def draw(layers: Sequence[Layer], *, size_px: tuple[float, float], key: str, label: str) -> Markup:
    """Layers as one inline SVG.

    Args:
        layers: from back to front.
        size_px: width and height of the plot, axes excluded.
        key: unique on the page.
        label: what the chart shows, for those who do not see it.
    """
    names = [f"layer_{number}" for number in range(len(layers))]
    charts = [
        alt.Chart(alt.NamedData(name=name)).properties(mark=each.mark).encode(**each.channels)
        for name, each in zip(names, layers, strict=True)
    ]
    whole = alt.layer(*charts).properties(width=size_px[0], height=size_px[1], padding=3)
    document = whole.configure(**_configuration()).to_dict()
    # Beside Altair, which checks every row against its schema and takes seconds for it.
    document["datasets"] = {n: each.rows for n, each in zip(names, layers, strict=True)}
    return inline(vl_convert.vegalite_to_svg(json.dumps(document)), key=key, label=label)


def short(names: Sequence[str]) -> dict[str, str]:
    """Names short enough for a chart, still told apart."""
    taken: dict[str, str] = {}
    for name in names:
        text = clean(name) or "?"
        if len(text) > LABEL_CHARACTERS:
            text = f"{text[: LABEL_CHARACTERS - 9]}…{text[-8:]}"
        twins = sum(other.rpartition(" #")[0] == text or other == text for other in taken.values())
        taken[name] = f"{text} #{twins + 1}" if twins else text
    return taken


def round_ticks(low: float, high: float) -> list[float]:
    """1-2-5 steps within ``low`` and ``high``, for a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    return [float(f"{tick:g}") for tick in ticks if low <= tick <= high]


def _safe(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _configuration() -> dict[str, Any]:
    axis = {
        "labelColor": INK, "titleColor": INK, "labelOpacity": 0.75, "titleOpacity": 0.75,
        "gridColor": INK, "gridOpacity": 0.1, "domain": False, "ticks": False,
        "labelFontSize": _LABEL_PX, "titleFontSize": _TITLE_PX, "titleFontWeight": "normal",
        "labelPadding": 6, "titlePadding": 8,
    }  # fmt: skip
    return {
        "background": "transparent", "font": _MEASURING_FONT, "axis": axis,
        "view": {"stroke": None},
        "text": {"fontSize": _LABEL_PX, "baseline": "middle", "align": "left"},
    }  # fmt: skip
