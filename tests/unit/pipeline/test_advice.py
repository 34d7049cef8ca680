import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.advice import Base, Proposal, advise, asked, base_of, check_proposal
from pipeline.errors import RecipeError
from pipeline.findings import Int8, Standard
from pipeline.recipe import Recipe, load_recipe
from pipeline.settings import Train
from pipeline.strategy import Goal, time_share
from tests.unit.pipeline.sample_findings import findings, group, judged_int8, layer

BASE = Base(
    branch="dense", taken=frozenset({"dense"}),
    trained=Train(stage="train", epochs=20, batch=32, learning_rate=4e-3),
)  # fmt: skip
QUARTER = Goal(latency=0.25)


def stages(proposal: Proposal, branch: int = 0) -> list[dict[str, Any]]:
    return tomllib.loads(proposal.toml)["branch"][branch].get("stages", [])


def names(proposal: Proposal) -> list[str]:
    return [stage["stage"] for stage in stages(proposal)]


def formats(proposal: Proposal) -> list[str]:
    found: list[str] = tomllib.loads(proposal.toml)["branch"][0]["formats"]
    return found


def test_half_of_the_multiplications_take_what_was_measured() -> None:
    assert time_share(0.5, 1.7) == pytest.approx(1 / 1.7)
    assert time_share(0.25, 1.7) == pytest.approx(1 / 1.7**2)
    assert time_share(1.0, 1.8) == 1.0


def test_where_int8_is_enough_nothing_is_removed() -> None:
    proposal = advise(findings(), Goal(latency=0.5), BASE)
    assert stages(proposal) == []
    assert formats(proposal) == ["int8"]
    assert proposal.meets is True
    assert proposal.expected.latency == pytest.approx(1 / 2.2)
    assert proposal.expected.points == pytest.approx(0.3)


def test_a_quarter_of_the_time_takes_channels_from_where_they_hurt_least() -> None:
    proposal = advise(findings(), QUARTER, BASE)
    [prune] = stages(proposal)
    # int8 leaves 0.25 x 2.2 = 0.55 of its time; 0.45 ** log2(1.7) = 0.543
    assert prune == {
        "stage": "prune_channels", "keep": 0.45, "allocation": "sensitivity", "multiple": 16,
        "steps": 2, "epochs": 5, "batch": 32, "learning_rate": 1e-3,
        "distil": {"teacher": "dense"}, "layers": {"one": 1.0},
    }  # fmt: skip
    assert proposal.meets is True
    assert proposal.expected.latency is not None
    assert proposal.expected.latency <= 0.25
    why = "left whole: without a quarter of its channels, 30 points are lost"
    assert f"[branch.stages.layers]\none = 1.0 # {why}\n" in proposal.toml


def test_every_line_of_a_stage_says_why() -> None:
    proposal = advise(
        findings(int8=judged_int8(3.0)), Goal(latency=0.25, points=1.0, size=0.05), BASE
    )
    assert names(proposal) == ["prune_channels", "prune_weights", "cluster", "quantize_aware"]
    lines = proposal.toml.splitlines()
    unsaid = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if " = " in line and " # " not in line and not before.startswith("#")
    ]
    assert {line.split(" ")[0] for line in unsaid} <= {"name", "from", "formats", "batch"}
    assert all(len(line) <= 92 for line in lines)


def test_a_brittle_network_gets_the_nearest() -> None:
    brittle = findings(groups=tuple(group(n, (60.0, 80.0, 90.0)) for n in ("one", "two", "three")))
    proposal = advise(brittle, QUARTER, BASE)
    assert proposal.meets is False
    assert "not in reach" in proposal.verdict
    [prune] = stages(proposal)
    assert 0.45 < prune["keep"] < 1
    assert proposal.expected.points <= 1.0
    assert proposal.expected.latency is not None
    assert 0.25 < proposal.expected.latency < 1 / 2.2
    assert "removing more channels is expected to lose more than may be lost" in proposal.notes


def test_no_points_to_lose_means_no_channels() -> None:
    brittle = findings(
        groups=tuple(group(n, (60.0, 80.0, 90.0)) for n in ("one", "two", "three")),
        int8=judged_int8(0.0),
    )
    proposal = advise(brittle, Goal(latency=0.25, points=0.0), BASE)
    assert (proposal.meets, stages(proposal)) == (False, [])
    assert proposal.expected.latency == pytest.approx(1 / 2.2)


