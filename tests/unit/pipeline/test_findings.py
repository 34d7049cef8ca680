import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.findings import Archive, Judged, branch_end, findings_key
from pipeline.plan import CACHE_FOLDER, plan_recipe
from pipeline.recipe import load_recipe
from tests.unit.pipeline.sample_findings import findings, group, layer


def test_a_layer_shrinks_by_what_it_reads_and_what_it_makes() -> None:
    found = findings()
    # "two" reads one and makes two; three quarters and half are left
    share = (20 * 0.75 + 100 * 0.75 * 0.5 + 100 * 0.5 + 1) / 221
    assert found.mac_share({"one": 0.75, "two": 0.5}) == pytest.approx(share)
    assert found.mac_share({}) == 1.0
    assert found.touched(found.groups[0]) == pytest.approx(120 / 221)


def test_channels_of_a_group_that_are_a_part_count_as_a_part() -> None:
    joined = layer("joined", None, None).model_copy(update={"reads": {"one": 0.25, "two": 0.75}})
    found = findings(layers=(joined,), macs=joined.macs)
    assert found.mac_share({"one": 0.0}) == pytest.approx(0.75)
    assert found.weight_share({"one": 0.5, "two": 0.5}) == pytest.approx(0.5)


def test_losses_lie_between_those_tried() -> None:
    found = findings(groups=(group("one", (2.0, 10.0, 50.0)),))
    only = found.groups[0]
    assert [found.lost(only, s) for s in (0.0, 0.125, 0.25, 0.375, 1.0)] == [0, 1, 2, 6, 50]


def test_a_gain_is_no_loss() -> None:
    assert findings().points(0.95) == 0.0
    assert findings().points(0.89) == 1.0


@pytest.mark.parametrize(
    ("lost", "stands"),
    [((0.0, 0.5, 1.0, 9.0), 0.8), ((1.1, 0.0, 0.0, 0.0), 0.0), ((0.0, 0.0, 0.0, 0.0), 0.9)],
)
def test_a_layer_stands_zeros_up_to_the_first_that_hurt(
    lost: tuple[float, ...], stands: float
) -> None:
    assert findings().stands(layer("one", None, None, lost=lost), 1.0) == stands


def test_an_unknown_branch_lists_those_there_are(recipe_folder: Path) -> None:
    plan = plan_recipe(load_recipe(recipe_folder))
    with pytest.raises(RecipeError, match="'small' is no branch; there is: dense, sparse"):
        branch_end(plan, "small")


def test_a_branch_of_wrapped_layers_is_refused(edit: Callable[..., Path]) -> None:
    folder = edit('stage = "finetune", epochs = 1', 'stage = "quantize_aware", epochs = 1')
    plan = plan_recipe(load_recipe(folder))
    with pytest.raises(RecipeError, match="'sparse' ends behind quantize_aware; name a branch"):
        branch_end(plan, "sparse")
    assert branch_end(plan, "dense").label == "dense/train"


def test_the_key_follows_model_and_data(edit: Callable[..., Path]) -> None:
    def keys(folder: Path) -> tuple[str, str]:
        plan = plan_recipe(load_recipe(folder))
        return findings_key(plan, "dense"), findings_key(plan, "sparse")

    before = keys(edit("seed = 3", "seed = 3"))
    assert before[0] != before[1]
    finetuned = keys(edit('stage = "finetune", epochs = 1', 'stage = "finetune", epochs = 2'))
    assert finetuned[0] == before[0]
    assert finetuned[1] != before[1]
    data = keys(edit("size = 12", "size = 14"))
    assert data[0] != before[0]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, "key")


def test_findings_come_back_as_they_went(archive: Archive, tmp_path: Path) -> None:
    assert archive.findings() is None
    archive.note("group one without 25%", Judged(accuracy=0.5, error=0.1))
    archive.keep(findings())
    assert archive.findings() == findings()
    assert [p.name for p in (tmp_path / CACHE_FOLDER).iterdir()] == ["key.findings.json"]


def test_damaged_findings_are_made_again(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive.keep(findings())
    file = tmp_path / CACHE_FOLDER / "key.findings.json"
    file.write_text(file.read_text()[:-30])
    with caplog.at_level(logging.WARNING):
        assert archive.findings() is None
    assert "damaged" in caplog.text


def test_judgements_outlive_a_kill(archive: Archive, tmp_path: Path) -> None:
    archive.note("a", Judged(accuracy=0.5, error=0.1))
    archive.note("b", Judged(accuracy=0.25, error=None))
    file = tmp_path / CACHE_FOLDER / "key.judgements.jsonl"
    file.write_text(file.read_text() + '["c", 0.')  # killed while writing
    again = Archive(tmp_path, "key")
    assert again.judged("a") == Judged(accuracy=0.5, error=0.1)
    assert again.judged("b") == Judged(accuracy=0.25, error=None)
    assert again.judged("c") is None
    again.note("c", Judged(accuracy=0.75, error=0.0))
    assert Archive(tmp_path, "key").judged("c") == Judged(accuracy=0.75, error=0.0)
