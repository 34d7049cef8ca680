"""What an analysis found: points lost by group, zeros stood and rounding error by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from markupsafe import Markup

from device_bench.report import numbers
from device_bench.report.charts.drawing import (
    ACCENT,
    INK,
    QUIET,
    WIDTH_PX,
    Axis,
    Chart,
    Layer,
    Row,
    as_is,
    channel,
    draw,
    layer,
)
from device_bench.report.charts.rows import down
from device_bench.report.charts.svg import clean
from pipeline.findings import Findings, Group

_BAD: Final = "var(--bad)"
_NAME_PX: Final = 166.0
_ROW_PX: Final = 19.0
_HEAD_PX: Final = 34.0  # column titles, two lines
_CELL_GAP_PX: Final = 2.0
_CHARACTERS: Final = 21  # that fit into a name's column on a phone's screen
_SOFT: Final = 0.75  # of titles, as the axes of other charts have them
# Ink has to stay readable on the darkest cell; an empty one is still to be seen.
_PALEST, _DARKEST = 0.05, 0.5


@final
@dataclass(frozen=True, slots=True)
class _Text:
    """Words at a place; ``at`` says which end of them lies there."""

    x: float
    y: float
    words: str
    at: str = "left"
    soft: bool = False


def heat(findings: Findings, key: str) -> Chart | None:
    """Points lost by every group without a quarter, half, and three quarters of its channels."""
    if not findings.groups:
        return None
    shares = [trial.share for trial in findings.groups[0].trials]
    left, width = _NAME_PX, (WIDTH_PX - _NAME_PX - 48) / len(shares)
    most = max(findings.lost(g, s) for g in findings.groups for s in shares) or 1.0
    cells: list[Row] = []
    texts = [_Text(WIDTH_PX, _HEAD_PX - 22, "MACs", "right", True)]
    for column, share in enumerate(shares):
        middle = left + (column + 0.5) * width
        texts.append(_Text(middle, _HEAD_PX - 22, f"− {100 * share:.0f} %", "center", True))
    for row, group in enumerate(findings.groups):
        top = _HEAD_PX + row * _ROW_PX - 8
        texts.append(_Text(0, top + _ROW_PX / 2, _name(group.name)))
        macs = f"{100 * findings.touched(group):.0f} %"
        texts.append(_Text(WIDTH_PX, top + _ROW_PX / 2, macs, "right", True))
        for column, share in enumerate(shares):
            lost, x = findings.lost(group, share), left + column * width
            texts.append(_Text(x + width / 2, top + _ROW_PX / 2, _points(lost), "center"))
            cells.append({
                "x": x, "x2": x + width - _CELL_GAP_PX, "y": top, "y2": top + _ROW_PX - 2,
                "fill": _BAD, "shade": _PALEST + (_DARKEST - _PALEST) * (lost / most) ** 0.5,
                "tip": f"{group.name}, {group.channels} channels, without {100 * share:.0f} %: "
                       f"{lost:.1f} points lost",
            })  # fmt: skip
    height = _HEAD_PX + len(findings.groups) * _ROW_PX - 8
    return Chart(
        key=key, title="Channels: which can go",
        caption="Accuracy points lost when the lowest quarter, half, and three quarters of one "
                "group's channels are silenced and nothing is trained. MACs: share of the "
                "multiplications in layers that make or read the group.",
        svg=_drawn(cells, texts, height, key, _heat_label(findings)),
    )  # fmt: skip


def zeros(findings: Findings, points: float, key: str) -> Chart:
    """The sparsity each layer stands."""
    rows = [
        _Bar(
            layer.name, stands, f"{100 * stands:.0f} %" if stands else "none",
            f"{layer.name}, {numbers.amount(layer.weights)} weights: stands "
            f"{100 * stands:.0f} % zeros",
        )
        for layer in findings.layers
        for stands in [findings.stands(layer, points)]
    ]  # fmt: skip
    return Chart(
        key=key, title="Weights: zeros each layer stands",
        caption=f"Largest share of zeros (of those tried: {_tried(findings)}) with which the "
                f"layer alone loses at most {points:g} points, untrained.",
        svg=_bars(rows, 1.0, key, "Zeros that each layer stands"),
    )  # fmt: skip


def rounding(findings: Findings, key: str) -> Chart:
    """What rounding one layer's weights to int8 does to the model's outputs."""
    errors = [layer.int8.error or 0.0 for layer in findings.layers]
    rows = [
        _Bar(
            layer.name, error,
            "infinite" if layer.int8.error is None else f"{100 * error:.2f} %",
            f"{layer.name}: outputs off by {100 * error:.2f} % (rms), "
            f"{findings.points(layer.int8.accuracy):.1f} points lost",
            findings.points(layer.int8.accuracy) > 0,
        )
        for layer, error in zip(findings.layers, errors, strict=True)
    ]  # fmt: skip
    return Chart(
        key=key, title="int8: what each layer's rounding does",
        caption="How far the model's outputs move (rms, of their own rms) when this layer's "
                "weights alone are rounded to int8 with a scale for each channel. Red: accuracy "
                "is lost by it.",
        svg=_bars(rows, max(errors) or 1.0, key, "Output error by int8 rounding of each layer"),
    )  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class _Bar:
    """A layer's row."""

    name: str
    value: float
    note: str
    tip: str
    bad: bool = False


