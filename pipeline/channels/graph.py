"""The channel dependency graph: which channels of which layers live and die together."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.channels.labels import Components, Labels, Ledger, Role, Use
from pipeline.channels.layout import kernel_by_channel
from pipeline.channels.network import Network, Tensor, flatten
from pipeline.channels.rules import propagate
from pipeline.errors import NotPrunable

__all__ = ["ChannelGraph", "Group", "Slot", "analyse", "kernel_by_channel", "layer_at"]

_REASONS_TOLD: Final = 3


@final
@dataclass(frozen=True, slots=True)
class Slot:
    """Where the channel units of a group sit in one layer.

    Attributes:
        layer: path of the layer from the outermost model; nested models are joined by ``/``.
        indices: for each unit of the group, the layer's output channels that belong to it (of a
            consumer: its input channels); as many for one unit as for another.
    """

    layer: str
    indices: tuple[tuple[int, ...], ...]


@final
@dataclass(frozen=True, slots=True)
class Group:
    """Channel units that can be removed one by one, each from all these layers at once.

    Attributes:
        name: path of its first producer.
        channels: number of units; one has to stay.
        producers: layers with a kernel that make the channels.
        normalisers: BatchNormalization layers that scale them.
        consumers: layers with a kernel that read them.
        followers: other layers that hold something by channel: weights (PReLU, GroupNormalization)
            or the number of channels (Reshape).
    """

    name: str
    channels: int
    producers: tuple[Slot, ...]
    normalisers: tuple[Slot, ...]
    consumers: tuple[Slot, ...]
    followers: tuple[Slot, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class ChannelGraph:
    """Everything that can be removed from a model, and what cannot.

    Attributes:
        groups: in the order in which the model computes them.
        left_whole: path -> reason, of each layer with a kernel that keeps all output channels.
    """

    groups: tuple[Group, ...]
    left_whole: Mapping[str, str]


def analyse(model: Any) -> ChannelGraph:
    """Find the channel groups of a Keras model, which is not changed.

    Raises:
        NotPrunable: the model has no graph of layers, or no channel of it can be removed.
    """
    network = flatten(model)
    ledger = _labelled(network)
    components = ledger.components()
    slots = [_RawSlot(use, part, components.of[labels]) for use, part, labels in _parts(ledger)]
    groups = _groups(slots, _classes(slots, components), components)
    whole = _left_whole(ledger, components, groups)
    if not groups:
        raise NotPrunable(model.name, _nothing(whole))
    return ChannelGraph(groups, whole)


def layer_at(model: Any, path: str) -> Any:
    """The layer at a path that a Slot names.

    Raises:
        KeyError: the model has no such layer.
    """
    for layer in model.layers:
        if layer.name == path:
            return layer
        if path.startswith(f"{layer.name}/") and hasattr(layer, "layers"):
            with suppress(KeyError):
                return layer_at(layer, path.removeprefix(f"{layer.name}/"))
    raise KeyError(path)


class _Part(Enum):
    PRODUCERS = "producers"
    NORMALISERS = "normalisers"
    CONSUMERS = "consumers"
    FOLLOWERS = "followers"


@final
@dataclass(frozen=True, slots=True, eq=False)
class _RawSlot:
    use: Use
    part: _Part
    components: NDArray[np.int64]  # of each channel of the layer


def _labelled(network: Network) -> Ledger:
    ledger = Ledger()
    known: dict[Tensor, Labels | None] = {}
    for tensor in network.inputs:
        known[tensor] = labels = None if tensor.width is None else ledger.fresh(tensor.width)
        if labels is not None:
            ledger.freeze(labels, "is tied, channel by channel, to the model's input")
    for call in network.calls:
        made = propagate(ledger, call, [known[t] for t in call.inputs])
        known |= dict(zip(call.outputs, made, strict=True))
    for tensor in network.outputs:
        if (labels := known[tensor]) is not None:
            ledger.freeze(labels, "gives the model's output", first=True)
    return ledger


def _parts(ledger: Ledger) -> Iterator[tuple[Use, _Part, Labels]]:
    made_by = {
        Role.PRODUCER: _Part.PRODUCERS,
        Role.NORMALISER: _Part.NORMALISERS,
        Role.FOLLOWER: _Part.FOLLOWERS,
    }
    for use in ledger.uses.values():
        if use.reads is not None:
            yield use, _Part.CONSUMERS, use.reads
        yield use, made_by[use.role], use.makes


def _classes(slots: list[_RawSlot], components: Components) -> NDArray[np.int64]:
    """Component -> class; in a class, all sit in the same slots with as many channels each."""
    classes = np.zeros(components.count, np.int64)
    classes[list(components.reasons)] = -1
    last = 0
    for slot in slots:
        found, counts = np.unique(slot.components, return_counts=True)
        found, counts = found[free := classes[found] >= 0], counts[free]
        _, split = np.unique(np.stack([classes[found], counts]), axis=1, return_inverse=True)
        classes[found] = last + 1 + split.ravel()
        last = int(classes.max(initial=0))
    return classes


def _groups(
    slots: list[_RawSlot], classes: NDArray[np.int64], components: Components
) -> tuple[Group, ...]:
    members: dict[int, list[_RawSlot]] = {}
    for slot in slots:
        for number in np.unique(classes[slot.components]).tolist():
            if number > 0:
                members.setdefault(number, []).append(slot)
    named: dict[str, Group] = {}
    shared: dict[bytes, tuple[tuple[int, ...], ...]] = {}
    for number, inside in members.items():
        first = next(slot for slot in inside if slot.part is _Part.PRODUCERS)
        order = _ranks(first.components[classes[first.components] == number], components.count)
        parts: dict[_Part, list[Slot]] = {part: [] for part in _Part}
        for slot in inside:
            indices = _indices(slot, classes == number, order)
            parts[slot.part].append(Slot(slot.use.path, _interned(indices, shared)))
        name = _free_name([slot.layer for slot in parts[_Part.PRODUCERS]], named)
        channels = len(parts[_Part.PRODUCERS][0].indices)
        fields = {part.value: tuple(found) for part, found in parts.items()}
        if channels > 1:
            named[name] = Group(name=name, channels=channels, **fields)
    return tuple(named.values())


def _ranks(components: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Component -> its number among the units, in the order of the first producer's channels."""
    unique, first = np.unique(components, return_index=True)
    ranks = np.full(count, -1, np.int64)
    ranks[unique[np.argsort(first)]] = np.arange(len(unique))
    return ranks


