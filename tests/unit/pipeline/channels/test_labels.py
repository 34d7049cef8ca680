from dataclasses import dataclass

import numpy as np

from pipeline.channels.labels import Ledger, Role


@dataclass
class Called:
    path: str
    layer: object


def test_labels_that_were_joined_are_one_component() -> None:
    ledger = Ledger()
    a, b, c = ledger.fresh(3), ledger.fresh(3), ledger.fresh(2)
    ledger.join(a, b)
    of = ledger.components().of
    assert of[a].tolist() == of[b].tolist()
    assert ledger.components().count == 5
    assert not set(of[a]) & set(of[c])


def test_one_label_is_joined_with_all_of_a_row() -> None:
    ledger = Ledger()
    rows = ledger.fresh(6).reshape(2, 3)
    ledger.join(rows, rows[:1])
    assert ledger.components().of.reshape(2, 3).tolist() == [[0, 1, 2], [0, 1, 2]]


def test_the_first_reason_counts_for_all_that_hangs_together() -> None:
    ledger = Ledger()
    a, b = ledger.fresh(2), ledger.fresh(2)
    ledger.join(a, b)
    ledger.freeze(a[:1], "first")
    ledger.freeze(b, "second")
    found = ledger.components()
    assert found.reasons == {found.of[a[0]]: "first", found.of[b[1]]: "second"}
    ledger.freeze(a, "before all", first=True)
    assert set(ledger.components().reasons.values()) == {"before all"}


def test_calls_of_one_layer_are_one_use() -> None:
    ledger, layer = Ledger(), object()
    reads = [ledger.fresh(2), ledger.fresh(2)]
    made = [
        ledger.produce(Called("xy"[i], layer), reads[i], lambda: ledger.fresh(4)) for i in (0, 1)
    ]
    assert made[0] is made[1]
    (use,) = ledger.uses.values()
    assert (use.path, use.role) == ("x", Role.PRODUCER)
    of = ledger.components().of
    assert np.array_equal(of[reads[0]], of[reads[1]])


def test_what_follows_joins_all_it_is_given() -> None:
    ledger, layer = Ledger(), object()
    first, second = ledger.fresh(2), ledger.fresh(2)
    assert ledger.follow(Called("bn", layer), first, Role.NORMALISER) is first
    assert ledger.follow(Called("bn", layer), second, Role.NORMALISER) is second
    assert ledger.components().count == 2
