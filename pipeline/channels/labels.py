"""Channel labels: every channel of every tensor carries a number, joined with those it lives by.

A layer that makes channels gives them fresh labels; what computes channel by channel hands them
on; what combines tensors channel by channel joins them; what mixes channels in a way that cannot
be cut down freezes them, with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Labels = NDArray[np.int64]


class Role(Enum):
    """What a layer is to the channels it touches."""

    PRODUCER = "producer"
    NORMALISER = "normaliser"
    FOLLOWER = "follower"


@final
@dataclass(frozen=True, slots=True)
class Use:
    """A layer that holds something by channel; calls of a shared layer are one use.

    Attributes:
        reads: labels of the channels its kernel reads; None when it has no kernel.
        makes: labels of the channels it gives.
    """

    path: str
    role: Role
    reads: Labels | None
    makes: Labels


@final
@dataclass(frozen=True, slots=True)
class Components:
    """Which labels hang together.

    Attributes:
        of: label -> component.
        reasons: component -> why it is frozen; absent: it is not.
    """

    of: NDArray[np.int64]
    reasons: dict[int, str]

    @property
    def count(self) -> int:
        """Number of components."""
        return int(self.of.max(initial=-1)) + 1


@final
@dataclass(slots=True)
class Ledger:
    """Labels handed out so far, and what is known of them."""

    count: int = 0
    uses: dict[int, Use] = field(default_factory=dict)  # by id of the layer
    whole: dict[str, str] = field(default_factory=dict)  # path -> reason, of unknown layers
    _joined: list[tuple[Labels, Labels]] = field(default_factory=list)
    _frozen: list[tuple[Labels, str]] = field(default_factory=list)

    def fresh(self, count: int) -> Labels:
        """New labels."""
        self.count += count
        return np.arange(self.count - count, self.count, dtype=np.int64)

    def join(self, left: Labels, right: Labels) -> None:
        """Let channels live and die together, one by one (or all of one side with one label)."""
        if left is not right:
            both = np.broadcast_arrays(left, right)
            self._joined.append((both[0].ravel(), both[1].ravel()))

    def freeze(self, labels: Labels, reason: str, *, first: bool = False) -> None:
        """Let channels stay; the first reason counts, and ``first`` puts it before all."""
        self._frozen.insert(0 if first else len(self._frozen), (labels, reason))

    def produce(self, call: Any, reads: Labels, make: Callable[[], Labels]) -> Labels:
        """Note a layer with a kernel; the labels of what it makes."""
        seen = self.uses.get(id(call.layer))
        if seen is None or seen.reads is None:
            seen = Use(call.path, Role.PRODUCER, reads, make())
            self.uses[id(call.layer)] = seen
        else:  # the same kernel reads both
            self.join(seen.reads, reads)
        return seen.makes

    def follow(self, call: Any, labels: Labels, role: Role = Role.FOLLOWER) -> Labels:
        """Note a layer that holds something for each of these channels, and hands them on."""
        seen = self.uses.setdefault(id(call.layer), Use(call.path, role, None, labels))
        self.join(seen.makes, labels)
        return labels

    def components(self) -> Components:
        """Join what has been joined."""
        left, right = (
            np.concatenate([pair[side] for pair in self._joined] or [self.fresh(0)])
            for side in (0, 1)
        )
        edges = coo_array((np.ones(len(left), np.int8), (left, right)), (self.count, self.count))
        of = connected_components(edges, directed=False)[1].astype(np.int64)
        reasons: dict[int, str] = {}
        for labels, reason in self._frozen:
            for component in np.unique(of[labels]).tolist():
                reasons.setdefault(component, reason)
        return Components(of, reasons)
