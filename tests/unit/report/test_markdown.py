import re

from hypothesis import given
from hypothesis import strategies as st

from android_harness.evidence import Fidelity
from device_bench.report.html import render_summary
from device_bench.report.markdown import LARGEST_BYTES, escape
from device_bench.report.model import Report
from tests.unit.report import sample_reports as samples


def cells(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row))


def test_the_answer_comes_before_the_table() -> None:
    summary = render_summary(samples.report(samples.physical()))
    assert summary.index("Ship channels40") < summary.index("| Variant |")


def test_every_row_of_a_table_has_as_many_cells(report: Report) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", render_summary(report), re.MULTILINE):
        assert len({cells(row) for row in table.splitlines()}) == 1


def test_hostile_text_opens_nothing() -> None:
    summary = render_summary(samples.report(samples.hostile()))
    assert "<" not in summary
    assert not re.search(r"(?<!\\)`", summary)
    assert "//" not in summary
    assert "\n# head" not in summary


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert "<" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[]", shown)


def test_evidence_is_named_for_every_phone(report: Report) -> None:
    summary = render_summary(report)
    assert "**Physical phone.** Measured on a real phone" in summary
    assert "**Virtual phone · container.**" in summary
    assert "**Virtual phone · emulated processor.**" in summary


def test_time_of_an_emulated_processor_is_never_shown() -> None:
    summary = render_summary(samples.report(samples.emulated()))
    assert "Median" not in summary
    assert "µs" not in summary


def test_what_is_missing_has_its_reason() -> None:
    summary = render_summary(samples.report(samples.container()))
    assert "- — accuracy: the weights are random" in summary


def test_warnings_failures_and_an_unfinished_bench_show(report: Report) -> None:
    summary = render_summary(report)
    assert "This bench did not finish" in summary
    assert f"**Warning:** {samples.RANDOM_WEIGHTS}" in summary
    assert "has not authorized this computer" in summary


def test_the_summary_is_bounded_and_says_that_it_was_cut() -> None:
    long = "é" * 390
    phones = (
        samples.phone(f"Phone {n}", f"p{n}", Fidelity.PHONE, warnings=(long,)) for n in range(200)
    )
    summary = render_summary(samples.report(*phones))
    assert len(summary.encode()) <= LARGEST_BYTES
    assert "cut here" in summary
    assert summary.startswith("# deploy-bench")


def test_a_bench_without_phones_says_so() -> None:
    assert "nothing was measured" in render_summary(samples.report())
