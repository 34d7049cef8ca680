"""From findings and a goal to a branch that may meet it, each line with its reason; pure.

The advice says what it assumes: a phone has not been asked yet.
"""

import json
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, final

from pydantic import ValidationError

from pipeline.errors import RecipeError
from pipeline.findings import Findings, Standard
from pipeline.recipe import RECIPE_FILE, Recipe
from pipeline.settings import Train
from pipeline.strategy import (
    HALVED_SPEED_FLOAT,
    HALVED_SPEED_INT8,
    INT8_SPEED,
    MULTIPLE,
    OVERHEAD_BOUND_MACS,
    REMAINS,
    Expected,
    Goal,
    Strategy,
    find_strategy,
    overhead_bound,
)

CLUSTERS: Final = 16
_MOST_SPARED: Final = 6
_COMMENT_WIDTH: Final = 92
_STAGE: Final = "[[branch.stages]]"
# Where a recipe does not say how its model was trained.
_EPOCHS, _BATCH, _LEARNING_RATE = 10, 64, 1e-3


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The branch that is started from.

    Attributes:
        taken: names that new branches cannot have.
        trained: how its model was trained; None when the recipe does not train it.
    """

    branch: str
    taken: frozenset[str]
    trained: Train | None

    @property
    def epochs(self) -> int:
        """Of its training."""
        return self.trained.epochs if self.trained else _EPOCHS

    @property
    def batch(self) -> int:
        """Of its training."""
        return self.trained.batch if self.trained else _BATCH

    def rate(self, share: float) -> float:
        """A share of its training's learning rate, in two digits."""
        whole = self.trained.learning_rate if self.trained else _LEARNING_RATE
        return float(f"{whole * share:.1e}")

    def some(self, share: float) -> int:
        """A share of its training's epochs, at least one."""
        return max(1, round(self.epochs * share))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A branch to paste behind a recipe, and what is to be thought of it.

    Attributes:
        toml: one or two ``[[branch]]``, each line with its reason above it.
        verdict: whether the goal is in reach, in a sentence.
        notes: why, as far as there is more to say.
        meets: the same; None when it cannot be foretold.
        assumptions: everything that was not measured on this model.
    """

    toml: str
    verdict: str
    notes: tuple[str, ...]
    meets: bool | None
    expected: Expected
    assumptions: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything a proposal is written from."""

    findings: Findings
    goal: Goal
    base: Base
    strategy: Strategy


@final
@dataclass(frozen=True, slots=True)
class _Line:
    """A key of the recipe, and why it is there."""

    key: str
    value: object
    reason: str = ""


def base_of(recipe: Recipe, branch: str) -> Base:
    """What a recipe says of one of its branches."""
    branches = {b.name: b for b in recipe.branch}
    trained, at = None, branches.get(branch)
    while at is not None and trained is None:
        trained = next((s for s in reversed(at.stages) if isinstance(s, Train)), None)
        at = branches.get(at.start or "")
    return Base(branch=branch, taken=frozenset(branches), trained=trained)


def advise(findings: Findings, goal: Goal, base: Base) -> Proposal:
    """Propose what may meet a goal, or comes nearest to it."""
    case = _Case(findings=findings, goal=goal, base=base, strategy=find_strategy(findings, goal))
    return Proposal(
        toml=_toml(case), verdict=_verdict(case), notes=tuple(_notes(case)),
        meets=case.strategy.meets, expected=case.strategy.expected,
        assumptions=tuple(_assumptions(case)),
    )  # fmt: skip


def check_proposal(proposal: Proposal, recipe: Recipe) -> Recipe:
    """The recipe with the proposal behind it, read as it would be after pasting.

    Raises:
        RecipeError: it could not be; the recipe's own text does not take further branches.
    """
    file = recipe.folder / RECIPE_FILE
    try:
        text = f"{file.read_text(encoding='utf-8')}\n{proposal.toml}"
        return Recipe.model_validate(tomllib.loads(text))
    except ValidationError as exc:
        raise RecipeError(str(file), "branch", f"takes no proposal: {exc.errors()[0]}") from exc
    except ValueError as exc:  # TOML that ends in a table of another kind, such as branch = [...]
        hint = "write its branches as [[branch]]"
        raise RecipeError(str(file), "branch", f"takes no further branch ({exc})", hint) from exc


def _verdict(case: _Case) -> str:
    wanted = asked(case.goal)
    match case.strategy.meets:
        case False:
            return f"{wanted}: not in reach as far as the findings tell; this is the nearest"
        case _ if _timeless(case):
            return f"{wanted}: overhead-bound, pruning will hardly change latency"
        case None:
            return f"{wanted}: cannot be foretold, as nothing is known of this format's speed"
        case True:
            return f"{wanted}: in reach as far as the findings tell"


