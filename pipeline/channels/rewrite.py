"""Channels taken out of a Keras model: a smaller model with the surviving weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from pipeline.channels.graph import ChannelGraph, Group, Slot
from pipeline.channels.layout import (
    Indices,
    group_width,
    groups_of,
    kind_of,
    read_as_zero,
    taken,
)
from pipeline.channels.network import has_graph, layers_by_path
from pipeline.errors import NotPrunable
from pipeline.keras_compat import keras

Dropped = Mapping[str, Sequence[int]]


@final
@dataclass(frozen=True, slots=True)
class _Cut:
    """Channels of one layer that go."""

    read: set[int] = field(default_factory=set)
    made: set[int] = field(default_factory=set)


@final
@dataclass(frozen=True, slots=True)
class _Left:
    """Channels of one layer that stay."""

    read: Indices
    made: Indices


def remove(model: Any, graph: ChannelGraph, dropped: Dropped) -> Any:
    """A model without the channels of some units; ``model`` is not changed.

    Args:
        model: what ``graph`` was made of.
        graph: from ``analyse``.
        dropped: group name -> numbers of the units to remove; at least one unit has to stay.

    Returns:
        A model that is not compiled, with the names of the original and the surviving weights.

    Raises:
        NotPrunable: ``dropped`` names what the graph does not have, or all of a group.
    """
    layers = layers_by_path(model)
    cuts = _cuts(model, graph, dropped)
    lefts = {id(layers[path]): _left(layers[path], cut) for path, cut in cuts.items()}
    return _Rebuild(lefts).run(model)


def zeroed(model: Any, graph: ChannelGraph, dropped: Dropped) -> Any:
    """A copy of a model in which all that reads the channels of some units finds zeros there.

    This is what removal is held against: after a bias or an activation function a channel that is
    to go is seldom zero itself, so the kernels that read it are zeroed instead.

    Raises:
        NotPrunable: as ``remove``.
    """
    cuts = _cuts(model, graph, dropped)
    copy = _Rebuild({}).run(model)
    layers = layers_by_path(copy)
    for path, cut in cuts.items():
        if cut.read:
            layer = layers[path]
            layer.set_weights(read_as_zero(layer, np.asarray(sorted(cut.read))))
    return copy


def _cuts(model: Any, graph: ChannelGraph, dropped: Dropped) -> dict[str, _Cut]:
    groups = {group.name: group for group in graph.groups}
    cuts: dict[str, _Cut] = {}
    for name, units in dropped.items():
        if name not in groups:
            raise NotPrunable(model.name, f"it has no channel group {name!r}")
        group = groups[name]
        gone = _checked(model, group, units)
        for slot in group.consumers:
            cuts.setdefault(slot.layer, _Cut()).read.update(_of(slot, gone))
        for slot in (*group.producers, *group.normalisers, *group.followers):
            cuts.setdefault(slot.layer, _Cut()).made.update(_of(slot, gone))
    return cuts


def _checked(model: Any, group: Group, units: Iterable[int]) -> set[int]:
    gone = {int(unit) for unit in units}
    if outside := [unit for unit in gone if not 0 <= unit < group.channels]:
        raise NotPrunable(
            model.name, f"group {group.name!r} has units 0 to {group.channels - 1}, not {outside}"
        )
    if len(gone) == group.channels:
        raise NotPrunable(model.name, f"group {group.name!r} must keep one of its units")
    return gone


def _of(slot: Slot, units: set[int]) -> Iterable[int]:
    return (index for unit in units for index in slot.indices[unit])


def _left(layer: Any, cut: _Cut) -> _Left:
    read, made = (
        np.setdiff1d(np.arange(shape[-1]), np.asarray(sorted(gone), np.int64))
        for shape, gone in (
            (layer.get_input_at(0).shape, cut.read),
            (layer.get_output_at(0).shape, cut.made),
        )
    )
    return _Left(read, made)


@final
@dataclass(frozen=True, slots=True)
class _Rebuild:
    """One pass over a model and its nested models; a layer they share is made once.

    Attributes:
        lefts: by id of the layer; a layer without an entry stays as it is.
        made: by id of the layer: the layer and its copy.
        initializers: taken from copies while they are built, as their values are overwritten; they
            would cost an eighth of the time, and move the random seed of whatever comes after.
    """

    lefts: Mapping[int, _Left]
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    initializers: list[tuple[Any, str, Any]] = field(default_factory=list)

    def run(self, model: Any) -> Any:
        """The copy of ``model``, with its weights."""
        copy = keras.models.clone_model(model, clone_function=self._layer)
        for new, name, initializer in self.initializers:
            setattr(new, name, initializer)
        for old, new in self.made.values():
            if not has_graph(old) and old.weights:
                left = self.lefts.get(id(old))
                weights = taken(old, left.read, left.made) if left else old.get_weights()
                new.set_weights(weights)
        return copy

    def _nested(self, model: Any) -> Any:
        inputs = [self._smaller(t._keras_history.layer).output for t in model.inputs]
        return keras.models.clone_model(model, inputs, clone_function=self._layer)

    def _layer(self, layer: Any) -> Any:
        if id(layer) not in self.made:
            copy = self._nested(layer) if has_graph(layer) else self._smaller(layer)
            self.made[id(layer)] = (layer, copy)
        return self.made[id(layer)][1]

    def _smaller(self, layer: Any) -> Any:
        config = layer.get_config()
        if (left := self.lefts.get(id(layer))) is not None:
            config |= _settings(layer, left)
        copy = type(layer).from_config(config)
        for name, value in list(vars(copy).items()):
            if isinstance(value, keras.initializers.Initializer):
                self.initializers.append((copy, name, value))
                setattr(copy, name, keras.initializers.Zeros())
        return copy


def _settings(layer: Any, left: _Left) -> dict[str, Any]:
    """What a layer must be told of the channels that stay."""
    made = len(left.made)
    match kind_of(layer):
        case "Dense":
            return {"units": made}
        case "Conv1D" | "Conv2D" | "Conv3D" if groups_of(layer) > 1:
            groups = np.unique(left.read // group_width(layer))
            return {"filters": made, "groups": len(groups)}
        case name if "Depthwise" not in name and "Conv" in name:
            return {"filters": made}
        case "GroupNormalization":
            width = layer.get_output_at(0).shape[-1] // layer.groups
            return {"groups": len(np.unique(left.made // width))}
        case "InputLayer":
            return {"batch_input_shape": (*layer.output.shape[:-1], made)}
        case "LayerScale":
            return {"projection_dim": made}
        case "Reshape":
            *front, last = layer.target_shape
            return {"target_shape": (*front, -1 if last == -1 else made)}
        case _:
            return {}
