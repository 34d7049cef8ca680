"""What may be said: is a variant faster, and which one should ship. Pure."""

from collections.abc import Sequence
from typing import Literal

from device_bench.report.model import Answer, Comparison, Estimate, Variant

Verdict = Literal["faster", "slower", "same", "cannot tell"]

# Differences below this are the same to a user of the app, and below what unrooted phones repeat.
SAME_WITHIN = 0.05
# With fewer rounds an interval of the median says next to nothing.
FEWEST_ROUNDS = 5
# Accuracy that may be given up before speed is no argument any more, in points.
ACCURACY_TOLERANCE = 0.01


def judge(speedup: Estimate, rounds: int) -> Comparison:
    """Turn a speed-up and its interval into a verdict.

    ``same`` means that the whole interval lies within 5 % of equal; ``cannot tell`` that the
    interval holds both a difference that matters and none.
    """
    reach = max(speedup.high - speedup.value, speedup.value - speedup.low) / speedup.value
    return Comparison(
        speedup=speedup,
        verdict=_verdict(speedup, rounds),
        smallest_visible_percent=100.0 * max(reach, SAME_WITHIN),
    )


def _verdict(speedup: Estimate, rounds: int) -> Verdict:
    if rounds < FEWEST_ROUNDS:
        return "cannot tell"
    if speedup.low >= 1.0 / (1.0 + SAME_WITHIN) and speedup.high <= 1.0 + SAME_WITHIN:
        return "same"
    if speedup.low > 1.0:
        return "faster"
    if speedup.high < 1.0:
        return "slower"
    return "cannot tell"


def answer(phone: str, baseline: str, variants: Sequence[Variant]) -> Answer:
    """Choose the variant to ship on a phone and say why, in plain words.

    Among variants whose accuracy is within one point of the baseline's, the fastest wins; where
    speed cannot separate two, the smaller file wins. Without latency nothing is recommended.
    """
    base = next((v for v in variants if v.variant == baseline), None)
    usable = [v for v in variants if v.status == "ok" and not v.wrong]
    if base is None or base.status != "ok":
        said = f"On {phone}, nothing can be said: the baseline {baseline} has no result."
        return Answer(headline=said, detail=_failures(variants), chosen=None)
    timed = [v for v in usable if v.latency is not None and _accurate_enough(v, base)]
    if not timed:
        return _without_latency(phone, base, usable, variants)
    best = _fastest(timed)
    return Answer(
        headline=_headline(phone, best, base),
        detail=(*_reasons(best, base), *_failures(variants)),
        chosen=best.variant,
    )


def _without_latency(
    phone: str, base: Variant, usable: Sequence[Variant], variants: Sequence[Variant]
) -> Answer:
    """Parity is what such a phone is asked for; a recommendation needs a latency."""
    agreeing = [v for v in usable if v.parity and v.parity[0].argmax_agreement == 1.0]
    exact = [v for v in agreeing if v.parity[0].bit_identical]
    said = (
        f"On {phone}, {len(agreeing)} of {len(variants)} variants answer like the host, "
        f"{len(exact)} of them bit for bit; nothing is recommended without a latency."
    )
    reason = f"No latency: {base.latency_reason}." if base.latency_reason else ""
    detail = tuple(line for line in (reason, *_failures(variants)) if line)
    return Answer(headline=said, detail=detail, chosen=None)


def _accurate_enough(variant: Variant, base: Variant) -> bool:
    lost = _lost_accuracy(variant, base)
    return lost is None or lost <= ACCURACY_TOLERANCE  # None: the headline says it is unknown


def _lost_accuracy(variant: Variant, base: Variant) -> float | None:
    """Accuracy given up against the baseline on the same samples; None when not known."""
    mine, its = variant.accuracy_phone, base.accuracy_phone
    if mine is None or its is None or mine.total != its.total:
        return None
    return its.value - mine.value


def _fastest(variants: Sequence[Variant]) -> Variant:
    """The fastest; of those that cannot be told apart from it, the smallest file."""
    quickest = min(variants, key=_p50)
    assert quickest.latency is not None  # only timed variants come here
    reach = max(_p50(quickest) * (1.0 + SAME_WITHIN), quickest.latency.p50_us.high)
    ties = [v for v in variants if v.latency is not None and v.latency.p50_us.low <= reach]
    return min(ties, key=lambda v: (v.bytes_zstd, v.variant))


def _p50(variant: Variant) -> float:
    return variant.latency.p50_us.value if variant.latency else float("inf")


def _headline(phone: str, best: Variant, base: Variant) -> str:
    if best.variant == base.variant:
        return f"On {phone}, ship {best.variant}: no variant is better than the baseline."
    claims = [*_speed_claim(best), *_size_claim(best, base), _accuracy_claim(best, base)]
    return f"On {phone}, ship {best.variant}: {', '.join(claims)}."


def _speed_claim(best: Variant) -> list[str]:
    if best.comparison is None:
        return []
    speedup = best.comparison.speedup
    match best.comparison.verdict:
        case "faster":
            return [f"{_times(speedup.value)} faster"]
        case "slower":
            return [f"{_times(1.0 / speedup.value)} slower"]
        case "same":
            return ["equally fast"]
        case "cannot tell":
            return ["not measurably faster"]


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 10.0 else f"{ratio:.0f}x"


def _size_claim(best: Variant, base: Variant) -> list[str]:
    share = best.bytes / base.bytes
    return [f"{100 * share:.0f} % of the size"] if share < 0.95 else []


def _accuracy_claim(best: Variant, base: Variant) -> str:
    lost = _lost_accuracy(best, base)
    if lost is None:
        return "accuracy not known"
    points = -100.0 * lost
    if abs(points) < 0.05:
        return "equally accurate"
    if _within_noise(best, base):
        return f"as accurate ({points:+.1f} points, within noise)"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'} accurate"


def _within_noise(best: Variant, base: Variant) -> bool:
    """Whether the baseline's accuracy lies within this one's 95 % interval."""
    mine, its = best.accuracy_phone, base.accuracy_phone
    return mine is not None and its is not None and mine.low <= its.value <= mine.high


def _reasons(best: Variant, base: Variant) -> tuple[str, ...]:
    said = []
    if best.comparison is not None and best.latency is not None:
        ratio = best.comparison.speedup
        said.append(
            f"Speed-up {ratio.value:.2f}x (95 % interval {ratio.low:.2f} to {ratio.high:.2f}) "
            f"over {best.latency.blocks} rounds against {base.variant}."
        )
    if best.accuracy_phone is None and best.accuracy_phone_reason:
        said.append(f"Accuracy is not known: {best.accuracy_phone_reason}.")
    elif best.accuracy_phone is not None:
        got = best.accuracy_phone
        said.append(
            f"Accuracy on the phone {100 * got.value:.1f} % ({got.correct} of {got.total}, 95 % "
            f"interval {100 * got.low:.1f} to {100 * got.high:.1f} %)."
        )
    if best.energy_reason:
        said.append(f"Energy not measured: {best.energy_reason}.")
    return tuple(said)


def _failures(variants: Sequence[Variant]) -> tuple[str, ...]:
    return tuple(
        f"{v.variant} has no result: {v.failures[-1].message if v.failures else v.status}."
        for v in variants
        if v.status != "ok"
    )
