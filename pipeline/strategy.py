"""What it takes to meet a goal, as far as findings tell: number format, channels, zeros; pure.

What a phone makes of fewer multiplications and of int8 is not known before it is asked. Until
then this rests on the constants below.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import numpy as np

from pipeline.channels.allocate import Harm, OutOfReach, Widths, allocate, room_of, sensitive
from pipeline.findings import Findings

DEFAULT_LATENCY: Final = 0.25
# Assumptions. Source of the times: MobileNetV2 224 x 224 on one thread of an x86 server, LiteRT
# 2.3, medians of 3 processes. No phone.
INT8_SPEED: Final = 2.2  # 3.80 ms in float32, 1.75 ms in int8
HALVED_SPEED_FLOAT: Final = 1.8  # with 50 % of the multiplications, widths in multiples of 16
HALVED_SPEED_INT8: Final = 1.7
# A network of 2 million took 27 us, and no removal could be seen in that.
OVERHEAD_BOUND_MACS: Final = 50_000_000
# Share of the groups' losses, each alone and untrained, that is left after fine-tuning all at once.
# digits_mobile at 45 % of its multiplications: 90 points added up became 0.3. That is an easy task;
# three times as much is expected of others.
REMAINS: Final = 0.01
# Mean of what quantization-aware training cost MobileNetV1, V2 and ResNet50 on ImageNet, in points
# (-0.03, 0.76 and 0.20). Source: the model optimization toolkit's published results.
AWARE_POINTS: Final = 0.3
# Download size of int8 weights by their sparsity, as a share of the dense ones'. MobileNetV2's
# 1x1 convolutions pruned: 3.60, 1.65, 1.22 and 0.74 MB with gzip.
_ZIPPED_SPARSITY: Final = (0.0, 0.7, 0.8, 0.9)
_ZIPPED_SHARE: Final = (1.0, 0.46, 0.34, 0.21)
# Sixteen shared values took 11 to 18 % off an int8 download.
CLUSTERED_SHARE: Final = 0.85

MULTIPLE: Final = 16
SMALLEST: Final = 8
_HALVINGS: Final = 12  # of the range of targets: finer than any keep is written


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted, as shares of the unchanged float32 model's.

    Attributes:
        latency: of its time; None: not asked for.
        points: of accuracy that may be lost.
        size: of its download (compressed) size; None: not asked for.
    """

    latency: float | None = None
    points: float = 1.0
    size: float | None = None

    def __post_init__(self) -> None:
        shares = [share for share in (self.latency, self.size) if share is not None]
        if not shares or not all(0 < share < 1 for share in shares) or self.points < 0:
            raise ValueError(f"no goal: {self}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the proposal may bring, if the assumptions hold; None: cannot be foretold or not asked.

    Attributes:
        latency: share of the unchanged float32 model's time.
        points: of accuracy lost.
        size: share of its download size.
    """

    latency: float | None
    points: float
    size: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The number format: how it is made, and what it costs and brings."""

    number_format: Literal["int8", "mixed", "float16"]
    aware: bool
    points: float
    speed: float
    size: float
    reason: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """Channels removed.

    Attributes:
        kept: share of each group's channels.
        keep: share of the multiplications asked for, as recipes hold it.
        macs: share of the multiplications left.
        points: expected to be lost after fine-tuning.
        within: whether it is all that was asked for.
    """

    kept: Mapping[str, float] = field(default_factory=dict)
    keep: float = 1.0
    macs: float = 1.0
    points: float = 0.0
    within: bool = True


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Thinned:
    """Weights at zero and shared values, for the download.

    Attributes:
        share: of the size before that is left.
        stood: sparsity the layers stand within the points, each alone, by weights.
        within: whether it is all that was asked for.
    """

    sparsity: float = 0.0
    clustered: bool = False
    share: float = 1.0
    stood: float = 0.0
    within: bool = True


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """All of it, and what may come of it.

    Attributes:
        meets: whether the goal is in reach; None when it cannot be foretold.
    """

    numbers: Numbers
    narrowed: Narrowed
    thinned: Thinned
    expected: Expected
    meets: bool | None


def find_strategy(findings: Findings, goal: Goal) -> Strategy:
    """What may meet a goal, or comes nearest to it."""
    numbers = _numbers(findings, goal)
    narrowed = _narrowing(findings, goal, numbers)
    size = numbers.size * findings.weight_share(narrowed.kept)
    thinned = _thinning(findings, goal, size)
    expected = Expected(
        latency=_latency(findings, numbers, narrowed), points=numbers.points + narrowed.points,
        size=size * thinned.share,
    )  # fmt: skip
    return Strategy(
        numbers=numbers, narrowed=narrowed, thinned=thinned, expected=expected,
        meets=_meets(goal, expected, narrowed.within and thinned.within),
    )  # fmt: skip


def overhead_bound(findings: Findings) -> bool:
    """Whether most of an inference is not multiplying, so that fewer of them change little."""
    return findings.macs < OVERHEAD_BOUND_MACS


def time_share(mac_share: float, speed: float) -> float:
    """Share of the time that a share of the multiplications takes, by the assumptions.

    Args:
        mac_share: above 0 and up to 1.
        speed: how often faster the model is with half of them.
    """
    return float(mac_share ** math.log2(speed))


def _numbers(findings: Findings, goal: Goal) -> Numbers:
    judged, size = findings.int8.judged, findings.int8_size
    if judged is None or size is None or findings.float32_size is None:
        reason = f"int8 could not be made ({findings.int8.reason}); float16 halves the file"
        return Numbers(
            number_format="float16", aware=False, points=0.0, speed=1.0, size=0.5, reason=reason
        )
    lost = findings.points(judged.accuracy)
    int8 = Numbers(
        number_format="int8", aware=False, points=lost, speed=INT8_SPEED,
        size=size.bytes_zstd / findings.float32_size.bytes_zstd,
        reason=f"plain int8 loses {lost:.1f} of the {goal.points:g} points that may be lost",
    )  # fmt: skip
    if lost <= goal.points / 2:
        return int8
    if findings.trainable:
        return replace(
            int8, aware=True, points=min(lost, AWARE_POINTS),
            reason=f"plain int8 loses {lost:.1f} points, more than half of the {goal.points:g} "
                   "that may be lost; training with its rounding in place wins most of it back",
        )  # fmt: skip
    if lost <= goal.points:
        return int8
    reason = f"plain int8 loses {lost:.1f} points, and without labels nothing can be trained; "
    return replace(
        int8, number_format="mixed", points=goal.points,
        reason=f"{reason}mixed leaves the layers that lose most in float",
    )  # fmt: skip


def _halved_speed(numbers: Numbers) -> float:
    return HALVED_SPEED_FLOAT if numbers.number_format == "float16" else HALVED_SPEED_INT8


def _narrowing(findings: Findings, goal: Goal, numbers: Numbers) -> Narrowed:
    """The channels to remove; as many as the points allow where the goal needs more."""
    needed = 1.0 if goal.latency is None else goal.latency * numbers.speed
    if needed >= 1.0:
        return Narrowed()
    if not findings.groups or not findings.trainable:
        return Narrowed(within=False)
    target = needed ** (1 / math.log2(_halved_speed(numbers)))
    asked = _narrowed(findings, target)
    budget = goal.points - numbers.points
    if asked.within and asked.points <= budget:
        return asked
    near, far = 1.0, target
    nearest = Narrowed(within=False)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        found = _narrowed(findings, middle)
        if found.within and found.points <= budget:
            near, nearest = middle, replace(found, within=False)
        else:
            far = middle
    return nearest


def _narrowed(findings: Findings, target: float) -> Narrowed:
    """Channels removed until ``target`` of the multiplications are left, where they harm least."""
    keep = max(0.01, math.floor(100 * target + 1e-6) / 100)
    channels = {group.name: group.channels for group in findings.groups}
    rooms = {name: room_of(many, many, MULTIPLE, SMALLEST) for name, many in channels.items()}
    harms = {
        group.name: Harm(
            removed=tuple(t.share for t in group.trials),
            harm=tuple(findings.points(t.accuracy) for t in group.trials),
        )
        for group in findings.groups
    }

    def shares(widths: Widths) -> dict[str, float]:
        return {name: width / channels[name] for name, width in widths.items()}

    def price(widths: Widths) -> float:
        return findings.mac_share(shares(widths))

    try:
        widths: Widths = allocate(rooms, sensitive(rooms, harms), price, keep)
    except OutOfReach:
        return Narrowed(within=False)
    kept = shares(widths)
    lost = sum(findings.lost(group, 1 - kept[group.name]) for group in findings.groups)
    return Narrowed(kept=kept, keep=keep, macs=price(widths), points=REMAINS * lost)


def _thinning(findings: Findings, goal: Goal, size: float) -> Thinned:
    """Zeros, then shared values, until the download is small enough or the layers stand no more."""
    if goal.size is None or size <= goal.size:
        return Thinned()
    if not findings.trainable:
        return Thinned(within=False)
    stood = sum(each.weights * findings.stands(each, goal.points) for each in findings.layers)
    stood /= sum(each.weights for each in findings.layers)
    for clustered in (False, True):
        more = CLUSTERED_SHARE if clustered else 1.0
        sparsity = _sparsity(goal.size / size / more)
        if sparsity <= stood:
            share = _zipped(sparsity) * more
            return Thinned(sparsity=sparsity, clustered=clustered, share=share, stood=stood)
    most = math.floor(20 * stood) / 20
    share = _zipped(most) * CLUSTERED_SHARE
    return Thinned(sparsity=most, clustered=True, share=share, stood=stood, within=False)


def _zipped(sparsity: float) -> float:
    return float(np.interp(sparsity, _ZIPPED_SPARSITY, _ZIPPED_SHARE))


def _sparsity(share: float) -> float:
    """The sparsity, in steps of 5 %, whose download is at most a share; 1.0 when none is."""
    if share < _ZIPPED_SHARE[-1]:
        return 1.0
    exact = np.interp(-share, [-s for s in _ZIPPED_SHARE], _ZIPPED_SPARSITY)
    return math.ceil(20 * float(exact) - 1e-9) / 20


def _latency(findings: Findings, numbers: Numbers, narrowed: Narrowed) -> float | None:
    if overhead_bound(findings) or numbers.number_format == "mixed":
        return None
    return time_share(narrowed.macs, _halved_speed(numbers)) / numbers.speed


def _meets(goal: Goal, expected: Expected, within: bool) -> bool | None:
    if not within or expected.points > goal.points:
        return False
    return None if goal.latency is not None and expected.latency is None else True
