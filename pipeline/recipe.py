"""What may be asked: a recipe is a folder with ``recipe.toml`` and ``model.py``.

The folder's name is the recipe's name, so a copied folder is a new recipe. Nothing here imports
the model or TensorFlow; a recipe can be listed, checked and planned in milliseconds.
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, final

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from pipeline.artifact import NumberFormat
from pipeline.data import Built, Data, Split
from pipeline.errors import RecipeError
from pipeline.order import Trait, check_formats, traits_after
from pipeline.settings import STAGES, Asked, Distil, Stage

__all__ = [
    "Bench",
    "Branch",
    "Built",
    "Data",
    "ListedRecipe",
    "Recipe",
    "RecipeError",
    "Split",
    "Stage",
    "find_recipe",
    "list_recipes",
    "load_recipe",
    "recipe_schema",
]

RECIPE_FILE = "recipe.toml"
MODEL_FILE = "model.py"
_NAME = r"^[a-z0-9][a-z0-9_]*$"
# Parameters named so are paths: relative ones start at the recipe's folder, and what they point
# at belongs to the content hash of every stage that reads them.
_PATH_KEY = re.compile(r"(^|_)(file|folder|path)$")

Parameter = bool | int | float | str | list[int] | list[float] | list[str]


@final
class Branch(Asked):
    """A line of stages from the untrained model, or from the end of another branch."""

    name: str = Field(pattern=_NAME)
    start: str | None = Field(None, alias="from", description="branch this one starts from")
    stages: tuple[Stage, ...] = Field(())
    formats: tuple[NumberFormat, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_format_once(self) -> Self:
        if len(set(self.formats)) != len(self.formats):
            raise ValueError("formats names one twice")
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants this branch ends in."""
        return tuple(f"{self.name}_{number_format}" for number_format in self.formats)


@final
class Quantize(Asked):
    """How conversions choose, where they have a choice."""

    calibration_samples: PositiveInt = Field(
        128, description="training samples that ranges are taken from, each class alike"
    )
    tolerance: float = Field(
        0.01, ge=0, lt=1, description="validation accuracy that format mixed may lose"
    )


@final
class Bench(Asked):
    """What a phone is asked to do with the variants, where the command line does not say."""

    threads: tuple[PositiveInt, ...] = Field((1,), min_length=1)
    samples: PositiveInt | None = Field(
        None, description="test samples each phone runs, spread over the split; all when left out"
    )


@final
class Recipe(Asked):
    """One recipe, as asked."""

    name: str = Field("", description="the folder's name; may be left out")
    summary: str = Field(min_length=1)
    seed: NonNegativeInt = Field(0, description="of weights, shuffling and augmentation")
    task: Literal["classification"] = "classification"
    baseline: str = Field("", description="variant the others are compared with; the first one")
    model: dict[str, Parameter] = Field({}, description="parameters of build_model")
    data: dict[str, Parameter] = Field({}, description="parameters of load_data")
    depends_on: tuple[str, ...] = Field(
        (), description="files model.py reads that are not parameters; they may be missing"
    )
    branch: tuple[Branch, ...] = Field(min_length=1)
    quantize: Quantize = Field(default_factory=lambda: Quantize.model_validate({}))
    bench: Bench = Field(default_factory=lambda: Bench.model_validate({}))

    _folder: Path = PrivateAttr(default=Path())
    _sha256: str = PrivateAttr(default="")

    @model_validator(mode="before")
    @classmethod
    def _default_baseline(cls, document: Any) -> Any:
        """The first variant is what the others are compared with, unless another is named."""
        match document:
            case {"baseline": _}:
                return document
            case {"branch": [{"name": str(name), "formats": [str(first), *_]}, *_]}:
                return {**document, "baseline": f"{name}_{first}"}
            case _:
                return document

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        known: list[str] = []
        traits: dict[str | None, frozenset[Trait]] = {None: frozenset()}
        for branch in self.branch:
            if branch.name in known:
                raise ValueError(f"branch {branch.name!r} is there twice")
            if branch.start is not None and branch.start not in known:
                above = ", ".join(known) or "none"
                raise ValueError(
                    f"branch {branch.name!r} is from {branch.start!r}, but above it: {above}"
                )
            traits[branch.name] = _checked(branch, traits[branch.start], known)
            known.append(branch.name)
        if self.baseline not in self.variants:
            variants = ", ".join(self.variants)
            raise ValueError(f"baseline {self.baseline!r} is none of the variants: {variants}")
        return self

    @property
    def folder(self) -> Path:
        """The folder of recipe.toml and model.py."""
        return self._folder

    @property
    def sha256(self) -> str:
        """Of recipe.toml's bytes."""
        return self._sha256

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of all variants, in the recipe's order."""
        return tuple(name for branch in self.branch for name in branch.variants)

    def located(self, section: Literal["model", "data"]) -> dict[str, Any]:
        """Parameters of a section, with path parameters made absolute."""
        given = self.model if section == "model" else self.data
        return {k: str(self._at(v)) if _is_path(k, v) else v for k, v in given.items()}

    def paths(self) -> tuple[Path, ...]:
        """Everything outside the recipe's folder that its content hashes must cover."""
        given = [*self.model.items(), *self.data.items()]
        named = [str(value) for key, value in given if _is_path(key, value)]
        return tuple(map(self._at, (*named, *self.depends_on)))

    def _at(self, path: Any) -> Path:
        return (self.folder / Path(str(path)).expanduser()).absolute()


