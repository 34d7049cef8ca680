from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import Data, Split
from pipeline.errors import DataError, RecipeError, StageFailed
from pipeline.module import RecipeModule, check_data, load_module
from pipeline.recipe import load_recipe

GOOD = """\
import numpy as np
from pipeline.recipe import Data, Split

def load_data(size=12):
    split = Split(inputs=np.zeros((4, size), np.float32), labels=np.arange(4))
    return Data(train=split, test=split)
"""


@pytest.fixture
def module(recipe_folder: Path) -> Callable[[str], RecipeModule]:
    def load(text: str) -> RecipeModule:
        (recipe_folder / "model.py").write_text(text)
        return load_module(load_recipe(recipe_folder))

    return load


Load = Callable[[str], RecipeModule]


def test_functions_get_the_recipe_s_parameters(module: Load) -> None:
    assert module(GOOD).load_data().test.inputs.shape == (4, 12)


def test_an_unknown_parameter_names_the_nearest(module: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        module(GOOD.replace("size=12", "sizes=12").replace("(4, size)", "(4, 2)")).load_data()
    assert caught.value.key == "data.size"
    assert "did you mean 'sizes'?" in str(caught.value)


def test_a_missing_function_is_named(module: Load) -> None:
    with pytest.raises(RecipeError, match="build_model: is not defined"):
        module(GOOD).build_model()


@pytest.mark.parametrize("text", ["import no_such_module", "def (", "1 / 0"])
def test_a_module_that_cannot_be_imported_says_why(module: Load, text: str) -> None:
    with pytest.raises(RecipeError, match="cannot be imported"):
        module(text)


def test_what_a_function_raises_is_chained(module: Load) -> None:
    with pytest.raises(StageFailed, match="KeyError: 'pixels'") as caught:
        module("def load_data(size): raise KeyError('pixels')").load_data()
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_module_that_returns_something_else_is_named(module: Load) -> None:
    with pytest.raises(DataError, match="returned tuple, not Data"):
        module("def load_data(size): return 1, 2").load_data()


IMAGES = np.zeros((4, 2), np.float32)
LABELS = np.zeros(4, int)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (Split(inputs=IMAGES.astype(float)), Split(inputs=IMAGES, labels=LABELS), "float64"),
        (Split(inputs=IMAGES[:0]), Split(inputs=IMAGES, labels=LABELS), r"\[0, 2\]"),
        (Split(inputs=IMAGES[:, :1]), Split(inputs=IMAGES, labels=LABELS), r"not \(2,\)"),
        (Split(inputs=IMAGES), Split(inputs=IMAGES, labels=LABELS[:3]), "for 4 inputs"),
        (Split(inputs=IMAGES), Split(inputs=IMAGES), "accuracy_reason"),
    ],
)
def test_arrays_that_do_not_fit_are_named(train: Split, test: Split, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_data(Data(train=train, test=test), "tiny")
