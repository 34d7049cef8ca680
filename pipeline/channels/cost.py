"""What a model costs in multiplications and parameters, and what it would cost when smaller."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.graph import ChannelGraph, Group, Slot
from pipeline.channels.layout import Axis, Weight, group_width, kind_of, weights_of
from pipeline.channels.network import Call, flatten, layers_by_path
from pipeline.errors import NotPrunable


@final
@dataclass(frozen=True, slots=True)
class Cost:
    """Of one inference of one sample.

    Attributes:
        macs: multiply-accumulates of convolutions and dense layers, as the artifact counts them
            in the TFLite file; layers of other kinds are not counted.
        parameters: all weights, those of BatchNormalization too.
    """

    macs: int
    parameters: int


def cost_of(model: Any) -> Cost:
    """Count a model's costs.

    Raises:
        NotPrunable: the model has no graph of layers, or an input of unknown size.
    """
    positions = _positions(model)
    macs = sum(
        positions[id(layer)] * math.prod(weight.shape)
        for layer in _layers(model)
        for weight in weights_of(layer)
        if weight.multiplies
    )
    return Cost(macs, int(model.count_params()))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """The costs of a model by how many units of each group are kept; no model is built.

    A weight holds its repeats times the channels it reads times those it makes, and both shrink
    in step with the units that go: a length is what one axis of one weight runs over.

    Attributes:
        units: name of each group -> its number of units.
        full: of each length, with all units.
        lengths, groups, steps: length ``lengths[i]`` shrinks by ``steps[i]`` with each unit that
            group number ``groups[i]`` loses.
        pairs: int[2, weights], the lengths of each weight.
        per_value: float[2, weights], macs and parameters for one channel read and one made.
        fixed: float[2], macs and parameters of all other layers.
    """

    units: Mapping[str, int]
    full: NDArray[np.float64]
    lengths: NDArray[np.int64]
    groups: NDArray[np.int64]
    steps: NDArray[np.float64]
    pairs: NDArray[np.int64]
    per_value: NDArray[np.float64]
    fixed: NDArray[np.float64]

    def __call__(self, kept: Mapping[str, int]) -> Cost:
        """The costs with so many units of some groups, and all of the others.

        Raises:
            KeyError: there is no such group.
        """
        if unknown := kept.keys() - self.units.keys():
            raise KeyError(sorted(unknown)[0])
        lost = np.asarray([n - kept.get(name, n) for name, n in self.units.items()], np.float64)
        shrunk = np.bincount(self.lengths, self.steps * lost[self.groups], len(self.full))
        lengths = self.full - shrunk
        # Whole numbers below 2**53 are exact in float64.
        macs, parameters = self.fixed + self.per_value @ lengths[self.pairs].prod(axis=0)
        return Cost(round(macs), round(parameters))


def predicted(model: Any, graph: ChannelGraph) -> Predicted:
    """Prepare the costs of every model that ``remove`` can make.

    Raises:
        NotPrunable: an input of unknown size.
    """
    table = _Table(layers_by_path(model), _positions(model))
    for number, group in enumerate(graph.groups):
        table.add(number, group)
    return table.predicted(cost_of(model), {g.name: g.channels for g in graph.groups})


@final
class _Table:
    """What Predicted is made of, gathered layer by layer and group by group."""

    def __init__(self, layers: Mapping[str, Any], positions: Mapping[int, int]) -> None:
        self._layers = layers
        self._positions = positions
        self._full: list[int] = [1]  # the first stands for an axis that a weight does not have
        self._lengths: dict[tuple[int, Axis], int] = {}  # by id of the layer
        self._seen: set[int] = set()
        self._steps: list[tuple[int, int, int]] = []
        self._pairs: list[tuple[int, int]] = []
        self._per_value: list[tuple[int, int]] = []

    def add(self, number: int, group: Group) -> None:
        """Note by how much each of a group's units shrinks which weights."""
        for slot in group.consumers:
            for axis in (Axis.READ, Axis.READ_IN_GROUP, Axis.READ_TIMES):
                self._shrink(number, slot, axis)
        for slot in (*group.producers, *group.normalisers, *group.followers):
            self._shrink(number, slot, Axis.MADE)

    def _shrink(self, number: int, slot: Slot, axis: Axis) -> None:
        layer = self._layers[slot.layer]
        self._add_weights(layer)
        if (length := self._lengths.get((id(layer), axis))) is not None:
            self._steps.append((length, number, _step(layer, axis, slot)))

    def _add_weights(self, layer: Any) -> None:
        if id(layer) in self._seen:
            return
        self._seen.add(id(layer))
        for weight in weights_of(layer):
            first, second, *_ = *(self._length(layer, weight, n) for n in weight.axes), 0, 0
            self._pairs.append((first, second))
            many = self._positions[id(layer)] if weight.multiplies else 0
            self._per_value.append((many * weight.repeats, weight.repeats))

    def _length(self, layer: Any, weight: Weight, number: int) -> int:
        key = (id(layer), weight.axes[number])
        if key not in self._lengths:
            self._lengths[key] = len(self._full)
            self._full.append(weight.shape[number])
        return self._lengths[key]

    def predicted(self, cost: Cost, units: Mapping[str, int]) -> Predicted:
        """All of it."""
        full = np.asarray(self._full, np.float64)
        lengths, groups, steps = np.asarray(self._steps, np.int64).T
        pairs = np.asarray(self._pairs, np.int64).T
        per_value = np.asarray(self._per_value, np.float64).T
        shown = per_value @ full[pairs].prod(axis=0)
        return Predicted(
            units=units,
            full=full,
            lengths=lengths,
            groups=groups,
            steps=steps.astype(np.float64),
            pairs=pairs,
            per_value=per_value,
            fixed=np.asarray([cost.macs, cost.parameters]) - shown,
        )


def _step(layer: Any, axis: Axis, slot: Slot) -> int:
    """By how much an axis shrinks when one unit goes."""
    unit = slot.indices[0]
    match axis:
        case Axis.READ | Axis.MADE:
            return len(unit)
        case Axis.READ_TIMES:
            return len(unit) * int(layer.depth_multiplier)
        case Axis.READ_IN_GROUP:
            places = len({index % group_width(layer) for index in unit})
            # A unit of all places is a whole group; those that stay keep their width.
            return 0 if places == group_width(layer) else places


def _positions(model: Any) -> dict[int, int]:
    """How often each value of a layer's kernel is multiplied, by id of the layer."""
    positions: dict[int, int] = {}
    for call in flatten(model).calls:
        if any(weight.multiplies for weight in weights_of(call.layer)):
            many = positions.get(id(call.layer), 0) + _at(model, call)
            positions[id(call.layer)] = many
    return positions


def _at(model: Any, call: Call) -> int:
    transposed = kind_of(call.layer).endswith("Transpose")
    shape = (call.inputs if transposed else call.outputs)[0].shape
    first = getattr(call.layer, "data_format", None) == "channels_first"
    shape = shape[2:] if first else shape[1:-1]
    known = [size for size in shape if size is not None]
    if len(known) < len(shape):
        raise NotPrunable(
            model.name,
            f"the size of what {call.path} works on is not known, so its multiplications cannot "
            "be counted; give keras.Input a shape without None",
        )
    return math.prod(known)


def _layers(model: Any) -> list[Any]:
    return list({id(layer): layer for layer in layers_by_path(model).values()}.values())
