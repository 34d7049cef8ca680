"""What a recipe's model has too much of, and a branch that compresses it; on this computer alone.

Loads the pipeline's stages only when nothing was kept from an earlier analysis.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, final

from device_bench.progress import Progress
from device_bench.report import numbers
from device_bench.report.figures import KeyFigure
from device_bench.variants import stage_teller
from pipeline.advice import Proposal, advise, asked, base_of, check_proposal, counted
from pipeline.findings import Archive, Findings, Group, Standard, branch_end
from pipeline.plan import Plan, plan_recipe
from pipeline.recipe import find_recipe, load_recipe
from pipeline.strategy import DEFAULT_LATENCY, Goal

_SHOWN: Final = 5  # groups at each end of the table
_NAME_CHARACTERS: Final = 30


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Findings about a branch's end, and what is advised for a goal."""

    findings: Findings
    goal: Goal
    proposal: Proposal


def goal_of(latency: float | None, points: float, size: float | None) -> Goal:
    """The goal of the options; a quarter of the time when none is named."""
    if latency is None and size is None:
        latency = DEFAULT_LATENCY
    return Goal(latency=latency, points=points, size=size)


def analyse(
    name: str, branch: str | None, goal: Goal, folder: Path, progress: Progress
) -> Analysis:
    """Analyse the end of a branch, from what is kept where it is there, and advise.

    Args:
        name: of the recipe, or its folder.
        branch: None: the first.
        goal: what is wanted.
        folder: of the variants; models, findings and judgements are kept in its cache.
        progress: told about each stage and each judgement.

    Raises:
        PipelineError: the recipe is wrong, a stage failed, or the model cannot be analysed.
    """
    recipe = load_recipe(find_recipe(name))
    plan, chosen = plan_recipe(recipe), branch or recipe.branch[0].name
    archive = Archive.of(plan, chosen, folder)
    findings = archive.findings() or _measured(plan, chosen, folder, archive, progress)
    proposal = advise(findings, goal, base_of(recipe, chosen))
    check_proposal(proposal, recipe)
    return Analysis(findings=findings, goal=goal, proposal=proposal)


def _measured(
    plan: Plan, branch: str, folder: Path, archive: Archive, progress: Progress
) -> Findings:
    from pipeline.runner import perform_call

    name = plan.recipe.name
    teller = stage_teller(name, progress)
    entry = perform_call(plan, branch_end(plan, branch), folder, teller)
    from pipeline.analysis import measure, opened  # imports TensorFlow

    subject = opened(plan.recipe, branch, entry)
    return measure(
        subject, archive,
        lambda done, total, text: progress.step(f"analyse {name}", text, done, total),
    )  # fmt: skip


def ranked(findings: Findings) -> tuple[Group, ...]:
    """Groups, the most redundant first: least lost at half, then most multiplications touched."""
    return tuple(
        sorted(findings.groups, key=lambda g: (findings.lost(g, 0.5), -findings.touched(g)))
    )


def told(analysis: Analysis) -> str:
    """The analysis as people read it on a terminal."""
    findings, proposal = analysis.findings, analysis.proposal
    lines = [
        f"{findings.recipe}, branch {findings.branch}: "
        f"{numbers.amount(findings.macs)} multiplications, {judged_by(findings)}",
        *(f"warning: {text}" for text in findings.warnings), "",
        *_table(findings), "", summary(findings, analysis.goal), "",
        proposal.verdict, f"expected: {_expected(analysis)}", *proposal.notes,
        *(f"assumed: {text}" for text in proposal.assumptions), "",
        "# paste this at the end of recipe.toml", proposal.toml,
    ]  # fmt: skip
    return "\n".join(lines).replace(numbers.SPACE, " ")


def judged_by(findings: Findings) -> str:
    """On what, and by what, answers are judged."""
    how = f"{findings.samples} {findings.split} samples"
    one = f"one sample is {100 / findings.samples:.2f} points"
    if findings.standard is Standard.OWN_ANSWERS:
        return f"no labels: judged by agreement with its own answers to {how} ({one})"
    return f"accuracy {numbers.share(findings.accuracy)} on {how} ({one})"


def summary(findings: Findings, goal: Goal) -> str:
    """The sums: channels, zeros, int8."""
    said = []
    for share in (trial.share for trial in (findings.groups[0].trials if findings.groups else ())):
        fine = [g for g in findings.groups if findings.lost(g, share) <= goal.points]
        said.append(f"{len(fine)} without {100 * share:.0f} %")
    weights = sum(layer.weights for layer in findings.layers)
    zeros = sum(layer.weights * findings.stands(layer, goal.points) for layer in findings.layers)
    parts = [f"zeros in {100 * zeros / weights:.0f} % of the weights, layer by layer"]
    if said:
        parts.insert(0, f"of {len(findings.groups)} channel groups {', '.join(said)}")
    return (
        f"Each alone and untrained, at most {counted(goal.points)} lost: {'; '.join(parts)}. "
        f"{_int8(findings)}"
    )


