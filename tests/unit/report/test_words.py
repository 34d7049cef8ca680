from android_harness.evidence import Evidence, Fidelity
from device_bench.record import Parity
from device_bench.report import words
from tests.unit.report import sample_reports as samples


def parity(identical: bool | None, difference: float | None, agreement: float | None) -> Parity:
    return Parity(
        engine="e", samples=3, bit_identical=identical, max_abs_difference=difference,
        argmax_agreement=agreement, reason=None if identical is not None else "no reference",
    )  # fmt: skip


def test_parity_says_the_strongest_thing_that_is_known() -> None:
    assert words.parity(parity(True, 0.0, 1.0)) == "bit-identical"
    assert words.parity(parity(False, 0.1, 0.998)) == "99.8\u00a0% same class"
    assert words.parity(parity(False, 0.25, None)) == "differs by up to 0.25"
    assert words.parity(parity(None, None, None)) is None


def test_every_kind_but_a_real_phone_is_told_from_one() -> None:
    for fidelity in Fidelity:
        phone = samples.physical().model_copy(
            update={"fidelity": fidelity, "evidence": fidelity.evidence}
        )
        warned = "not a phone's" in words.trust(phone) or "not latency" in words.trust(phone)
        assert warned is (fidelity is not Fidelity.PHONE)


def test_replayed_numbers_say_that_nothing_was_measured_now() -> None:
    phone = samples.physical().model_copy(update={"evidence": Evidence.REPLAYED})
    assert words.badge(phone) == "Replayed · Physical phone"
    assert words.trust(phone).startswith("Drawn from stored results")


def test_every_class_of_evidence_has_a_group() -> None:
    assert set(words.EVIDENCE_ORDER) == set(Evidence) == set(words.EVIDENCE_TITLES)


def test_numbers_hold_to_their_units() -> None:
    assert words.tied("2 ms, 71 % and 3 models") == "2\u00a0ms, 71\u00a0% and 3 models"


def test_state_readings_that_are_not_known_are_none() -> None:
    state = samples.container().state_before
    assert state is not None
    shown = {label: read(state) for label, read in words.STATE_ROWS}
    assert shown["Battery"] is None
    assert shown["Load, one minute"] == "0.80"
    assert shown["At"] == "2026-11-23 13:58 UTC"


def test_an_instant_of_another_form_stays_as_it_is() -> None:
    assert words.instant("yesterday") == "yesterday"
    assert words.instant("2026-11-23T14:13:09+02:00") == "2026-11-23T14:13:09+02:00"