def _notes(case: _Case) -> Iterator[str]:
    findings, strategy = case.findings, case.strategy
    if _timeless(case):
        yield (
            f"with {findings.macs / 1e6:.1f} million multiplications (fewer than "
            f"{OVERHEAD_BOUND_MACS // 10**6} million) the network is overhead-bound: pruning will "
            "hardly change latency; a narrower network trained from scratch is the control to beat"
        )
    if case.goal.latency is not None and not strategy.narrowed.within:
        if not findings.trainable:
            yield "no channels are removed: without labels nothing can be trained afterwards"
        elif not findings.groups:
            yield str(findings.groups_reason)
        else:
            yield "removing more channels is expected to lose more than may be lost"
    if not strategy.thinned.within:
        yield "with more zeros, layers lose more than may be lost, each alone and untrained"


def _timeless(case: _Case) -> bool:
    return case.goal.latency is not None and overhead_bound(case.findings)


def asked(goal: Goal) -> str:
    """The goal in words."""
    shares = {"time": goal.latency, "download size": goal.size}
    found = [f"{100 * share:.0f} % of the {what}" for what, share in shares.items() if share]
    return f"{' and '.join(found)}, at most {counted(goal.points)} lost"


def counted(points: float) -> str:
    """``1 point``, ``0.5 points``."""
    return f"{points:g} point{'' if points == 1 else 's'}"


def _toml(case: _Case) -> str:
    base, strategy = case.base, case.strategy
    numbers = strategy.numbers
    stages: list[tuple[str, list[_Line]]] = []
    if strategy.narrowed.kept:
        stages.append((_STAGE, _prune_channels(case)))
        stages.append(("[branch.stages.layers]", _whole_layers(case)))
    if strategy.thinned.sparsity:
        stages.append((_STAGE, _prune_weights(case)))
    if strategy.thinned.clustered:
        stages.append((_STAGE, _cluster(base)))
    if numbers.aware:
        stages.append((_STAGE, _quantize_aware(case)))
    name = _free(f"{base.branch}_{'light' if case.goal.latency is None else 'small'}", base.taken)
    why = "" if numbers.aware else numbers.reason
    text = _branch(name, base, _Line("formats", [numbers.number_format], why), stages)
    if strategy.narrowed.kept and overhead_bound(case.findings):
        text += "\n" + _control(name, case)
    return text


def _prune_channels(case: _Case) -> list[_Line]:
    base, findings, keep = case.base, case.findings, case.strategy.narrowed.keep
    steps = 1 if keep >= 0.7 else 2 if keep >= 0.4 else 3
    spread = _Line("allocation", "uniform", "sensitivity needs a validation split with labels")
    if findings.standard is Standard.LABELS and findings.split == "validation":
        spread = _Line("allocation", "sensitivity", "less where removing hurts")
    return [
        _Line("stage", "prune_channels", _why_narrower(case)),
        _Line("keep", keep, "of the multiplications"),
        spread,
        _Line("multiple", MULTIPLE, "rounded widths were worth 1.3x at equal multiplications"),
        _Line("steps", steps, "the less stays, the smaller the steps"),
        _Line("epochs", base.some(1 / (2 * steps)), "half of the training's, over all steps"),
        _Line("batch", base.batch),
        _Line("learning_rate", base.rate(1 / 4), "a quarter of the training's"),
        _Line("distil", {"teacher": base.branch}, "the whole network teaches what is left of it"),
    ]


def _why_narrower(case: _Case) -> str:
    findings = case.findings
    best = min(findings.groups, key=lambda g: (findings.lost(g, 0.5), -findings.touched(g)))
    return (
        f"the number format alone does not bring {100 * (case.goal.latency or 0):.0f} % of the "
        f"time; most redundant is {best.name}: without half of its channels alone, "
        f"{findings.lost(best, 0.5):.1f} points are lost untrained"
    )


def _whole_layers(case: _Case) -> list[_Line]:
    """Groups left whole: those that the plan does not touch and that hurt, while keep allows it."""
    findings, narrowed = case.findings, case.strategy.narrowed
    whole = {
        group.name: lost
        for group in findings.groups
        if narrowed.kept[group.name] == 1.0 and (lost := findings.lost(group, 0.25)) > 1.0
    }
    worst = sorted(whole, key=lambda name: -whole[name])[:_MOST_SPARED]
    floor = {group.name: min(1.0, MULTIPLE / group.channels) for group in findings.groups}
    while worst and findings.mac_share(floor | dict.fromkeys(worst, 1.0)) > narrowed.keep:
        worst.pop()
    why = "left whole: without a quarter of its channels, {:.0f} points are lost"
    return [_Line(name, 1.0, why.format(whole[name])) for name in worst]