@final
class ListedRecipe(BaseModel):
    """A folder that holds a recipe, whole or not."""

    name: str
    folder: Path
    summary: str | None
    variants: tuple[str, ...]
    problem: str | None  # why it cannot be used


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Args:
        path: its folder, or the ``recipe.toml`` in it.

    Raises:
        RecipeError: with the file, the key and what would be right.
    """
    file = path / RECIPE_FILE if path.is_dir() else path
    content = _content(file)
    try:
        document = tomllib.loads(content.decode("utf-8"))
        recipe = Recipe.model_validate(document)
    except ValidationError as exc:
        raise _explained(file, exc) from exc
    except ValueError as exc:  # not TOML, or not UTF-8
        raise RecipeError(str(file), "", f"is not TOML: {exc}") from exc
    name = file.absolute().parent.name
    recipe = recipe.model_copy(update={"name": recipe.name or name})
    recipe._folder, recipe._sha256 = file.absolute().parent, hashlib.sha256(content).hexdigest()
    _check_surroundings(recipe, file, name)
    return recipe


def find_recipe(name_or_path: str, models: tuple[Path, ...] | None = None) -> Path:
    """The folder of a recipe, by its name or by a path to it or to its recipe.toml.

    Args:
        name_or_path: what the user gave.
        models: folders to look for names in; by default ``./models``, then the ones shipped.

    Raises:
        RecipeError: there is none; the message lists those that exist.
    """
    given = Path(name_or_path).expanduser()
    if given.name == RECIPE_FILE and given.is_file():
        return given.parent
    for folder in (given, *(root / name_or_path for root in _roots(models))):
        if (folder / RECIPE_FILE).is_file():
            return folder
    names = [recipe.name for recipe in list_recipes(models)]
    close = difflib.get_close_matches(name_or_path, names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(names) or 'none'}"
    raise RecipeError(name_or_path, "", "is no recipe and no folder that holds one", hint)


def list_recipes(models: tuple[Path, ...] | None = None) -> tuple[ListedRecipe, ...]:
    """Every recipe by name; one that cannot be used says why instead of hiding the others."""
    found: dict[str, ListedRecipe] = {}
    for root in _roots(models):
        for file in sorted(root.glob(f"*/{RECIPE_FILE}")):
            found.setdefault(file.parent.name, _listed(file))
    return tuple(found[name] for name in sorted(found))


def recipe_schema() -> dict[str, Any]:
    """JSON schema of recipe.toml, for editors that complete and check while typing."""
    return Recipe.model_json_schema(by_alias=True)


def _checked(branch: Branch, traits: frozenset[Trait], above: list[str]) -> frozenset[Trait]:
    """What the branch's end holds; ValueError when its stages or formats contradict."""
    try:
        for stage in branch.stages:
            traits = traits_after(traits, stage.stage)
            if stage.distil is not None and stage.distil.teacher not in above:
                known = ", ".join(above) or "none"
                raise ValueError(f"teacher {stage.distil.teacher!r} is no branch above: {known}")
        check_formats(traits, branch.formats)
    except ValueError as exc:
        raise ValueError(f"branch {branch.name!r}: {exc}") from exc
    return traits


