"""A recipe as a list of calls, each with the hash of everything that decides its output.

Pure but for reading the sources and files that are hashed; TensorFlow is never imported, so what
a build would do can be shown at once.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, Final, final

from pipeline.artifact import NumberFormat
from pipeline.recipe import Branch, Recipe
from pipeline.settings import STAGES, Stage

CACHE_FOLDER: Final = ".cache"
ENTRY_FILE: Final = "entry.json"
_PIPELINE: Final = Path(__file__).parent


class CallKind(StrEnum):
    """What a call does."""

    BUILD = "build"  # build_model(): the recipe's untrained model
    STAGE = "stage"  # one stage of a branch: a Keras model becomes another
    CONVERT = "convert"  # a Keras model becomes a .tflite with its reference outputs


# Whose source decides what a call gives, with all they import: a change there makes its cached
# output stale. Comments count too; training once too often costs less than one stale number.
_EVERY_CALL: Final = "work"
# The engines run in processes of their own, so nothing imports them.
_CONVERT: Final = ("variant", "reference.litert", "reference.tflite_runtime")
# What only says, asks, plans or keeps; no number depends on it.
_IDLE: Final = frozenset({
    "artifact", "cache", "errors", "order", "plan", "recipe", "runner", "settings",
})  # fmt: skip
_TRAINING_PACKAGES: Final = (
    "numpy", "pillow", "scikit-learn", "scipy", "tensorflow", "tensorflow-model-optimization",
    "tf-keras",
)  # fmt: skip
_CONVERT_PACKAGES: Final = (
    *_TRAINING_PACKAGES,
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tflite-runtime",
    "zstandard",
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One step of a plan.

    Attributes:
        key: sha256 over everything that decides the output; the name it is cached under.
        label: "build", "dense/train", "dense/int8".
        name: "build", a stage's name, or a number format.
        parent: key of the call whose model this one takes; None for "build".
        variant: the variant a conversion makes.
        teacher: key of the call whose model a stage learns from.
    """

    key: str
    kind: CallKind
    label: str
    name: str
    parameters: Mapping[str, Any]
    parent: str | None = None
    variant: str | None = None
    teacher: str | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Calls in an order in which every parent comes first."""

    recipe: Recipe
    calls: tuple[Call, ...]
    code_sha256: str
    packages: Mapping[str, str]

    def call(self, key: str) -> Call:
        """The call of that key."""
        return next(call for call in self.calls if call.key == key)

    def lineage(self, call: Call) -> tuple[Call, ...]:
        """The call and everything before it, the first first."""
        before = () if call.parent is None else self.lineage(self.call(call.parent))
        return (*before, call)

    @property
    def conversions(self) -> tuple[Call, ...]:
        """The calls that make variants, in the recipe's order."""
        return tuple(call for call in self.calls if call.kind is CallKind.CONVERT)


def plan_recipe(recipe: Recipe) -> Plan:
    """Plan what building ``recipe`` takes.

    Raises:
        RecipeError: a file the recipe names cannot be read.
    """
    surroundings = _Surroundings.of(recipe)
    calls = tuple(_calls(recipe, surroundings))
    stages = {call.name for call in calls if call.kind is CallKind.STAGE}
    sources = _sources(_EVERY_CALL, *_CONVERT, *(f"stages.{stage}" for stage in stages))
    return Plan(
        recipe=recipe,
        calls=calls,
        code_sha256=_hash({**sources, "recipe": surroundings.code}),
        packages=_versions(_CONVERT_PACKAGES),
    )


def entry_folder(folder: Path, key: str) -> Path:
    """Where the output of a call is cached under ``folder``."""
    return folder / CACHE_FOLDER / key