def _bars(rows: Sequence[_Bar], longest: float, key: str, label: str) -> Markup:
    room = WIDTH_PX - _NAME_PX - 62
    marks: list[Row] = []
    texts: list[_Text] = []
    for number, row in enumerate(rows):
        top = number * _ROW_PX
        length = room * row.value / longest
        texts.append(_Text(0, top + _ROW_PX / 2, _name(row.name)))
        texts.append(_Text(_NAME_PX + length + 6, top + _ROW_PX / 2, row.note, soft=True))
        marks.append({
            "x": _NAME_PX, "x2": _NAME_PX + max(1.5, length), "y": top + 4, "y2": top + 15,
            "fill": _BAD if row.bad else ACCENT if row.value else QUIET, "shade": 0.85,
            "tip": row.tip,
        })  # fmt: skip
    said = f"{label}: " + "; ".join(f"{row.name}: {row.note}" for row in rows)
    return _drawn(marks, texts, len(rows) * _ROW_PX + 4, key, said)


def _drawn(
    rectangles: list[Row], texts: Sequence[_Text], height: float, key: str, label: str
) -> Markup:
    """Rectangles with words over them, all in pixels."""
    across, vertical = Axis(low=0, high=WIDTH_PX, pixels=WIDTH_PX), down(height)
    x = channel("x", across, None)
    shapes = layer(
        rectangles, {"type": "rect", "cornerRadius": 2}, x=x, x2="x2", y=vertical, y2="y2",
        fill=as_is("fill"), fillOpacity=as_is("shade"),
    )  # fmt: skip
    words = [_words(texts, at, x, vertical) for at in sorted({text.at for text in texts})]
    return draw([shapes, *words], size_px=(WIDTH_PX, height), key=key, label=label)


def _words(texts: Sequence[_Text], at: str, x: Any, vertical: Any) -> Layer:
    rows: list[Row] = [
        {"x": t.x, "y": t.y, "words": t.words, "shade": _SOFT if t.soft else 1.0}
        for t in texts
        if t.at == at
    ]
    mark = {"type": "text", "align": at, "fill": INK}
    return layer(rows, mark, x=x, y=vertical, text="words:N", fillOpacity=as_is("shade"))


def _heat_label(findings: Findings) -> str:
    def said(group: Group) -> str:
        lost = ", ".join(_points(findings.lost(group, t.share)) for t in group.trials)
        return f"{group.name}: {lost}"

    return "Points lost by removing channels: " + "; ".join(map(said, findings.groups))


def _points(lost: float) -> str:
    return f"{lost:.1f}" if lost < 9.95 else f"{lost:.0f}"


def _tried(findings: Findings) -> str:
    shares = [trial.share for trial in findings.layers[0].trials] if findings.layers else []
    return ", ".join(f"{100 * share:.0f} %" for share in shares)


def _name(path: str) -> str:
    """The layer's own name, shortened in its middle; what hovers over the row says all of it."""
    text = clean(path.rpartition("/")[2])
    return text if len(text) <= _CHARACTERS else f"{text[:12]}…{text[13 - _CHARACTERS :]}"
