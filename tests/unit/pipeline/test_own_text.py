"""The recipe that is written for a model of the user's own; no TensorFlow."""

import ast
import tomllib
from dataclasses import replace

import pytest

from pipeline.own.scale import Scale
from pipeline.own.text import Contents, Custom, module_text, recipe_text
from pipeline.recipe import load_recipe

CONTENTS = Contents(
    name="mine", command_path="models/mine", summary='my "model" \\ \u00e4', model_file="m.keras",
    data_path="photos", size=(32, 48), trust=True, custom=(), shape=(32, 48, 3), classes=3,
    scale=Scale.SIGNED, scale_reason="right on\n9 samples", class_names=("a", "b", "c"),
    most_samples=100, dense_only=None,
)  # fmt: skip


def written(folder, contents):
    where = folder / "mine"
    where.mkdir()
    (where / "m.keras").touch()
    (where / "photos").mkdir()
    (where / "recipe.toml").write_text(recipe_text(contents))
    (where / "model.py").write_text(module_text(contents))
    return load_recipe(where)


def test_the_recipe_is_one_and_says_what_was_asked(tmp_path):
    recipe = written(tmp_path, CONTENTS)
    assert recipe.summary == CONTENTS.summary
    assert recipe.model == {"model_file": "m.keras", "size": [32, 48], "trust": True}
    assert recipe.data["shape"] == [32, 48, 3]
    assert recipe.data["scale"] == "-1..1"
    assert recipe.variants == (
        "dense_float32", "dense_float16", "dense_int8", "slim_float32", "slim_int8",
    )  # fmt: skip
    (stage,) = recipe.branch[1].stages
    assert (stage.stage, stage.keep, stage.tolerance) == ("prune_channels", 0.5, None)
    assert stage.distil.teacher == "dense"


def test_without_training_the_reason_stands_in_the_recipe(tmp_path):
    contents = replace(CONTENTS, dense_only="the data have\nno labels", data_path=None, classes=0)
    recipe = written(tmp_path, contents)
    assert [branch.name for branch in recipe.branch] == ["dense"]
    text = (recipe.folder / "recipe.toml").read_text()
    assert "# No branch with fewer channels: the data have no labels." in text
    assert "data_path" not in tomllib.loads(text)["data"]


@pytest.mark.parametrize("start", ["../..", None])
def test_layers_of_ones_own_are_imported(start):
    custom = (Custom(module="mine.layers", name="Twice", start=start, file=start and "x.py"),)
    contents = replace(CONTENTS, custom=custom)
    text = module_text(contents)
    ast.parse(text)
    assert "from mine.layers import Twice\n\n\ndef build_model" in text
    assert "load_own_model(**parameters, custom=[Twice])" in text
    assert ("sys.path.append" in text) is (start is not None)
    assert ('depends_on = ["x.py"]' in recipe_text(contents)) is (start is not None)
