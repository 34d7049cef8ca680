from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact import NumberFormat
from pipeline.recipe import (
    RecipeError,
    find_recipe,
    list_recipes,
    load_recipe,
    recipe_schema,
)
from pipeline.settings import PruneWeights

Edit = Callable[..., Path]


def test_a_recipe_is_read(recipe_folder: Path) -> None:
    recipe = load_recipe(recipe_folder)
    assert recipe.name == "tiny"
    assert recipe.variants == ("dense_float32", "dense_int8", "sparse_int8")
    assert recipe.baseline == "dense_float32"
    assert recipe.branch[1].start == "dense"
    pruned = recipe.branch[1].stages[0]
    assert isinstance(pruned, PruneWeights)
    assert (pruned.sparsity, pruned.epochs, pruned.batch) == (0.5, 2, 64)
    assert recipe.bench.threads == (1, 2)
    assert recipe.branch[0].formats == (NumberFormat.FLOAT32, NumberFormat.INT8)
    assert load_recipe(recipe_folder / "recipe.toml") == recipe


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("epochs = 2", "epoch = 2", "branch[0].stages[0].epoch", "did you mean 'epochs'?"),
        ("epochs = 2", "epochs = 0", "branch[0].stages[0].epochs", "greater than 0"),
        ("sparsity = 0.5", "sparsity = 1.0", "branch[1].stages[0].sparsity", "less than 1"),
        ('"train"', '"trian"', "branch[0].stages[0]", "did you mean 'train'?"),
        ('stage = "train", ', "", "branch[0].stages[0]", "names no stage; there is: train"),
        ("threads", "thread", "bench.thread", "did you mean 'threads'?"),
        ("seed = 3", 'seed = "x"', "seed", "valid integer"),
        ("seed = 3", "sed = 3", "sed", "did you mean 'seed'?"),
        ('summary = "two branches"', "", "summary", "is missing"),
        ('"float32", "int8"', '"float32", "int4"', "branch[0].formats[1]", "'float32'"),
        ('"float32", "int8"', '"int8", "int8"', "branch[0]", "one twice"),
        ('["float32", "int8"]', "[]", "branch[0].formats", "at least 1"),
        ('from = "dense"', 'from = "dence"', "", "from 'dence', but above it: dense"),
        ('from = "dense"', 'from = "sparse"', "", "from 'sparse', but above it: dense"),
        ('name = "sparse"', 'name = "dense"', "", "is there twice"),
        ("seed = 3", 'baseline = "dense_float16"', "", "none of the variants: dense_float32"),
        ("seed = 3", 'name = "other"', "name", "in folder 'tiny'"),
        ("size = 12", 'folder = "nowhere"', "data.folder", "nowhere does not exist"),
        ("[bench]", "[bench", "", "is not TOML"),
        (
            "sparsity = 0.5",
            "sparsity = 0.5, initial_sparsity = 0.6",
            "branch[1].stages[0]",
            "above",
        ),
    ],
)
def test_faults_name_the_file_the_key_and_what_is_right(
    edit: Edit, old: str, new: str, key: str, said: str
) -> None:
    folder = edit(old, new)
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder)
    assert caught.value.path == str(folder / "recipe.toml")
    assert caught.value.key == key
    assert said in str(caught.value)


def test_the_first_variant_is_the_baseline_unless_named(edit: Edit) -> None:
    folder = edit("seed = 3", 'seed = 3\nbaseline = "dense_int8"')
    assert load_recipe(folder).baseline == "dense_int8"


def test_a_folder_without_model_py_says_what_to_write(recipe_folder: Path) -> None:
    (recipe_folder / "model.py").unlink()
    with pytest.raises(RecipeError, match="build_model"):
        load_recipe(recipe_folder)


def test_text_that_is_not_utf_8_is_no_toml(recipe_folder: Path) -> None:
    (recipe_folder / "recipe.toml").write_bytes(b"summary = '\xff'")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(recipe_folder)


def test_paths_start_at_the_recipe_s_folder(edit: Edit, recipe_folder: Path) -> None:
    (recipe_folder / "photos").mkdir()
    recipe = load_recipe(edit("size = 12", 'folder = "photos"'))
    assert recipe.located("data") == {"folder": str(recipe_folder / "photos")}
    assert recipe.located("model") == {"width": 8}
    assert recipe.paths() == (recipe_folder / "photos",)


def test_recipes_are_found_by_name_and_by_path(recipe_folder: Path) -> None:
    models = (recipe_folder.parent,)
    assert find_recipe("tiny", models) == recipe_folder
    assert find_recipe(str(recipe_folder), ()) == recipe_folder
    assert find_recipe(str(recipe_folder / "recipe.toml"), ()) == recipe_folder


@pytest.mark.parametrize(
    ("name", "said"), [("tinny", "did you mean 'tiny'?"), ("zzz", "there is: tiny")]
)
def test_an_unknown_recipe_lists_those_that_exist(
    recipe_folder: Path, name: str, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        find_recipe(name, (recipe_folder.parent,))
    assert said in str(caught.value)


def test_a_broken_recipe_does_not_hide_the_others(recipe_folder: Path) -> None:
    broken = recipe_folder.parent / "broken"
    broken.mkdir()
    (broken / "recipe.toml").write_text("sumary = 1")
    first, second = list_recipes((recipe_folder.parent,))
    assert (first.name, first.summary) == ("broken", None)
    assert first.problem is not None
    assert "sumary" in first.problem
    assert (second.name, second.problem) == ("tiny", None)


def test_shipped_recipes_are_whole() -> None:
    shipped = {recipe.name: recipe.problem for recipe in list_recipes()}
    assert shipped["digits_mobile"] is None
    assert shipped["mobilenet_v2"] is None


def test_the_schema_knows_the_file_s_own_words() -> None:
    schema = recipe_schema()
    assert "from" in schema["$defs"]["Branch"]["properties"]
    assert schema["additionalProperties"] is False