def describe_plan(plan: Plan, folder: Path | None = None) -> str:
    """The plan as a table; with ``folder`` it says what is cached there."""
    rows = [("call", "parameters", "key", "cached"[: 6 if folder else 0])]
    for call in plan.calls:
        cached = folder is not None and (entry_folder(folder, call.key) / ENTRY_FILE).is_file()
        state = "" if folder is None else ("yes" if cached else "no")
        shown = ", ".join(f"{name}={value}" for name, value in _asked(call).items())
        rows.append((call.label, shown, call.key[:12], state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join((f"{plan.recipe.name}: {plan.recipe.summary}", *lines))


def _asked(call: Call) -> Mapping[str, Any]:
    """A call's parameters without those of a stage that nobody set."""
    if call.kind is not CallKind.STAGE:
        return call.parameters
    settings = STAGES[call.name].model_validate({"stage": call.name, **call.parameters})
    return settings.model_dump(mode="json", exclude={"stage"}, exclude_defaults=True)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    """What lies around a recipe and decides what its functions give."""

    code: Mapping[str, str]  # sha256 of each source in the recipe's folder, and of what it imports
    files: tuple[Any, ...]  # fingerprint of everything its parameters point at

    @classmethod
    def of(cls, recipe: Recipe) -> "_Surroundings":
        folder = recipe.folder
        sources = sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)
        taken = chain.from_iterable(_modules_in(path.read_bytes()) for path in sources)
        return cls(
            code={
                **{p.relative_to(folder).as_posix(): _file_hash(p) for p in sources},
                **{f"pipeline.{name}": sha for name, sha in _sources(*taken).items()},
            },
            files=tuple(_fingerprint(path) for path in recipe.paths()),
        )


def _calls(recipe: Recipe, around: _Surroundings) -> Iterator[Call]:
    build = _build_call(recipe, around)
    yield build
    data = _hash({"code": around.code, "files": around.files, "data": recipe.data})
    ends: dict[str | None, str] = {None: build.key}
    for branch in recipe.branch:
        parent = ends[branch.start]
        for stage in branch.stages:
            teacher = None if stage.distil is None else ends[stage.distil.teacher]
            call = _stage_call(
                recipe, f"{branch.name}/{stage.stage}", stage, (parent, teacher), data
            )
            yield call
            parent = call.key
        ends[branch.name] = parent
        for number_format in branch.formats:
            yield _convert_call(recipe, branch, number_format, parent, data)


def _build_call(recipe: Recipe, around: _Surroundings) -> Call:
    parameters = dict(recipe.model)
    key = _hash({
        "kind": "build", "parameters": parameters, "seed": recipe.seed, "code": around.code,
        "files": around.files, "sources": _sources(_EVERY_CALL),
        "packages": _versions(_TRAINING_PACKAGES),
    })  # fmt: skip
    return Call(key=key, kind=CallKind.BUILD, label="build", name="build", parameters=parameters)


def _stage_call(
    recipe: Recipe, label: str, stage: Stage, models: tuple[str, str | None], data: str
) -> Call:
    parameters = stage.model_dump(mode="json", exclude={"stage"}, exclude_none=True)
    parent, teacher = models
    key = _hash({
        "kind": stage.stage, "parameters": parameters, "seed": recipe.seed, "parent": parent,
        "teacher": teacher, "data": data,
        "sources": _sources(_EVERY_CALL, f"stages.{stage.stage}"),
        "packages": _versions(_TRAINING_PACKAGES),
    })  # fmt: skip
    return Call(
        key=key, kind=CallKind.STAGE, label=label, name=stage.stage, parameters=parameters,
        parent=parent, teacher=teacher,
    )  # fmt: skip


def _convert_call(
    recipe: Recipe, branch: Branch, number_format: NumberFormat, parent: str, data: str
) -> Call:
    samples = recipe.bench.samples
    quantize = recipe.quantize.model_dump()
    key = _hash({
        "kind": "convert", "format": number_format, "samples": samples, "seed": recipe.seed,
        "quantize": quantize,
        "parent": parent, "data": data, "sources": _sources(_EVERY_CALL, *_CONVERT),
        "packages": _versions(_CONVERT_PACKAGES),
    })  # fmt: skip
    return Call(
        key=key, kind=CallKind.CONVERT, label=f"{branch.name}/{number_format}",
        name=number_format.value, parameters={"samples": samples or "all"}, parent=parent,
        variant=f"{branch.name}_{number_format}",
    )  # fmt: skip


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sources(*modules: str) -> dict[str, str]:
    """sha256 of the modules of this package, and of all that they import of it."""
    reached: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in _IDLE:
            reached[module], imported = _read_source(module)
            waiting += imported
    return dict(sorted(reached.items()))


@cache
def _read_source(module: str) -> tuple[str, tuple[str, ...]]:
    """A module's sha256, and the modules of this package that it imports."""
    content = (_PIPELINE / f"{module.replace('.', '/')}.py").read_bytes()
    return hashlib.sha256(content).hexdigest(), _modules_in(content)


def _modules_in(source: bytes) -> tuple[str, ...]:
    """The modules of this package that a source imports, at its top or inside functions."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # importing it will say so
        return ()
    named = chain.from_iterable(_imported(node) for node in ast.walk(tree))
    within = {name.removeprefix("pipeline.") for name in named if name.startswith("pipeline.")}
    return tuple(m for m in sorted(within) if (_PIPELINE / f"{m.replace('.', '/')}.py").is_file())


def _imported(node: ast.AST) -> list[str]:
    """Names that may be modules: ``from pipeline.export import tflite`` names two."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
        case _:
            return []


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {package: _version(package) for package in packages}


def _fingerprint(path: Path) -> Any:
    """Names, sizes and times; reading a folder of images for every plan would take too long."""
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): _stamp(p) for p in inside}
    return _stamp(path) if path.is_file() else None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
