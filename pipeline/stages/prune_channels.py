"""Remove whole channels: the network becomes smaller and faster as it is, on every engine.

Each step scores the channels, decides how many each group keeps, removes the rest, measures batch
normalisation's statistics anew, and fine-tunes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import ceil, gcd
from typing import Any, Final, final

from pipeline.channels.allocate import (
    Curve,
    OutOfReach,
    Price,
    Room,
    allocate,
    check_reach,
    held,
    ranked,
    room_of,
    sensitive,
    uniform,
)
from pipeline.channels.cost import Cost, cost_of
from pipeline.channels.graph import ChannelGraph, Group, analyse
from pipeline.channels.recalibrate import recalibrate
from pipeline.channels.rewrite import remove
from pipeline.channels.score import Scores, score
from pipeline.channels.sensitivity import harms, judge, lowest
from pipeline.channels.target import measure, price_of
from pipeline.data import Data
from pipeline.errors import DataError, NotPrunable
from pipeline.keras_compat import copy_of
from pipeline.settings import PruneChannels
from pipeline.stages.fit import fit
from pipeline.stages.given import Facts, Given, Outcome

# Below it, overhead can outweigh multiplying: of a network that took 27 us on a desktop processor
# no removal could be seen in the latency.
OVERHEAD_BOUND_MACS: Final = 50_000_000
_BYTE_ROUNDS: Final = 3  # a file's size is predicted, then measured, then predicted better


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Pruned:
    """A network on its way.

    Attributes:
        widths: units by group.
        measured: what it has of the target.
        cost: what it multiplies and holds.
        predicted: what it was promised to have of the target.
        otherwise: groups not scored as asked.
    """

    model: Any
    widths: Mapping[str, int]
    measured: int
    cost: Cost
    predicted: int
    otherwise: Mapping[str, str] = field(default_factory=dict)


def run(settings: PruneChannels, given: Given) -> Outcome:
    """Remove channels of a copy of the model until the target is met.

    Facts say what was there before and is now, what each group kept, which layers were left whole
    and why, and what each step did.

    Raises:
        DataError: labels are missing that the settings need, or ``layers`` names what cannot be
            narrowed.
        NotPrunable: the model has no channel to remove, the target cannot be met with these
            widths, or the first step already costs more accuracy than ``tolerance``.
    """
    return _Removal(settings, given).outcome()


@final
class _Removal:
    """One run of the stage; it holds what the steps share."""

    def __init__(self, settings: PruneChannels, given: Given) -> None:
        _check_labels(settings, given)
        self._settings, self._given = settings, given
        self._graph = graph = analyse(given.model)
        self._held = _shares(settings, graph, given.model.name)
        original = {group.name: group.channels for group in graph.groups}
        whole = measure(settings.target, given.model, original)
        self._first = _Pruned(
            model=given.model, widths=original, measured=whole, cost=cost_of(given.model),
            predicted=whole,
        )  # fmt: skip
        self._check_reach()
        self._before = _accuracy(given.model, given.data)

    def outcome(self) -> Outcome:
        """Go through the steps; the last whose accuracy can be borne is the result."""
        kept, tried = self._first, []
        for index in range(self._settings.steps):
            pruned = self._removed(kept, index)
            facts = self._trained(pruned, index)
            tried.append(facts)
            if facts["undone"]:
                break
            kept = pruned
        if kept is self._first:
            raise self._intolerable(tried[0])
        return Outcome(
            model=copy_of(kept.model),  # not compiled
            facts=self._facts(kept, tried),
            warnings=self._warnings(kept, tried),
        )

    def _check_reach(self) -> None:
        """Now, not after the training of the first steps."""
        kind, first = self._settings.target, self._first
        price = price_of(kind, first.model, self._graph, first.measured)
        try:
            check_reach(self._rooms(self._graph), price, self._settings.keep * first.measured)
        except OutOfReach as exc:
            raise self._missed(exc) from exc

    def _limit(self, index: int) -> float:
        """What the step may leave: every step removes the same share of what it finds."""
        share: float = self._settings.keep ** ((index + 1) / self._settings.steps)
        return share * self._first.measured

    def _removed(self, now: _Pruned, index: int) -> _Pruned:
        settings, given = self._settings, self._given
        graph = analyse(now.model) if index else self._graph
        scores = score(now.model, graph, settings.score, given.data, given.seed + index)
        rooms = self._rooms(graph)
        curve = self._curve(now.model, graph, rooms, scores)
        price = price_of(settings.target, now.model, graph, now.measured)
        limit = aim = self._limit(index)
        for _ in range(_BYTE_ROUNDS):
            try:
                widths = allocate(rooms, curve, price, aim)
            except OutOfReach as exc:
                raise self._missed(exc) from exc
            pruned = self._rewritten(now, graph, widths, scores, price)
            if pruned.measured <= limit:
                return pruned
            aim -= pruned.measured - limit
        reason = f"predicted {pruned.predicted} {settings.target}, but {pruned.measured} came of it"
        advice = "lower keep a little, or use target = 'parameters'"
        raise NotPrunable(given.model.name, f"{reason}; {advice}")

    def _rewritten(
        self, now: _Pruned, graph: ChannelGraph, widths: Mapping[str, int], scores: Scores,
        price: Price,
    ) -> _Pruned:  # fmt: skip
        dropped = {
            name: lowest(units, len(units) - widths[name]) for name, units in scores.units.items()
        }
        smaller = remove(now.model, graph, dropped)
        every = {**now.widths, **widths}  # a group of one channel is none any more
        return _Pruned(
            model=smaller, widths=every, measured=measure(self._settings.target, smaller, every),
            cost=cost_of(smaller), predicted=round(price(widths)), otherwise=scores.otherwise,
        )  # fmt: skip

    def _rooms(self, graph: ChannelGraph) -> dict[str, Room]:
        return {group.name: self._room(group) for group in graph.groups}

    def _room(self, group: Group) -> Room:
        """In units, of which each may be several channels of a layer."""
        settings = self._settings
        channels = min(len(slot.indices[0]) for slot in group.producers)
        room = room_of(
            self._first.widths.get(group.name, group.channels), group.channels,
            multiple=settings.multiple // gcd(settings.multiple, channels),
            smallest=-(-settings.smallest // channels),
        )  # fmt: skip
        share = self._held.get(group.name)
        return room if share is None else held(room, share)

    def _curve(
        self, model: Any, graph: ChannelGraph, rooms: Mapping[str, Room], scores: Scores
    ) -> Curve:
        match self._settings.allocation:
            case "uniform":
                return uniform(rooms)
            case "global":
                return ranked(scores.units)
            case "sensitivity":
                validation = self._given.data.validation
                assert validation is not None  # _check_labels() looked
                return sensitive(rooms, harms(model, graph, scores.units, validation))

    def _trained(self, pruned: _Pruned, index: int) -> Facts:
        """Recalibrate and fine-tune the model in place; say what came of it."""
        settings, given = self._settings, self._given
        recalibrated = recalibrate(pruned.model, given.data, given.seed)
        removed = _accuracy(pruned.model, given.data)

        def report(epoch: int, epochs: int, text: str) -> None:
            said = f"step {index + 1} of {settings.steps}: {text}"
            given.report(index * epochs + epoch, settings.steps * epochs, said)

        last = fit(pruned.model, settings, replace(given, seed=given.seed + index, report=report))
        accuracy = _accuracy(pruned.model, given.data) if last else removed
        return {
            "share_asked": round(self._limit(index) / self._first.measured, 4),
            "share": self._share(pruned), "macs": pruned.cost.macs,
            "parameters": pruned.cost.parameters, "normalisations_measured_anew": recalibrated,
            "accuracy_after_removal": removed, "accuracy": accuracy, "last_epoch": last,
            "undone": self._hurts(accuracy),
        }  # fmt: skip

    def _share(self, pruned: _Pruned) -> float:
        return round(pruned.measured / self._first.measured, 4)

    def _hurts(self, accuracy: float | None) -> bool:
        if self._settings.tolerance is None:
            return False
        assert accuracy is not None  # _check_labels() looked
        assert self._before is not None
        return self._before - accuracy > self._settings.tolerance + 1e-9

    def _facts(self, kept: _Pruned, tried: list[Facts]) -> Facts:
        settings, first = self._settings, self._first
        return {
            "target": {
                "of": settings.target, "keep": settings.keep, "reached": self._share(kept),
                "before": first.measured, "predicted": kept.predicted, "after": kept.measured,
            },
            "macs": {"before": first.cost.macs, "after": kept.cost.macs},
            "parameters": {"before": first.cost.parameters, "after": kept.cost.parameters},
            "accuracy_before": self._before,
            "groups": {
                name: {"kept": kept.widths[name], "of": of} for name, of in first.widths.items()
            },
            "left_whole": dict(self._graph.left_whole),
            "scored_otherwise": dict(kept.otherwise),
            "steps": tried,
        }  # fmt: skip

    def _warnings(self, kept: _Pruned, tried: list[Facts]) -> tuple[str, ...]:
        settings, found = self._settings, []
        if tried[-1]["undone"]:
            found.append(
                f"channels were removed down to {self._share(kept):.1%} of the {settings.target}, "
                f"not to the {settings.keep:.1%} asked for: step {len(tried)} of {settings.steps} "
                f"cost more than tolerance = {settings.tolerance} of validation accuracy and was "
                "undone"
            )
        macs = self._first.cost.macs
        if macs < OVERHEAD_BOUND_MACS:
            found.append(
                f"the network had {macs / 1e6:.1f} million multiplications before channels were "
                f"removed; below {OVERHEAD_BOUND_MACS // 10**6} million, overhead can outweigh "
                "them, and fewer may hardly change the latency"
            )
        return tuple(found)

    def _intolerable(self, facts: Facts) -> NotPrunable:
        settings = self._settings
        reason = (
            f"no step stayed within tolerance = {settings.tolerance}: the best, step 1 of "
            f"{settings.steps} with {facts['share']:.1%} of the {settings.target}, has a "
            f"validation accuracy of {facts['accuracy']:.4f}, the model before it "
            f"{self._before:.4f}"
        )
        advice = "raise epochs, steps (smaller removals), keep or tolerance"
        return NotPrunable(self._given.model.name, f"{reason}; {advice}")

    def _missed(self, found: OutOfReach) -> NotPrunable:
        settings = self._settings
        least = found.least / self._first.measured
        limits = ", ".join(
            f"{name} ({'layers' if name in self._held else 'floor'}, "
            f"{part / self._first.measured:.1%})"
            for name, part in found.limiting[:3]
        )
        reason = (
            f"keep = {settings.keep} of the {settings.target} cannot be met; at the narrowest "
            f"widths {least:.1%} stay. Most is held by {limits}; {len(self._graph.left_whole)} "
            f"layers keep all their channels ({_reasons(self._graph)})"
        )
        advice = (
            f"raise keep to {ceil(least * 1000) / 1000:.3f}, or lower multiple = "
            f"{settings.multiple}, smallest = {settings.smallest}"
            f"{' or the shares of layers' if self._held else ''}"
        )
        return NotPrunable(self._given.model.name, f"{reason}; {advice}")


def _check_labels(settings: PruneChannels, given: Given) -> None:
    """Say before any work what would fail after it."""
    name, data = given.model.name, given.data
    if settings.epochs and data.train.labels is None:
        raise DataError(name, "train.labels is None; set epochs = 0 to remove without training")
    if data.validation is not None and data.validation.labels is not None:
        return
    if settings.tolerance is not None:
        raise DataError(name, "tolerance needs a validation split with labels; leave it out")
    if settings.allocation == "sensitivity":
        reason = "allocation = 'sensitivity' needs a validation split with labels"
        raise DataError(name, f"{reason}; use uniform or global")


def _shares(settings: PruneChannels, graph: ChannelGraph, model: str) -> dict[str, float]:
    """The shares of ``layers``, by group.

    Raises:
        DataError: a layer is in no group, or its group is given two shares.
    """
    groups_of: dict[str, list[str]] = {}
    for group in graph.groups:
        for slot in group.producers:
            groups_of.setdefault(slot.layer, []).append(group.name)
    shares: dict[str, float] = {}
    for layer, share in settings.layers.items():
        if layer not in groups_of:
            raise DataError(model, f"layers.{layer}: {_why_not(layer, graph, list(groups_of))}")
        for group_name in groups_of[layer]:
            if shares.setdefault(group_name, share) != share:
                reason = f"hangs together with {group_name}, for which another share is given"
                raise DataError(model, f"layers.{layer} {reason}; give both the same")
    return shares


def _why_not(layer: str, graph: ChannelGraph, known: list[str]) -> str:
    if layer in graph.left_whole:
        return f"it keeps all its channels: {graph.left_whole[layer]}"
    near = get_close_matches(layer, known, n=3) or known[:5]
    return f"the model has no such layer whose channels can be removed; near it: {', '.join(near)}"


def _reasons(graph: ChannelGraph) -> str:
    first = [f"{layer}: {reason}" for layer, reason in graph.left_whole.items()][:3]
    more = len(graph.left_whole) - len(first)
    return "; ".join(first) + (f"; and {more} more" if more else "")


def _accuracy(model: Any, data: Data) -> float | None:
    split = data.validation
    return None if split is None or split.labels is None else judge(model, split).accuracy
