import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_bench import verdicts
from device_bench.record import Check, Parity
from device_bench.report.build import build_report
from device_bench.report.model import Estimate
from device_bench.store import opened
from pipeline.artifact import Accuracy
from tests.factories import make_artifact, make_bench, make_block, make_run, make_visit


@pytest.mark.parametrize(
    ("value", "low", "high", "rounds", "verdict"),
    [
        (2.0, 1.9, 2.1, 5, "faster"),
        (0.5, 0.4, 0.6, 5, "slower"),
        (1.01, 0.98, 1.04, 5, "same"),
        (1.1, 0.9, 1.3, 5, "cannot tell"),
        (2.0, 1.9, 2.1, 4, "cannot tell"),
        (1.02, 1.01, 1.03, 5, "same"),
    ],
)
def test_verdict(value, low, high, rounds, verdict):
    found = verdicts.judge(Estimate(value=value, low=low, high=high), rounds)
    assert found.verdict == verdict
    assert found.smallest_visible_percent >= 5.0


@given(st.floats(0.5, 2.0), st.floats(0.0, 0.3), st.floats(0.0, 0.3))
def test_a_difference_is_only_called_outside_the_interval(value, below, above):
    estimate = Estimate(value=value, low=value * (1 - below), high=value * (1 + above))
    match verdicts.judge(estimate, 5).verdict:
        case "faster":
            assert estimate.low > 1.0
        case "slower":
            assert estimate.high < 1.0
        case "same":
            assert estimate.high <= 1.05
        case "cannot tell":
            assert estimate.low <= 1.0 <= estimate.high


def report_of(tmp_path, variants):
    """A report of variants given as name -> (latencies per block, changes of the artifact)."""
    with opened(tmp_path / "bench.sqlite") as store:
        store.save(make_bench(status="complete"))
        store.save(make_visit())
        for position, (name, (blocks, changes, status)) in enumerate(variants.items()):
            artifact = make_artifact(tmp_path / name, variant=name, **changes)
            run = make_run(artifact, position=position, status=status)
            store.save(run)
            for number, latency in enumerate(blocks):
                store.save(make_block(run, number, [latency * 0.99, latency, latency * 1.01]))
        return build_report(store, make_bench().id)


FAST = [10.0, 10.1, 10.2, 9.9, 10.0]
SLOW = [20.0, 20.3, 20.1, 19.9, 20.0]


def test_the_fastest_is_chosen_and_the_reason_is_said(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    found = report.phones[0].recipes[0].answer
    assert found.chosen == "dense_int8"
    assert "2.0x faster" in found.headline
    assert "Virtual Phone" in found.headline
    assert any("95 % interval" in line for line in found.detail)
    assert any("Energy not measured" in line for line in found.detail)


def test_of_two_equally_fast_the_smaller_is_chosen(tmp_path):
    report = report_of(
        tmp_path,
        {
            "dense_float32": (SLOW, {"bytes_zstd": 20}, "ok"),
            "dense_float16": (SLOW, {"bytes_zstd": 10}, "ok"),
        },
    )
    assert report.phones[0].recipes[0].answer.chosen == "dense_float16"


def test_without_a_baseline_nothing_is_claimed(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": ([], {}, "failed"), "dense_int8": (FAST, {}, "ok")}
    )
    found = report.phones[0].recipes[0].answer
    assert found.chosen is None
    assert "nothing can be said" in found.headline


def test_unknown_accuracy_is_said(tmp_path):
    unknown = {"accuracy": None, "accuracy_reason": "random weights"}
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, unknown, "ok"), "dense_int8": (FAST, unknown, "ok")}
    )
    assert "accuracy not known" in report.phones[0].recipes[0].answer.headline


def test_a_variant_without_blocks_has_no_latency_but_a_reason(tmp_path):
    report = report_of(tmp_path, {"dense_float32": ([10.0], {}, "ok")})
    variant = report.phones[0].recipes[0].variants[0]
    assert variant.latency is None
    assert variant.latency_reason == "1 blocks were finished"


