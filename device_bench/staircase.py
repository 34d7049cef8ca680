"""A phone's channel staircase: at which multiples of channels a convolution gets dearer.

For widths of each power of two (68 is a multiple of 4 and no more, 72 of 8, 80 of 16 ...) the
model of that width and the one a channel wider are measured in the same rounds. Work grows by
((w + 1) / w)^2; whatever time grows beyond that is the price of opening a new tile. The tile that
explains the prices best is the multiple to round widths to.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, final

from device_bench.progress import Progress
from device_bench.report.model import Estimate, Report
from device_bench.stats import FEWEST_BLOCKS, paired_ratio
from device_bench.variants import Variants
from pipeline.artifact import (
    ARTIFACT_FILE,
    Artifact,
    NumberFormat,
    describe,
    load_artifact,
    sha256_of,
)
from pipeline.ladder import rung_name, write_rung

# Two widths that are a multiple of the number and of no larger power of two.
WIDTHS: Final[Mapping[int, tuple[int, int]]] = {
    4: (68, 84), 8: (72, 104), 16: (80, 112), 32: (96, 160),
}  # fmt: skip
# Kernels are not all tile: a step pays at least this share of what the tile alone would cost.
_PAID: Final = 0.5


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """What one more channel cost at one width.

    Attributes:
        width: channels before.
        multiple: the largest power of two that divides it.
        price: time ratio over work ratio; 1: only the work that was added.
    """

    width: int
    multiple: int
    price: Estimate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Staircase:
    """The rises of one phone in one number format, and the tile they show; None: no steps."""

    number_format: NumberFormat
    rises: tuple[Rise, ...]
    tile: int | None


def rungs(
    formats: Sequence[NumberFormat], folder: Path, progress: Progress
) -> tuple[Variants, ...]:
    """Models of every width, and one channel wider, ready to be measured side by side."""
    widths = sorted(w + more for pair in WIDTHS.values() for w in pair for more in (0, 1))
    wanted = [(number_format, width) for number_format in formats for width in widths]
    made = []
    for done, (number_format, width) in enumerate(wanted):
        progress.step("staircase", f"writing {rung_name(width, number_format)}", done, len(wanted))
        made.append(_described(write_rung(width, number_format, folder / "staircase"), folder))
    baseline = made[0].variant
    placed = tuple(a.model_copy(update={"recipe": "staircase", "baseline": baseline}) for a in made)
    return (Variants(summary="1x1 convolutions of one width each", artifacts=placed),)


def _described(path: Path, folder: Path) -> Artifact:
    """The model with its inputs and reference answers, kept from an earlier time or made now."""
    where = folder / "bare" / sha256_of(path)[:16]
    kept = where / ARTIFACT_FILE
    return load_artifact(kept) if kept.is_file() else describe(path, where)


def read_phones(
    report: Report, formats: Sequence[NumberFormat]
) -> dict[str, tuple[Staircase, ...]]:
    """The staircases of every phone of a bench whose time is latency.

    Args:
        report: of a bench of rungs().
        formats: that were measured.
    """
    found = {}
    for phone in report.phones:
        by_variant = {
            v.variant: {b.number: b.p50_us for b in v.blocks}
            for recipe in phone.recipes for v in recipe.variants
        }  # fmt: skip
        if phone.time_is_latency and all(len(b) >= FEWEST_BLOCKS for b in by_variant.values()):
            label = f"{phone.name} [{phone.evidence}: {phone.fidelity}]"
            found[label] = tuple(read_staircase(f, by_variant.__getitem__) for f in formats)
    return found


def read_staircase(
    number_format: NumberFormat, medians_us: Callable[[str], Mapping[int, float]]
) -> Staircase:
    """Judge one phone's times.

    Args:
        number_format: of the models.
        medians_us: for a variant's name the p50 of its blocks, by round.

    Raises:
        ValueError: a width has fewer rounds than an interval needs.
    """
    rises = tuple(
        _rise(number_format, width, multiple, medians_us)
        for multiple, widths in WIDTHS.items()
        for width in widths
    )
    return Staircase(number_format=number_format, rises=rises, tile=_tile(rises))


def _rise(
    number_format: NumberFormat,
    width: int,
    multiple: int,
    medians_us: Callable[[str], Mapping[int, float]],
) -> Rise:
    before = medians_us(rung_name(width, number_format))
    after = medians_us(rung_name(width + 1, number_format))
    rounds = sorted(before.keys() & after.keys())
    ratio = paired_ratio([after[n] for n in rounds], [before[n] for n in rounds])
    work = ((width + 1) / width) ** 2
    price = Estimate(value=ratio.value / work, low=ratio.low / work, high=ratio.high / work)
    return Rise(width=width, multiple=multiple, price=price)


def _tile(rises: Sequence[Rise]) -> int | None:
    """The tile whose steps explain the prices best, and show at all of its multiples.

    Least squares over logarithms of the prices, among tiles of 1 (no steps) and of every
    multiple that was measured.
    """
    shown = [tile for tile in sorted({r.multiple for r in rises}) if _shows(rises, tile)]
    best = min([1, *shown], key=lambda tile: _misfit(rises, tile))
    return best if best > 1 else None


def _expected(rise: Rise, tile: int) -> float:
    """Price at that width where kernels compute whole tiles of output channels."""
    width = rise.width
    return (width + tile) / (width + 1) if width % tile == 0 else width / (width + 1)


def _misfit(rises: Sequence[Rise], tile: int) -> float:
    return sum(math.log(r.price.value / _expected(r, tile)) ** 2 for r in rises)


def _shows(rises: Sequence[Rise], tile: int) -> bool:
    """Whether every multiple of the tile pays at least half of what the tile foretells."""
    for multiple in {r.multiple for r in rises if r.multiple >= tile}:
        paid = [
            (r.price.value - 1) / (_expected(r, tile) - 1) for r in rises if r.multiple == multiple
        ]
        if median(paid) < _PAID:
            return False
    return True


def told(staircase: Staircase) -> str:
    """The staircase as people read it, a line per width."""
    lines = [f"{staircase.number_format}: what one more channel costs beyond the added work"]
    for rise in sorted(staircase.rises, key=lambda r: r.width):
        bar = "#" * round(max(0.0, rise.price.value - 1) * 50)
        price, low, high = (100 * (v - 1) for v in _ends(rise.price))
        lines.append(
            f"  {rise.width:>3} -> {rise.width + 1:<3}  {price:+5.0f} % [{low:+.0f}, {high:+.0f}]"
            f"  {bar}"
        )
    if staircase.tile is None:
        lines.append("  no steps: widths need not be rounded for this phone")
    else:
        lines.append(f"  steps at multiples of {staircase.tile}: write multiple = {staircase.tile}")
    return "\n".join(lines)


def as_json(staircases: Mapping[str, Sequence[Staircase]]) -> str:
    """Everything measured, by phone; what ``staircase.json`` holds."""
    document = {
        phone: [
            {
                "format": s.number_format, "tile": s.tile,
                "rises": [
                    {"width": r.width, "multiple": r.multiple, **r.price.model_dump()}
                    for r in s.rises
                ],
            }
            for s in found
        ]
        for phone, found in staircases.items()
    }  # fmt: skip
    return json.dumps(document, indent=1) + "\n"


def _ends(price: Estimate) -> tuple[float, float, float]:
    return price.value, price.low, price.high
