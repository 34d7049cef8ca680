"""A recipe's model.py: imported once it is needed, called with the recipe's parameters."""

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, final

from pipeline.data import Built, Data
from pipeline.errors import DataError, PipelineError, RecipeError, StageFailed
from pipeline.recipe import MODEL_FILE, Recipe


@final
@dataclass(frozen=True, slots=True)
class RecipeModule:
    """The functions of a recipe's model.py."""

    recipe: Recipe
    module: ModuleType

    def build_model(self) -> Built:
        """The recipe's untrained (or ready-trained) model.

        Raises:
            RecipeError: a parameter of [model] is none of build_model's.
            StageFailed: build_model raised.
        """
        built = self._call("build_model", "model")
        return built if isinstance(built, Built) else Built(model=built)

    def load_data(self) -> Data:
        """The recipe's data, checked.

        Raises:
            RecipeError: a parameter of [data] is none of load_data's.
            DataError: the arrays do not fit each other.
            StageFailed: load_data raised.
        """
        data = self._call("load_data", "data")
        if not isinstance(data, Data):
            raise DataError(self.recipe.name, f"returned {type(data).__name__}, not Data")
        check_data(data, self.recipe.name)
        return data

    def classes(self) -> dict[str, Any]:
        """Classes of model.py, by which a saved model finds its own layers again."""
        return {name: c for name, c in vars(self.module).items() if inspect.isclass(c)}

    def _call(self, name: str, section: Literal["model", "data"]) -> Any:
        function = getattr(self.module, name, None)
        if not callable(function):
            raise RecipeError(str(self.recipe.folder / MODEL_FILE), name, "is not defined")
        parameters = self.recipe.located(section)
        _check_parameters(self.recipe, function, section, parameters)
        try:
            return function(**parameters)
        except PipelineError:
            raise
        except Exception as exc:
            raise StageFailed(self.recipe.name, name, f"{type(exc).__name__}: {exc}") from exc


def load_module(recipe: Recipe) -> RecipeModule:
    """Import a recipe's model.py.

    Raises:
        RecipeError: it cannot be imported.
    """
    path = recipe.folder / MODEL_FILE
    name = f"deploy_bench_recipe_{recipe.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(str(path), "", "is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and saved layers look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        del sys.modules[name]
        raise RecipeError(
            str(path), "", f"cannot be imported ({type(exc).__name__}: {exc})"
        ) from exc
    return RecipeModule(recipe, module)


def check_data(data: Data, recipe: str) -> None:
    """Check that the arrays of ``data`` fit each other.

    Raises:
        DataError: which split does not, and how.
    """
    shape = data.test.inputs.shape[1:]
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        if split is None:
            continue
        inputs, labels = split.inputs, split.labels
        if str(inputs.dtype) != "float32" or inputs.ndim < 2 or not len(inputs):
            found = f"{inputs.dtype}{list(inputs.shape)}"
            raise DataError(recipe, f"{name}.inputs is {found}, not float32[samples, ...]")
        if inputs.shape[1:] != shape:
            raise DataError(recipe, f"{name}.inputs has samples of {inputs.shape[1:]}, not {shape}")
        if labels is not None and labels.shape != inputs.shape[:1]:
            raise DataError(recipe, f"{name}.labels is {labels.shape} for {len(inputs)} inputs")
    if data.test.labels is None and not data.accuracy_reason:
        raise DataError(recipe, "test.labels is None; give accuracy_reason, which reports show")


def _check_parameters(
    recipe: Recipe, function: Callable[..., Any], section: str, given: dict[str, Any]
) -> None:
    known = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        return
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            valid = f"it takes: {', '.join(known)}"
            hint = f"did you mean {close[0]!r}?" if close else valid
            message = f"is no parameter of {function.__name__}()"
            raise RecipeError(str(recipe.folder / "recipe.toml"), f"{section}.{key}", message, hint)