def _int8(findings: Findings) -> str:
    judged = findings.int8.judged
    if judged is None:
        return f"int8 could not be made: {findings.int8.reason}."
    error = "infinitely far" if judged.error is None else f"{100 * judged.error:.1f} % (rms)"
    return f"All in int8: {findings.points(judged.accuracy):.1f} points lost, outputs off {error}."


def _table(findings: Findings) -> Iterator[str]:
    if not findings.groups:
        yield str(findings.groups_reason)
        return
    groups = ranked(findings)
    shares = [trial.share for trial in groups[0].trials]
    columns = "".join(f"{f'-{100 * share:.0f} %':>8}" for share in shares)
    yield f"{'channel group':<{_NAME_CHARACTERS}} {'channels':>8} {'MACs':>6}  lost:{columns}"
    if len(groups) <= 2 * _SHOWN:
        yield from _rows(findings, groups)
        return
    yield "most redundant"
    yield from _rows(findings, groups[:_SHOWN])
    yield "most sensitive"
    yield from _rows(findings, groups[-_SHOWN:])


def _rows(findings: Findings, groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        lost = "".join(f"{findings.lost(group, t.share):>8.1f}" for t in group.trials)
        macs = f"{100 * findings.touched(group):.0f} %"
        name = f"  {group.name[-(_NAME_CHARACTERS - 2) :]:<{_NAME_CHARACTERS - 2}}"
        yield f"{name} {group.channels:>8} {macs:>6}       {lost}"


def _expected(analysis: Analysis) -> str:
    expected, said = analysis.proposal.expected, []
    if analysis.goal.latency is not None:
        time = expected.latency
        said.append("time unknown" if time is None else f"{_near(analysis, time)} of the time")
    if expected.size is not None:
        said.append(f"{_near(analysis, expected.size)} of the download size")
    return ", ".join([*said, f"{expected.points:.1f} points of accuracy lost"])


def _near(analysis: Analysis, share: float) -> str:
    """A share, with a decimal where a goal may be missed by less than one percent."""
    return numbers.share(share, 1 if analysis.proposal.meets is False else 0)


def figures(analysis: Analysis) -> tuple[KeyFigure, ...]:
    """What the proposal may bring, for the page's strip."""
    expected, goal, found = analysis.proposal.expected, analysis.goal, []
    if goal.latency is not None:
        time = expected.latency
        value = "unknown" if time is None else _near(analysis, time)
        note = "cannot be foretold" if time is None else "of the float32 model's time"
        found.append(KeyFigure(label="Expected time", value=value, note=note))
    lost = f"{expected.points:.1f}{numbers.SPACE}points"
    note = f"of accuracy lost, of {goal.points:g} that may be"
    found.append(KeyFigure(label="Expected loss", value=lost, note=note))
    if expected.size is not None:
        value = _near(analysis, expected.size)
        note = "of the float32 file, both compressed for download"
        found.append(KeyFigure(label="Expected download", value=value, note=note))
    return (*found, _int8_figure(analysis.findings))


def _int8_figure(findings: Findings) -> KeyFigure:
    judged = findings.int8.judged
    if judged is None:
        reason = findings.int8.reason or ""
        return KeyFigure(label="int8 alone", value=numbers.MISSING, note=reason)
    lost = f"{findings.points(judged.accuracy):.1f}{numbers.SPACE}points"
    return KeyFigure(label="int8 alone", value=lost, note="lost by the whole model, measured here")


def write_page(analysis: Analysis, out: Path) -> Path:
    """Write ``analysis-<recipe>.html``, which loads nothing and runs nothing."""
    path = out / f"analysis-{analysis.findings.recipe}.html"
    text = page(analysis)
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(path)
    return path


def page(analysis: Analysis) -> str:
    """The page: the advice first, then everything behind it."""
    from device_bench.report.charts.findings import heat, rounding, zeros  # Altair takes a second
    from device_bench.report.pages import render

    findings, goal = analysis.findings, analysis.goal
    charts = [heat(findings, "heat"), rounding(findings, "rounding")]
    left = [chart for chart in charts if chart is not None]
    return render(
        "analysis.html.j2", findings=findings, proposal=analysis.proposal,
        figures=figures(analysis), judged=judged_by(findings), asked=asked(goal),
        lines=[_commented(line) for line in analysis.proposal.toml.splitlines()],
        summary=summary(findings, goal), columns=(left, [zeros(findings, goal.points, "zeros")]),
        made_at_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        tool_version=version("deploy-bench"),
    )  # fmt: skip


def _commented(line: str) -> tuple[str, str]:
    """A line of TOML, and the comment at its end."""
    if line.startswith("#"):
        return "", line
    text, mark, comment = line.rpartition(" # ")
    return (text, mark + comment) if mark else (line, "")
