"""Removing channels changes no more than not reading them, in every kind of network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pipeline.channels.cost import cost_of, predicted
from pipeline.channels.graph import ChannelGraph, analyse
from pipeline.channels.law import compared, difference
from pipeline.channels.rewrite import remove
from tests.integration.channels.models import MODELS, batch, shaken, units

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Pruned:
    model: Any
    graph: ChannelGraph
    dropped: dict[str, list[int]]
    smaller: Any
    weights_before: list[Any]


@pytest.fixture(scope="module", params=MODELS)
def pruned(request: pytest.FixtureRequest) -> Pruned:
    model = shaken(MODELS[request.param]())
    before = [w.copy() for w in model.get_weights()]
    graph = analyse(model)
    dropped = units(graph)
    return Pruned(model, graph, dropped, remove(model, graph, dropped), before)


def test_the_law_is_kept(pruned: Pruned) -> None:
    found = difference(
        pruned.model, pruned.graph, pruned.dropped, pruned.smaller, batch(pruned.model)
    )
    assert found.telling, found
    assert found.kept, found


def test_other_channels_would_break_it(pruned: Pruned) -> None:
    others = units(pruned.graph, seed=7)
    assert others != pruned.dropped
    found = difference(pruned.model, pruned.graph, others, pruned.smaller, batch(pruned.model))
    assert found.share > 100e-4, found


def test_costs_are_as_predicted(pruned: Pruned) -> None:
    predict = predicted(pruned.model, pruned.graph)
    kept = {g.name: g.channels - len(pruned.dropped[g.name]) for g in pruned.graph.groups}
    whole, smaller = cost_of(pruned.model), cost_of(pruned.smaller)
    assert predict({}) == whole
    assert predict(kept) == smaller
    assert smaller.macs < whole.macs
    assert smaller.parameters == pruned.smaller.count_params() < whole.parameters


def test_each_group_is_cheaper_by_what_was_predicted(pruned: Pruned) -> None:
    predict = predicted(pruned.model, pruned.graph)
    group = pruned.graph.groups[-1]
    smaller = remove(pruned.model, pruned.graph, {group.name: [0]})
    assert predict({group.name: group.channels - 1}) == cost_of(smaller)


def test_names_and_the_original_are_kept(pruned: Pruned) -> None:
    assert [x.name for x in pruned.smaller.layers] == [x.name for x in pruned.model.layers]
    assert pruned.smaller.name == pruned.model.name
    assert not pruned.smaller._is_compiled
    assert all(
        np.array_equal(now, before)
        for now, before in zip(pruned.model.get_weights(), pruned.weights_before, strict=True)
    )


def test_outputs_that_hide_a_difference_keep_no_law() -> None:
    saturated = np.zeros(1000, np.float32)
    saturated[3] = 1.0
    found = compared(saturated, saturated)
    assert (found.share, found.telling, found.kept) == (0.0, False, False)
    assert not compared(np.zeros(4), np.zeros(4)).kept
    assert not compared(np.full(4, np.nan), np.ones(4)).kept
    assert compared(np.asarray([1.0, 2.0]), np.asarray([1.0, 2.0 + 1e-4])).kept
    assert not compared(np.asarray([1.0, 2.0]), np.asarray([1.0, 2.0 + 1e-3])).kept


def test_each_output_is_held_against_its_own_scale() -> None:
    model = shaken(MODELS["shared"]())
    for weight in model.get_layer("second").weights:
        weight.assign(weight * 1e6)
    graph = analyse(model)
    dropped = units(graph)
    smaller = remove(model, graph, dropped)
    bias = smaller.get_layer("logits").weights[1]
    bias.assign(bias + 0.1)  # wrong by far, and nothing beside the other output
    assert not difference(model, graph, dropped, smaller, batch(model)).kept
