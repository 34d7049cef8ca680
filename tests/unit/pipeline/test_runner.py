import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact, load_artifacts
from pipeline.cache import Entry
from pipeline.errors import ConversionError, StageFailed
from pipeline.plan import Call, Plan, entry_folder, plan_recipe
from pipeline.recipe import load_recipe
from pipeline.runner import Report, StageEvent, perform

Edit = Callable[..., Path]
ALL = [
    "build", "dense/train", "dense/float32", "dense/int8", "sparse/prune_weights",
    "sparse/finetune", "sparse/int8",
]  # fmt: skip
SPEC = {"name": "x", "dtype": "float32", "shape": [1, 2]}


class FakeWorker:
    """Writes what each call would, in a few bytes, and remembers what it did."""

    def __init__(self, fail_at: str = "", error: BaseException | None = None) -> None:
        self.did: list[str] = []
        self.fail_at, self.error = fail_at, error
        self.model_bytes = {"float32": 100, "int8": 25}

    def build(self, call: Call, folder: Path) -> dict[str, Any]:
        self._do(call, folder)
        (folder / "model.keras").write_text("untrained")
        return {}

    def stage(
        self, call: Call, parent: Entry, folder: Path, report: Report, teacher: Entry | None = None
    ) -> dict[str, Any]:
        (folder / "model.keras").write_text("half")
        report(1, 2, "loss 1")
        self._do(call, folder)
        before = (parent.folder / "model.keras").read_text()
        (folder / "model.keras").write_text(f"{before} {call.name}")
        return {}

    def convert(self, call: Call, parent: Entry, folder: Path) -> dict[str, Any]:
        self._do(call, folder)
        before = (parent.folder / "model.keras").read_text().encode()
        content = before.ljust(self.model_bytes[call.name], b".")[: self.model_bytes[call.name]]
        (folder / "model.tflite").write_bytes(content)
        (folder / "inputs.bin").write_bytes(bytes(8))
        return {
            "format": call.name, "file": "model.tflite", "bytes": len(content), "bytes_zstd": 1,
            "sha256": hashlib.sha256(content).hexdigest(), "input": SPEC, "output": SPEC,
            "parameters": 1, "macs": 1, "sparsity": 0.0, "sparsity_by_layer": {},
            "accuracy": None, "accuracy_reason": "fake", "references": [], "data_sha256": "d",
            "test": {"samples": 1, "origin": "random", "inputs_file": "inputs.bin"},
            "built_at_utc": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip

    def _do(self, call: Call, folder: Path) -> None:
        if call.label == self.fail_at and self.error is not None:
            (folder / "half").write_text("half an output")
            raise self.error
        self.did.append(call.label)


@pytest.fixture
def build(recipe_folder: Path, tmp_path: Path) -> Callable[..., tuple[Artifact, ...]]:
    """Plans the recipe as it is now and performs the plan with the worker."""

    def run(
        worker: FakeWorker, progress: Callable[[StageEvent], None] = lambda _: None
    ) -> tuple[Artifact, ...]:
        plan = plan_recipe(load_recipe(recipe_folder))
        return perform(plan, tmp_path / "variants", progress, lambda _: worker)

    return run


Build = Callable[..., tuple[Artifact, ...]]


def plan_of(folder: Path) -> Plan:
    return plan_recipe(load_recipe(folder))


def never(_: Plan) -> FakeWorker:
    raise AssertionError("nothing was left to do")


def test_everything_is_done_once_in_order(build: Build, tmp_path: Path) -> None:
    worker = FakeWorker()
    artifacts = build(worker)
    assert worker.did == ALL
    assert [a.variant for a in artifacts] == ["dense_float32", "dense_int8", "sparse_int8"]
    assert [a.compression_ratio for a in artifacts] == [0.0, 0.75, 0.75]
    assert load_artifacts(tmp_path / "variants") == artifacts
    last = artifacts[-1]
    assert last.model_path == tmp_path / "variants" / "tiny" / "sparse_int8" / "model.tflite"
    assert last.model_path.read_bytes() == b"untrained train prune_wei"
    assert [s.name for s in last.provenance.stages] == [
        "build", "train", "prune_weights", "finetune", "int8",
    ]  # fmt: skip


def test_a_second_build_does_nothing(build: Build, recipe_folder: Path, tmp_path: Path) -> None:
    first = build(FakeWorker())
    events: list[StageEvent] = []
    second = perform(plan_of(recipe_folder), tmp_path / "variants", events.append, never)
    assert second == first
    assert {event.state for event in events} == {"cached"}


def test_only_what_changed_is_done(build: Build, edit: Edit) -> None:
    build(FakeWorker())
    edit("epochs = 1 }", "epochs = 2 }")
    worker = FakeWorker()
    build(worker)
    assert worker.did == ["sparse/finetune", "sparse/int8"]


def test_words_that_change_no_output_are_taken_over(build: Build, edit: Edit) -> None:
    first = build(FakeWorker())
    edit("seed = 3", 'baseline = "dense_int8"\nseed = 3')
    worker = FakeWorker()
    second = build(worker)
    assert worker.did == []
    assert [a.baseline for a in second] == ["dense_int8"] * 3
    assert [a.compression_ratio for a in second] == [-3.0, 0.0, 0.0]
    assert second[0].provenance.recipe_sha256 != first[0].provenance.recipe_sha256


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConversionError("v", "no kernel")])
def test_what_was_finished_is_kept(build: Build, tmp_path: Path, error: BaseException) -> None:
    first = FakeWorker("sparse/prune_weights", error)
    with pytest.raises(type(error)):
        build(first)
    kept = {p.name for p in (tmp_path / "variants" / ".cache").iterdir()}
    assert len(kept) == 4
    assert not any(name.startswith(".") for name in kept)
    second = FakeWorker()
    build(second)
    assert first.did + second.did == ALL