def _indices(
    slot: _RawSlot, inside: NDArray[np.bool_], ranks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Channels of a layer that belong to each unit, int64[units, channels of one unit]."""
    (places,) = np.nonzero(inside[slot.components])
    units = ranks[slot.components[places]]
    ordered = places[np.argsort(units, kind="stable")]
    return ordered.reshape(len(np.unique(units)), -1)


def _interned(
    indices: NDArray[np.int64], shared: dict[bytes, tuple[tuple[int, ...], ...]]
) -> tuple[tuple[int, ...], ...]:
    """As tuples; equal ones are one object, of which a big model would hold a million."""
    key = indices.tobytes() + bytes(str(indices.shape), "ascii")
    if key not in shared:
        shared[key] = tuple(map(tuple, indices.tolist()))
    return shared[key]


def _free_name(paths: list[str], taken: Mapping[str, Group]) -> str:
    for path in paths:
        if path not in taken:
            return path
    number = 2
    while f"{paths[0]}#{number}" in taken:
        number += 1
    return f"{paths[0]}#{number}"


def _left_whole(
    ledger: Ledger, components: Components, groups: tuple[Group, ...]
) -> dict[str, str]:
    cut = {slot.layer for group in groups for slot in group.producers}
    whole = dict(ledger.whole)
    for use in ledger.uses.values():
        if use.role is Role.PRODUCER and use.path not in cut:
            of = components.of[use.makes].tolist()
            frozen = (components.reasons[c] for c in of if c in components.reasons)
            whole[use.path] = next(frozen, "its channels can only be removed all at once")
    return whole


def _nothing(whole: Mapping[str, str]) -> str:
    told = [f"{path} ({reason})" for path, reason in list(whole.items())[:_REASONS_TOLD]]
    more = f" and {len(whole) - len(told)} more" if len(whole) > len(told) else ""
    why = f": {', '.join(told)}{more}" if told else ", as it has no layer with a kernel"
    return f"no channel can be removed{why}; drop the prune_channels stage, or use prune_weights"