def _prune_weights(case: _Case) -> list[_Line]:
    base, thinned = case.base, case.strategy.thinned
    why = f"layers stand {100 * thinned.stood:.0f} % zeros on the whole, each alone and untrained"
    return [
        _Line("stage", "prune_weights", "zeros pack well: they make the download smaller"),
        _Line("sparsity", thinned.sparsity, why),
        _Line("epochs", base.some(1 / 2), "half of the training's"),
        _Line("batch", base.batch),
        _Line("learning_rate", base.rate(1 / 4), "a quarter of the training's"),
    ]


def _cluster(base: Base) -> list[_Line]:
    return [
        _Line("stage", "cluster", "shared values pack better still; no engine is faster by them"),
        _Line("clusters", CLUSTERS, "so many took 11 to 18 % off an int8 download"),
        _Line("epochs", base.some(1 / 5), "a fifth of the training's"),
        _Line("batch", base.batch),
        _Line("learning_rate", base.rate(1 / 10), "a tenth of the training's"),
    ]


def _quantize_aware(case: _Case) -> list[_Line]:
    base = case.base
    return [
        _Line("stage", "quantize_aware", case.strategy.numbers.reason),
        _Line("epochs", base.some(1 / 5), "a fifth of the training's"),
        _Line("batch", base.batch),
        _Line("learning_rate", base.rate(1 / 40), "the rounding is learnt in small steps"),
    ]


def _control(name: str, case: _Case) -> str:
    """As few multiplications by a network of the same kind, trained from scratch."""
    base = case.base
    why = "the control: as small, but trained from scratch; the pruned one has to beat it"
    smaller = [
        _Line("stage", "prune_channels", why), _Line("keep", case.strategy.narrowed.keep),
        _Line("multiple", MULTIPLE), _Line("epochs", 0, "the weights are thrown away below"),
    ]  # fmt: skip
    anew = [
        _Line("stage", "train"), _Line("fresh", True, "from random weights"),
        _Line("epochs", base.epochs), _Line("batch", base.batch),
        _Line("learning_rate", base.rate(1)),
    ]  # fmt: skip
    formats = _Line("formats", [case.strategy.numbers.number_format])
    return _branch(
        _free(f"{name}_anew", base.taken | {name}),
        base,
        formats,
        [(_STAGE, smaller), (_STAGE, anew)],
    )


def _branch(
    name: str, base: Base, formats: _Line, stages: Iterable[tuple[str, list[_Line]]]
) -> str:
    head = [_Line("name", name), _Line("from", base.branch), formats]
    blocks = [("[[branch]]", head), *((title, lines) for title, lines in stages if lines)]
    return "\n".join(
        "\n".join([title, *(_written(line) for line in lines), ""]) for title, lines in blocks
    )


def _written(line: _Line) -> str:
    text = f"{_key(line.key)} = {_value(line.value)}"
    if not line.reason:
        return text
    one = f"{text} # {line.reason}"
    if len(one) <= _COMMENT_WIDTH:
        return one
    comment = textwrap.wrap(
        line.reason, _COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# "
    )
    return "\n".join([*comment, text])


def _value(value: object) -> str:
    match value:
        case dict():
            pairs = (f"{_key(key)} = {_value(inner)}" for key, inner in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            return json.dumps(value)  # as TOML writes strings, numbers and booleans


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key)


def _free(name: str, taken: frozenset[str]) -> str:
    number = 2
    found = name
    while found in taken:
        found, number = f"{name}{number}", number + 1
    return found


def _assumptions(case: _Case) -> Iterator[str]:
    numbers, thinned = case.strategy.numbers, case.strategy.thinned
    if case.goal.latency is not None and numbers.number_format == "int8":
        yield (
            f"int8 makes the network {INT8_SPEED}x faster: MobileNetV2 on an x86 server "
            "(compression.md 0.2); your phone was not asked"
        )
    if case.strategy.narrowed.kept:
        yield (
            f"half of the multiplications make it {HALVED_SPEED_FLOAT}x faster in float and "
            f"{HALVED_SPEED_INT8}x in int8, others by the same law: the same network and server"
        )
        yield (
            f"fine-tuning leaves {100 * REMAINS:g} % of what the groups lose untrained, each "
            "alone, added up: an order of magnitude; digits_mobile lost a third of that"
        )
    if numbers.aware:
        yield f"training with int8's rounding loses {numbers.points:.1f} points: published means"
    if thinned.sparsity:
        yield (
            "zeros and shared values shrink a download as they did MobileNetV2's "
            "(compression.md 3.2 and 3.3)"
        )
    if case.findings.standard is Standard.OWN_ANSWERS:
        yield "there are no labels: accuracy is agreement with the unchanged model's answers"
    if numbers.number_format == "mixed":
        yield "format mixed loses no more than may be lost; the recipe's quantize.tolerance decides"
    trains = case.strategy.narrowed.kept or thinned.sparsity or thinned.clustered or numbers.aware
    if case.base.trained is None and trains:
        yield (
            f"the recipe does not say how the model was trained: {_EPOCHS} epochs and a learning "
            f"rate of {_LEARNING_RATE:g} are guesses"
        )