def test_a_foreign_error_names_recipe_and_stage(build: Build) -> None:
    with pytest.raises(StageFailed, match=r"recipe tiny, stage dense/train: OSError: disk"):
        build(FakeWorker("dense/train", OSError("disk")))


def damage_content(entry: Path) -> None:
    (entry / "model.keras").write_text("something else")


def damage_missing(entry: Path) -> None:
    (entry / "model.keras").unlink()


def damage_record(entry: Path) -> None:
    (entry / "entry.json").write_text('{"files": 3}')


def damage_half(entry: Path) -> None:
    (entry / "entry.json").unlink()


@pytest.mark.parametrize("damage", [damage_content, damage_missing, damage_record, damage_half])
def test_a_damaged_output_is_made_again(
    build: Build, edit: Edit, recipe_folder: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    build(FakeWorker())
    plan = plan_of(recipe_folder)
    trained = next(call for call in plan.calls if call.label == "dense/train")
    damage(entry_folder(tmp_path / "variants", trained.key))
    edit("sparsity = 0.5", "sparsity = 0.6")
    worker = FakeWorker()
    build(worker)
    assert worker.did == ["dense/train", "sparse/prune_weights", "sparse/finetune", "sparse/int8"]


def test_a_damaged_variant_is_placed_again(
    build: Build, recipe_folder: Path, tmp_path: Path
) -> None:
    first = build(FakeWorker())
    first[1].model_path.write_bytes(b"x")
    second = perform(plan_of(recipe_folder), tmp_path / "variants", worker=never)
    assert second == first
    assert second[1].model_path.read_bytes() != b"x"


def test_a_variant_the_recipe_lost_goes_away(build: Build, edit: Edit, tmp_path: Path) -> None:
    build(FakeWorker())
    edit('"float32", "int8"', '"float32"')
    build(FakeWorker())
    assert [a.variant for a in load_artifacts(tmp_path / "variants")] == [
        "dense_float32", "sparse_int8",
    ]  # fmt: skip


def test_a_new_baseline_size_reaches_variants_that_stay(
    build: Build, edit: Edit, tmp_path: Path
) -> None:
    edit('from = "dense"\n', "")  # the branches share only the untrained model
    build(FakeWorker())
    edit("epochs = 2 }", "epochs = 3 }")
    worker = FakeWorker()
    worker.model_bytes["float32"] = 50
    artifacts = build(worker)
    assert worker.did == ["dense/train", "dense/float32", "dense/int8"]
    assert [a.compression_ratio for a in artifacts] == [0.0, 0.5, 0.5]
    assert load_artifacts(tmp_path / "variants") == artifacts


def test_events_tell_a_bar_what_it_needs(build: Build) -> None:
    events: list[StageEvent] = []
    build(FakeWorker(), events.append)
    train = [e for e in events if e.label == "dense/train"]
    assert [e.state for e in train] == ["started", "progress", "finished"]
    assert (train[1].step, train[1].steps, train[1].message) == (1, 2, "loss 1")
    assert {(e.index, e.count) for e in train} == {(1, 7)}
    assert train[2].seconds >= 0
