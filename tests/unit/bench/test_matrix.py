from hypothesis import given
from hypothesis import strategies as st

from device_bench.matrix import order_blocks

RUNS = ("a", "b", "c", "d")


@given(st.integers(1, 9), st.integers())
def test_every_round_holds_every_run_once(blocks, seed):
    calls = order_blocks(RUNS, blocks, seed)
    assert [call.position for call in calls] == list(range(len(RUNS) * blocks))
    for number in range(blocks):
        in_round = calls[number * len(RUNS) : (number + 1) * len(RUNS)]
        assert sorted(call.run for call in in_round) == sorted(RUNS)
        assert {call.number for call in in_round} == {number}


def test_order_differs_between_rounds_and_repeats_for_a_seed():
    calls = order_blocks(RUNS, 6, seed=1)
    rounds = {tuple(c.run for c in calls[i : i + 4]) for i in range(0, len(calls), 4)}
    assert len(rounds) > 1
    assert calls == order_blocks(RUNS, 6, seed=1)
    assert calls != order_blocks(RUNS, 6, seed=2)
