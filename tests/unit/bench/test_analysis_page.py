import re
from pathlib import Path

import pytest

from device_bench.analysis import Analysis, goal_of, page, ranked, summary, told, write_page
from device_bench.report.pages import render_index
from pipeline.advice import Base, advise
from pipeline.findings import Findings, Int8, Standard
from pipeline.settings import Train
from pipeline.strategy import Goal
from tests.unit.pipeline.sample_findings import findings, group
from tests.unit.report.sample_reports import everything
from tests.unit.report.test_pages import Outline

TRAINED = Train(stage="train", epochs=20)


def analysis(goal: Goal | None = None, **more: object) -> Analysis:
    found, goal = findings(**more), goal or goal_of(None, 1.0, None)
    base = Base(branch="dense", taken=frozenset({"dense"}), trained=TRAINED)
    return Analysis(findings=found, goal=goal, proposal=advise(found, goal, base))


@pytest.fixture(scope="module")
def outline() -> Outline:
    return Outline(page(analysis(Goal(latency=0.25, size=0.05))))


def test_a_quarter_of_the_time_is_the_goal_unless_one_is_named() -> None:
    assert goal_of(None, 2.0, None) == Goal(latency=0.25, points=2.0)
    assert goal_of(None, 1.0, 0.1) == Goal(latency=None, points=1.0, size=0.1)
    assert goal_of(0.5, 1.0, 0.1) == Goal(latency=0.5, points=1.0, size=0.1)


def test_groups_are_ranked_by_what_they_lose_at_half() -> None:
    assert [g.name for g in ranked(findings())] == ["three", "two", "one"]


def test_of_equal_losses_the_dearer_group_comes_first() -> None:
    equal = findings(groups=tuple(group(n, (0.0, 0.0, 0.0)) for n in ("three", "two", "one")))
    # 200 of 221 million are in layers that touch two, 120 one, 101 three
    assert [g.name for g in ranked(equal)] == ["two", "one", "three"]


def test_the_terminal_is_told_groups_sums_and_the_branch() -> None:
    text = told(analysis())
    assert "tiny, branch dense: 221 M multiplications, accuracy 90.0 % on 512 validation" in text
    assert re.search(r"three +64 +46 % +0\.0 +1\.0 +10\.0\n", text)
    assert text.index("three  ") < text.index("two  ") < text.index("one  ")
    assert "of 3 channel groups 2 without 25 %, 1 without 50 %, 0 without 75 %" in text
    assert "All in int8: 0.3 points lost, outputs off 5.0 % (rms)." in text
    assert "25 % of the time, at most 1 point lost: in reach as far as the findings tell" in text
    assert re.search(
        r"\nexpected: 2\d % of the time, \d+ % of the download size, \d\.\d points", text
    )
    assert "assumed: int8 makes the network 2.2x faster" in text
    assert '\n[[branch]]\nname = "dense_small"\n' in text


def test_of_time_nothing_is_said_where_it_is_not_the_goal() -> None:
    text = told(analysis(Goal(size=0.1)))
    assert "\nexpected: 10 % of the download size, 0.3 points of accuracy lost\n" in text
    assert "of the time" not in text


def test_both_ends_of_many_groups_are_shown() -> None:
    many = tuple(group(f"g{n:02}", (0.0, float(n), 50.0)) for n in range(20))
    text = told(analysis(groups=many))
    shown = re.findall(r"^  (g\d\d) ", text, re.MULTILINE)
    assert shown == [f"g{n:02}" for n in (*range(5), *range(15, 20))]


def test_a_model_without_groups_says_why() -> None:
    text = told(analysis(groups=(), groups_reason="no channel can be removed: it is one layer"))
    assert "no channels can be removed: no channel can be removed: it is one layer" not in text
    assert "no channel can be removed: it is one layer" in text


def test_without_labels_agreement_is_what_counts() -> None:
    text = told(analysis(standard=Standard.OWN_ANSWERS, accuracy=1.0))
    assert "no labels: judged by agreement with its own answers to 512 validation samples" in text


def test_int8_that_could_not_be_made_says_why() -> None:
    found = findings(int8=Int8(reason="no kernel for Erf"), int8_size=None)
    assert "int8 could not be made: no kernel for Erf." in summary(found, Goal(latency=0.5))


def test_the_page_runs_and_loads_nothing(outline: Outline) -> None:
    assert {tag for tag, _ in outline.tags}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image"}
    )
    assert not outline.attributes("style")
    assert not outline.attributes("src")
    assert all(target.startswith("#") for target in outline.attributes("href"))
    assert not [k for _, found in outline.tags for k in found if k.startswith("on")]


def test_the_page_keeps_the_reports_policy(outline: Outline) -> None:
    policies = [
        one["content"]
        for page_ in (outline, Outline(render_index(everything())))
        for one in page_.named("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 2
    assert policies[0] == policies[1]
    assert "sha256-" in (policies[0] or "")


def test_the_page_draws_groups_zeros_and_rounding(outline: Outline) -> None:
    assert [one["id"] for one in outline.named("figure")] == ["heat", "rounding", "zeros"]
    labels = [one["aria-label"] or "" for one in outline.named("svg")]
    assert "one: 30, 60, 80; two: 0.0, 2.0, 20; three: 0.0, 1.0, 10" in labels[0]
    assert "one: 1.00 %" in labels[1]
    assert "one: 80 %" in labels[2]
    assert "one, 64 channels, without 50 %: 60.0 points lost" in outline.text


def test_the_branch_can_be_copied_from_the_page() -> None:
    made = analysis(Goal(latency=0.25, size=0.05))
    text = page(made)
    [block] = re.findall(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)
    bare = re.sub(r"<[^>]+>", "", block)
    for escaped, plain in (("&#34;", '"'), ("&#39;", "'"), ("&gt;", ">"), ("&amp;", "&")):
        bare = bare.replace(escaped, plain)
    assert bare.rstrip("\n") == made.proposal.toml.rstrip("\n")


def test_names_are_escaped() -> None:
    evil = findings().model_dump_json().replace('"one"', '"<script>x</script>"')
    found = Findings.model_validate_json(evil)
    goal = goal_of(None, 1.0, None)
    base = Base(branch="dense", taken=frozenset({"dense"}), trained=TRAINED)
    made = Analysis(findings=found, goal=goal, proposal=advise(found, goal, base))
    assert "<script" not in page(made)


def test_a_page_without_groups_has_no_heat_map() -> None:
    outline = Outline(page(analysis(groups=(), groups_reason="it is one layer")))
    assert [one["id"] for one in outline.named("figure")] == ["rounding", "zeros"]
    assert "it is one layer" in outline.text


def test_the_page_lies_in_the_folder_of_reports(tmp_path: Path) -> None:
    path = write_page(analysis(), tmp_path / "out")
    assert path == tmp_path / "out" / "analysis-tiny.html"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in path.parent.iterdir()] == ["analysis-tiny.html"]