@pytest.mark.parametrize(("lost", "stage"), [(0.5, []), (0.6, ["quantize_aware"])])
def test_int8_that_costs_more_than_half_of_the_points_is_trained(
    lost: float, stage: list[str]
) -> None:
    proposal = advise(findings(int8=judged_int8(lost)), Goal(latency=0.5), BASE)
    assert names(proposal) == stage
    if stage:
        assert stages(proposal)[0]["learning_rate"] == 1e-4
        assert stages(proposal)[0]["epochs"] == 4
        assert proposal.expected.points == pytest.approx(0.3)


def test_without_int8_float16_is_pruned_harder() -> None:
    proposal = advise(
        findings(int8=Int8(reason="no kernel for Erf"), int8_size=None), Goal(latency=0.5), BASE
    )
    assert formats(proposal) == ["float16"]
    assert "no kernel for Erf" in proposal.toml
    assert stages(proposal)[0]["keep"] == 0.44  # 0.5 ** (1 / log2(1.8)) = 0.4416
    assert not any("int8 makes" in text for text in proposal.assumptions)


def test_a_small_network_is_told_its_control() -> None:
    small = findings(
        macs=2_210_000,
        layers=tuple(one.model_copy(update={"macs": one.macs // 100}) for one in findings().layers),
    )
    proposal = advise(small, QUARTER, BASE)
    assert proposal.meets is None
    assert proposal.expected.latency is None
    assert "overhead-bound" in proposal.verdict
    assert "a narrower network trained from scratch is the control to beat" in proposal.notes[0]
    smaller, anew = stages(proposal, branch=1)
    assert (smaller["keep"], smaller["epochs"]) == (stages(proposal)[0]["keep"], 0)
    assert anew == {
        "stage": "train", "fresh": True, "epochs": 20, "batch": 32, "learning_rate": 4e-3
    }  # fmt: skip


def test_without_labels_nothing_is_trained() -> None:
    unlabelled = findings(
        standard=Standard.OWN_ANSWERS, trainable=False, int8=judged_int8(2.0), accuracy=0.9
    )
    proposal = advise(unlabelled, QUARTER, BASE)
    assert (stages(proposal), formats(proposal)) == ([], ["mixed"])
    assert proposal.meets is False
    assert any("without labels nothing can be trained" in note for note in proposal.notes)
    assert any("agreement" in text for text in proposal.assumptions)
    assert any("quantize.tolerance" in text for text in proposal.assumptions)


def test_channels_are_spread_evenly_where_validation_has_no_labels() -> None:
    proposal = advise(findings(standard=Standard.OWN_ANSWERS), QUARTER, BASE)
    assert stages(proposal)[0]["allocation"] == "uniform"


def test_a_small_download_takes_zeros() -> None:
    proposal = advise(findings(), Goal(size=0.1), BASE)
    # int8 is 0.28 of it; 0.357 of that are between 70 % (0.46) and 80 % zeros (0.34)
    assert names(proposal) == ["prune_weights"]
    assert stages(proposal)[0]["sparsity"] == 0.8
    assert tomllib.loads(proposal.toml)["branch"][0]["name"] == "dense_light"
    assert proposal.meets is True
    assert proposal.expected.size == pytest.approx(0.28 * 0.34)


def test_shared_values_come_where_layers_stand_too_few_zeros() -> None:
    fragile = findings(layers=tuple(layer(n, None, None, lost=(0.0, 0.9, 3.0, 9.0)) for n in "abc"))
    proposal = advise(fragile, Goal(size=0.12), BASE)
    assert names(proposal) == ["prune_weights", "cluster"]
    assert stages(proposal)[0]["sparsity"] == 0.65
    assert proposal.meets is True
    missed = advise(fragile, Goal(size=0.05), BASE)
    assert missed.meets is False
    assert stages(missed)[0]["sparsity"] == 0.7
    assert missed.expected.size == pytest.approx(0.28 * 0.46 * 0.85)


def test_a_size_that_int8_reaches_takes_nothing_more() -> None:
    proposal = advise(findings(), Goal(size=0.3), BASE)
    assert (stages(proposal), proposal.meets) == ([], True)


def test_names_that_are_taken_get_a_number() -> None:
    base = replace(BASE, taken=frozenset({"dense", "dense_small"}))
    proposal = advise(findings(), QUARTER, base)
    assert tomllib.loads(proposal.toml)["branch"][0]["name"] == "dense_small2"


def test_names_of_nested_layers_are_quoted() -> None:
    renamed = findings().model_dump_json().replace('"one"', '"core/one \\"x\\""')
    proposal = advise(type(findings()).model_validate_json(renamed), QUARTER, BASE)
    assert stages(proposal)[0]["layers"] == {'core/one "x"': 1.0}


def test_a_recipe_that_trains_nothing_is_guessed_at_aloud() -> None:
    base = replace(BASE, trained=None)
    proposal = advise(findings(), QUARTER, base)
    assert any("guesses" in text for text in proposal.assumptions)
    assert not any("guesses" in text for text in advise(findings(), QUARTER, BASE).assumptions)
    untrained = advise(findings(), Goal(latency=0.5), base)
    assert not any("guesses" in text for text in untrained.assumptions)


def test_goals_are_told_in_words() -> None:
    goal = Goal(latency=0.25, points=0.5, size=0.1)
    said = "25 % of the time and 10 % of the download size, at most 0.5 points lost"
    assert asked(goal) == said
    assert asked(Goal(size=0.1)) == "10 % of the download size, at most 1 point lost"


@pytest.mark.parametrize(
    "wrong", [{}, {"latency": 1.0}, {"size": 0.0}, {"latency": 0.5, "points": -1}]
)
def test_what_is_no_goal_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no goal"):
        Goal(**wrong)


def test_the_recipe_tells_how_its_branch_was_trained(recipe_folder: Path) -> None:
    recipe = load_recipe(recipe_folder)
    base = base_of(recipe, "sparse")  # which starts from dense
    assert base.trained is not None
    assert base.trained.epochs == 2
    assert base.taken == {"dense", "sparse"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    (folder / "model.py").write_text("")
    (folder / "recipe.toml").write_text(
        'summary = "one branch"\n[[branch]]\nname = "dense"\n'
        'stages = [{ stage = "train", epochs = 20 }]\nformats = ["float32"]\n[bench]\n'
    )
    return load_recipe(folder)


SHARES = st.floats(0.01, 0.99)
POINTS = st.floats(0, 90)


@settings(deadline=None, max_examples=60)
@given(
    latency=st.none() | SHARES, points=st.floats(0, 20), size=SHARES, int8=POINTS,
    lost=st.lists(st.tuples(POINTS, POINTS, POINTS), min_size=3, max_size=3),
    macs=st.sampled_from([1_000_000, 221_000_000]), trainable=st.booleans(),
)  # fmt: skip
def test_every_proposal_is_a_recipe(
    recipe: Recipe, latency: float | None, points: float, size: float, int8: float,
    lost: list[tuple[float, float, float]], macs: int, trainable: bool,
) -> None:  # fmt: skip
    groups = tuple(
        group(name, found) for name, found in zip(("one", "two", "three"), lost, strict=True)
    )
    found = findings(groups=groups, int8=judged_int8(int8), macs=macs, trainable=trainable)
    goal = Goal(latency=latency, points=points, size=size)
    proposal = advise(found, goal, base_of(recipe, "dense"))
    read = check_proposal(proposal, recipe)
    assert [branch.name for branch in read.branch][:1] == ["dense"]
    assert 2 <= len(read.branch) <= 3
    if proposal.meets:
        assert proposal.expected.points <= goal.points
        assert proposal.expected.size is not None
        assert proposal.expected.size <= size + 1e-9
        assert latency is None or (proposal.expected.latency or 1) <= latency + 1e-9


def test_a_recipe_that_ends_in_an_inline_list_says_what_to_do(
    recipe_folder: Path, edit: Callable[..., Path]
) -> None:
    (recipe_folder / "recipe.toml").write_text(
        'summary = "inline"\nbranch = [{ name = "dense", formats = ["float32"] }]\n'
    )
    recipe = load_recipe(recipe_folder)
    with pytest.raises(RecipeError, match=r"write its branches as \[\[branch\]\]"):
        check_proposal(advise(findings(), QUARTER, base_of(recipe, "dense")), recipe)