def test_accuracy_too_far_below_the_baseline_is_not_shipped(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    base, fast = report.phones[0].recipes[0].variants
    base = base.model_copy(update={"accuracy_phone": Accuracy.of(98, 100)})
    fast = fast.model_copy(update={"accuracy_phone": Accuracy.of(90, 100)})
    assert verdicts.answer("p", "dense_float32", [base, fast]).chosen == "dense_float32"


def test_wrong_outputs_are_never_chosen(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    base, fast = report.phones[0].recipes[0].variants
    fast = fast.model_copy(update={"wrong": "NaN"})
    assert verdicts.answer("p", "dense_float32", [base, fast]).chosen == "dense_float32"


def test_statistics_are_derived_from_the_raw_blocks(tmp_path):
    report = report_of(tmp_path, {"dense_float32": (SLOW, {}, "ok")})
    latency = report.phones[0].recipes[0].variants[0].latency
    assert latency.p50_us.value == pytest.approx(20.0)
    assert latency.p50_us.low == pytest.approx(19.9)
    assert latency.p50_us.high == pytest.approx(20.3)
    assert (latency.blocks, latency.samples) == (5, 15)
    assert report.phones[0].key != "vphone0"
    assert "vphone0" not in report.model_dump_json()


def test_without_latency_parity_is_told_and_nothing_recommended(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    exact = Parity(
        engine="e", samples=4, bit_identical=True, max_abs_difference=0.0, argmax_agreement=1.0
    )
    near = exact.model_copy(update={"bit_identical": False})
    untimed = {"latency": None, "latency_reason": "no clock", "comparison": None}
    variants = [
        v.model_copy(update={**untimed, "parity": (parity,)})
        for v, parity in zip(report.phones[0].recipes[0].variants, (near, exact), strict=True)
    ]
    found = verdicts.answer("p", "dense_float32", variants)
    assert found.chosen is None
    assert "2 of 2 variants answer like the host, 1 of them bit for bit" in found.headline
    assert "No latency: no clock." in found.detail


def test_accuracies_over_different_samples_are_not_compared(tmp_path):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    base, fast = report.phones[0].recipes[0].variants
    base = base.model_copy(update={"accuracy_phone": Accuracy.of(40, 44)})
    fast = fast.model_copy(update={"accuracy_phone": Accuracy.of(356, 360)})
    assert "accuracy not known" in verdicts.answer("p", "dense_float32", [base, fast]).headline


@pytest.mark.parametrize(
    ("correct", "claim"),
    [
        (356, "equally accurate"),
        (355, "as accurate (-0.3 points, within noise)"),
        (359, "as accurate (+0.8 points, within noise)"),
    ],
)
def test_a_difference_in_accuracy_is_claimed_only_beyond_its_noise(tmp_path, correct, claim):
    report = report_of(
        tmp_path, {"dense_float32": (SLOW, {}, "ok"), "dense_int8": (FAST, {}, "ok")}
    )
    base, fast = report.phones[0].recipes[0].variants
    base = base.model_copy(update={"accuracy_phone": Accuracy.of(356, 360)})
    fast = fast.model_copy(update={"accuracy_phone": Accuracy.of(correct, 360)})
    assert claim in verdicts.answer("p", "dense_float32", [base, fast]).headline


def test_wrong_outputs_are_told_on_the_page(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    wrong = Check(
        samples=4,
        outputs_sha256="0" * 64,
        accuracy=None,
        accuracy_reason="x",
        parity=(),
        wrong="NaN",
    )
    with opened(tmp_path / "bench.sqlite") as store:
        for record in (make_bench(), make_visit(), make_run(artifact, status="ok", check=wrong)):
            store.save(record)
        variant = build_report(store, make_bench().id).phones[0].recipes[0].variants[0]
    assert variant.wrong == "NaN"
    assert "wrong outputs: NaN" in variant.warnings
