import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.plan import CallKind, Plan, describe_plan, entry_folder, plan_recipe
from pipeline.recipe import load_recipe

Edit = Callable[..., Path]
BUILD = {"build"}
DENSE = {"dense/train", "dense/float32", "dense/int8"}
SPARSE = {"sparse/prune_weights", "sparse/finetune", "sparse/int8"}
CONVERSIONS = {"dense/float32", "dense/int8", "sparse/int8"}


def keys(plan: Plan) -> dict[str, str]:
    return {call.label: call.key for call in plan.calls}


def planned(folder: Path) -> Plan:
    return plan_recipe(load_recipe(folder))


def test_parents_come_first_and_lineages_reach_the_start(recipe_folder: Path) -> None:
    plan = planned(recipe_folder)
    seen: set[str | None] = {None}
    for call in plan.calls:
        assert call.parent in seen
        seen.add(call.key)
    last = plan.conversions[-1]
    assert [call.name for call in plan.lineage(last)] == [
        "build", "train", "prune_weights", "finetune", "int8",
    ]  # fmt: skip
    assert [call.variant for call in plan.conversions] == list(plan.recipe.variants)
    assert len(set(keys(plan).values())) == len(plan.calls)


@pytest.mark.parametrize(
    ("old", "new", "file", "changed"),
    [
        ("two branches", "other words", "recipe.toml", set()),
        ("seed = 3", "seed = 3 # chosen by hand", "recipe.toml", set()),
        ("threads = [1, 2]", "threads = [4]", "recipe.toml", set()),
        ("seed = 3", 'baseline = "dense_int8"\nseed = 3', "recipe.toml", set()),
        ("seed = 3", "seed = 4", "recipe.toml", BUILD | DENSE | SPARSE),
        ("width = 8", "width = 16", "recipe.toml", BUILD | DENSE | SPARSE),
        ("...", "pass", "model.py", BUILD | DENSE | SPARSE),
        ("size = 12", "size = 14", "recipe.toml", DENSE | SPARSE),
        ("epochs = 2 }", "epochs = 3 }", "recipe.toml", DENSE | SPARSE),
        ("sparsity = 0.5", "sparsity = 0.6", "recipe.toml", SPARSE),
        ("epochs = 1 }", "epochs = 2 }", "recipe.toml", {"sparse/finetune", "sparse/int8"}),
        ("threads = [1, 2]", "samples = 5", "recipe.toml", CONVERSIONS),
    ],
)
def test_keys_change_where_an_input_changed_and_nowhere_else(
    edit: Edit, recipe_folder: Path, old: str, new: str, file: str, changed: set[str]
) -> None:
    before = keys(planned(recipe_folder))
    after = keys(planned(edit(old, new, file)))
    assert {label for label in before if after[label] != before[label]} == changed


def test_another_format_leaves_the_others_alone(edit: Edit, recipe_folder: Path) -> None:
    before = keys(planned(recipe_folder))
    after = keys(planned(edit('"float32", "int8"', '"float32", "float16", "int8"')))
    assert after.keys() - before.keys() == {"dense/float16"}
    assert {label: after[label] for label in before} == before


def test_files_a_parameter_names_are_inputs(edit: Edit, recipe_folder: Path) -> None:
    photo = recipe_folder / "photos" / "3" / "a.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"one")
    folder = edit("size = 12", 'folder = "photos"')
    before = keys(planned(folder))
    assert keys(planned(folder)) == before
    photo.write_bytes(b"other")
    assert keys(planned(folder))["dense/int8"] != before["dense/int8"]


def test_a_file_model_py_reads_may_appear_later(edit: Edit, recipe_folder: Path) -> None:
    folder = edit("seed = 3", 'seed = 3\ndepends_on = ["weights.h5"]')
    before = keys(planned(folder))
    (recipe_folder / "weights.h5").write_bytes(b"w")
    assert keys(planned(folder))["build"] != before["build"]


def test_keys_do_not_depend_on_where_the_recipe_lies(recipe_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "tiny"
    moved.parent.mkdir()
    before = keys(planned(recipe_folder))
    recipe_folder.rename(moved)
    assert keys(planned(moved)) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(order=st.permutations(["epochs = 2", "batch = 32", "learning_rate = 0.5", 'decay = "none"']))
def test_keys_do_not_depend_on_the_order_of_parameters(
    recipe_folder: Path, order: list[str]
) -> None:
    path = recipe_folder / "recipe.toml"
    start = path.read_text()
    try:
        found = set()
        for parameters in (sorted(order), order):
            path.write_text(start.replace("epochs = 2 }", ", ".join(parameters) + " }", 1))
            found.add(json.dumps(keys(planned(recipe_folder))))
        assert len(found) == 1
    finally:
        path.write_text(start)


def test_the_table_says_what_is_cached(recipe_folder: Path, tmp_path: Path) -> None:
    plan = planned(recipe_folder)
    entry = entry_folder(tmp_path, plan.calls[0].key)
    entry.mkdir(parents=True)
    (entry / "entry.json").write_text("{}")
    lines = describe_plan(plan, tmp_path).splitlines()
    assert len(lines) == 2 + len(plan.calls)
    assert lines[2].split()[0] == "build"
    assert lines[2].endswith("yes")
    assert all(line.endswith("no") for line in lines[3:])
    assert "cached" not in describe_plan(plan)


def test_planning_imports_no_tensorflow(recipe_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.recipe import load_recipe;"
        "from pipeline.plan import plan_recipe; import pipeline.artifact, pipeline.runner;"
        f"plan_recipe(load_recipe(Path({str(recipe_folder)!r})));"
        "print(*sorted({'tensorflow', 'tf_keras', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_kinds(recipe_folder: Path) -> None:
    kinds = [call.kind for call in planned(recipe_folder).calls]
    assert kinds.count(CallKind.BUILD) == 1
    assert kinds.count(CallKind.CONVERT) == 3


def test_what_a_recipe_imports_of_ours_decides_its_outputs(edit: Edit, recipe_folder: Path) -> None:
    before = planned(recipe_folder)
    edit(
        "def build_model",
        "from pipeline.own.model import load_own_model\ndef build_model",
        "model.py",
    )
    after = planned(recipe_folder)
    assert keys(before)["build"] != keys(after)["build"]
    assert before.code_sha256 != after.code_sha256


def test_a_source_that_is_no_python_is_planned_all_the_same(
    edit: Edit, recipe_folder: Path
) -> None:
    edit("def build_model", "def def", "model.py")
    assert keys(planned(recipe_folder))["build"]


def test_a_stage_is_done_anew_when_what_it_imports_changes() -> None:
    from pipeline.plan import _read_source, _sources

    reached = _sources("stages.prune_channels")
    assert {"stages.fit", "stages.given", "channels.graph", "channels.rewrite"} <= reached.keys()
    assert "errors" not in reached
    assert "stages.fit" in _read_source("stages.train")[1]
