"""The three or four figures a reader looks for first."""

from dataclasses import dataclass
from typing import final

from device_bench.report import numbers
from device_bench.report.model import Phone, Recipe, Variant

_NOT_LATENCY = "time on this processor is not latency"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """One figure of the summary strip."""

    label: str
    value: str
    note: str


def subject(recipe: Recipe) -> Variant | None:
    """The variant the key figures speak of: the chosen one, else the baseline."""
    named = {v.variant: v for v in recipe.variants}
    return named.get(recipe.answer.chosen or "") or named.get(recipe.baseline)


def baseline(recipe: Recipe) -> Variant | None:
    """The variant everything is compared with, when it is on the page."""
    return next((v for v in recipe.variants if v.variant == recipe.baseline), None)


def key_figures(phone: Phone, recipe: Recipe) -> tuple[KeyFigure, ...]:
    """Speed, size, accuracy and the wait for the first result, of the subject of the recipe."""
    variant = subject(recipe)
    if variant is None or variant.status != "ok":
        return ()
    base = baseline(recipe)
    other = base if base is not None and base.variant != variant.variant else None
    if not phone.time_is_latency:
        return _size(variant, other), _accuracy(variant, other), _parity(variant), _memory(variant)
    return _speed(variant, other), _size(variant, other), _accuracy(variant, other), _wait(variant)


def _speed(variant: Variant, other: Variant | None) -> KeyFigure:
    if variant.latency is None:
        return _unknown("Median latency", variant.latency_reason)
    median = numbers.duration(variant.latency.p50_us.value)
    if other is None or variant.comparison is None:
        note = f"95 % interval {numbers.duration_range(variant.latency.p50_us)}"
        return KeyFigure(label="Median latency", value=median, note=note)
    against = ""
    if other.latency is not None:
        against = f", baseline {numbers.duration(other.latency.p50_us.value)}"
    speedup = variant.comparison.speedup
    return KeyFigure(
        label="Speed-up", value=numbers.factor(speedup.value),
        note=f"{numbers.factor_range(speedup)} at 95 %; median {median}{against}",
    )  # fmt: skip


def _size(variant: Variant, other: Variant | None) -> KeyFigure:
    zipped = f"{numbers.size(variant.bytes_zstd)} with zstd"
    if other is None:
        return KeyFigure(label="File size", value=numbers.size(variant.bytes), note=zipped)
    changed = f"{numbers.change(variant.bytes, other.bytes)} against the baseline, {zipped}"
    return KeyFigure(label="File size", value=numbers.size(variant.bytes), note=changed)


def _accuracy(variant: Variant, other: Variant | None) -> KeyFigure:
    found, where = variant.accuracy_phone, "on the phone"
    if found is None:
        found, where = variant.accuracy_host, "on the host, not the phone"
    if found is None:
        return _unknown("Accuracy", variant.accuracy_phone_reason)
    parts = [f"{numbers.share_range(found)} at 95 %, {where}"]
    same_place = "accuracy_phone" if variant.accuracy_phone else "accuracy_host"
    before = getattr(other, same_place) if other is not None else None
    if before is not None:
        parts.insert(0, f"{numbers.points(found.value - before.value)} against the baseline")
    return KeyFigure(label="Accuracy", value=numbers.share(found.value), note="; ".join(parts))


def _wait(variant: Variant) -> KeyFigure:
    if variant.startup is None:
        return _unknown("First result", variant.latency_reason)
    s = variant.startup
    return KeyFigure(
        label="First result", value=numbers.duration(s.total_us + s.first_us),
        note=f"init {numbers.duration(s.total_us)} and first inference "
             f"{numbers.duration(s.first_us)}",
    )  # fmt: skip


def _parity(variant: Variant) -> KeyFigure:
    known = [p for p in variant.parity if p.bit_identical is not None]
    if not known:
        reason = variant.parity[0].reason if variant.parity else None
        return _unknown("Same outputs as the host", reason)
    first = known[0]
    value = "bit-identical" if first.bit_identical else _agreement(first.argmax_agreement)
    return KeyFigure(
        label="Same outputs as the host", value=value,
        note=f"{numbers.count(first.samples)} samples against {first.engine}",
    )  # fmt: skip


def _agreement(share: float | None) -> str:
    return "not identical" if share is None else f"{numbers.share(share)} same class"


def _memory(variant: Variant) -> KeyFigure:
    if variant.memory is None:
        return _unknown("Peak memory", "not measured")
    return KeyFigure(
        label="Peak memory",
        value=numbers.memory(variant.memory.peak_kb),
        note="resident memory of the runner process",
    )


def _unknown(label: str, reason: str | None) -> KeyFigure:
    return KeyFigure(label=label, value=numbers.MISSING, note=reason or "no reason was recorded")