def _roots(models: tuple[Path, ...] | None) -> tuple[Path, ...]:
    if models is not None:
        return models
    # The shipped recipes lie beside this package, in a clone and when installed.
    return Path("models"), Path(__file__).parent.parent / "models"


def _listed(file: Path) -> ListedRecipe:
    name, folder = file.parent.name, file.parent
    try:
        recipe = load_recipe(file)
    except RecipeError as exc:
        return ListedRecipe(name=name, folder=folder, summary=None, variants=(), problem=str(exc))
    return ListedRecipe(
        name=name, folder=folder, summary=recipe.summary, variants=recipe.variants, problem=None
    )


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise RecipeError(str(file), "", f"cannot be read ({exc.strerror})") from exc


def _check_surroundings(recipe: Recipe, file: Path, name: str) -> None:
    if recipe.name != name:
        hint = f"rename the folder, or write name = {name!r}, or leave it out"
        raise RecipeError(str(file), "name", f"is {recipe.name!r} in folder {name!r}", hint)
    if not re.match(_NAME, name):
        raise RecipeError(str(file), "name", f"{name!r} is not made of a-z, 0-9 and _")
    if not (recipe.folder / MODEL_FILE).is_file():
        hint = "write it with build_model(**) and load_data(**); models/digits_mobile is an example"
        raise RecipeError(str(file), "", f"there is no {MODEL_FILE} beside it", hint)
    for section in ("model", "data"):
        given = recipe.model if section == "model" else recipe.data
        for key, value in given.items():
            if _is_path(key, value) and not (where := recipe._at(value)).exists():
                raise RecipeError(str(file), f"{section}.{key}", f"{where} does not exist")


def _is_path(key: str, value: Any) -> bool:
    return isinstance(value, str) and _PATH_KEY.search(key) is not None


def _explained(file: Path, exc: ValidationError) -> RecipeError:
    """The first fault in the words of the file: key, what is wrong, what would be right."""
    # A misspelt key shows as one that is missing, too; the unknown one tells more.
    fault = min(exc.errors(), key=lambda f: f["type"] != "extra_forbidden")
    key = "".join(_key_parts(fault["loc"])).lstrip(".")
    return RecipeError(str(file), key, *_in_words(fault))


def _in_words(fault: ErrorDetails) -> tuple[str, str]:
    """What is wrong, and what would be right."""
    match fault["type"]:
        case "extra_forbidden":
            return "is no key here", _nearest(str(fault["loc"][-1]), _valid(fault["loc"]))
        case "union_tag_invalid":
            tag = str(fault["ctx"]["tag"]).strip("'")
            return f"stage {tag!r} does not exist", _nearest(tag, list(STAGES))
        case "union_tag_not_found":
            return "names no stage", f"there is: {', '.join(STAGES)}"
        case "missing":
            return "is missing", ""
        case _:
            return fault["msg"].removeprefix("Value error, "), ""


def _key_parts(loc: tuple[int | str, ...]) -> Iterator[str]:
    """``branch[1].stages[0].epochs``; pydantic puts the union's tag behind the index."""
    for before, part in zip((None, *loc), loc, strict=False):
        if isinstance(part, int):
            yield f"[{part}]"
        elif not (isinstance(before, int) and part in STAGES):
            yield f".{part}"


def _valid(loc: tuple[int | str, ...]) -> list[str]:
    """Keys that are right beside an unknown one."""
    match loc:
        case ("branch", int(), "stages", int(), str(tag), _):
            model: type[BaseModel] = STAGES[tag]
        case ("branch", int(), "stages", int(), str(), "distil", _):
            model = Distil
        case ("quantize", _):
            model = Quantize
        case ("branch", int(), _):
            model = Branch
        case ("bench", _):
            model = Bench
        case _:
            model = Recipe
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(given: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(given, valid, 1)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(valid)}"
