"""Which blocks are run on a phone, and in which order. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCall:
    """One block to be run: the ``number``-th of its run, at ``position`` in the phone's order."""

    run: str
    number: int
    position: int


def order_blocks(runs: Sequence[str], blocks: int, seed: int) -> tuple[BlockCall, ...]:
    """Blocks in rounds: every run once per round, shuffled anew in each.

    Rounds keep the blocks that are compared close in time; shuffling keeps one variant from
    always running on the phone that the previous one has heated.
    """
    chance = random.Random(seed)
    calls: list[BlockCall] = []
    for number in range(blocks):
        for run in chance.sample(list(runs), len(runs)):
            calls.append(BlockCall(run=run, number=number, position=len(calls)))
    return tuple(calls)
