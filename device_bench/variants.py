"""What is measured: the variants of recipes, built here, or finished models.

With device_bench.analysis the only module that loads the pipeline's stages, and only when something
is built.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from device_bench.progress import Progress
from device_bench.stopwatch import Stopwatch
from pipeline.artifact import (
    Artifact,
    check_model_file,
    describe,
    load_artifacts,
    sha256_of,
)

if TYPE_CHECKING:
    from pipeline.own.intake import OwnModel
    from pipeline.runner import StageEvent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The artifacts of one recipe, with its sentence about itself and the threads it asks for."""

    summary: str
    artifacts: tuple[Artifact, ...]
    threads: tuple[int, ...] = (1,)


def check_recipes(names: Sequence[str]) -> None:
    """Read every recipe, so that a wrong one is told before anything is built.

    Raises:
        RecipeError: a recipe is unknown or wrong.
    """
    from pipeline.recipe import find_recipe, load_recipe

    for name in names:
        load_recipe(find_recipe(name))


def write_recipe(own: "OwnModel", progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """Write the recipe of a model of the user's own, or find it written.

    Returns:
        The recipe's folder, and what the user must know or look into.

    Raises:
        PipelineError: the model or the data cannot be used; nothing was written.
    """
    from pipeline.own.intake import take_in

    taken = take_in(own, lambda doing: progress.step("your model", doing, 0, 1))
    return taken.folder, (
        f"recipe {taken.folder}: {taken.state}, for editing",
        *taken.remarks,
    )


def build_recipes(
    names: Sequence[str], folder: Path, progress: Progress, watch: Stopwatch
) -> tuple[Variants, ...]:
    """Compress and convert recipes; a cached stage costs nothing and loads no TensorFlow.

    Raises:
        PipelineError: a recipe is wrong, or a stage failed.
    """
    from pipeline.plan import plan_recipe
    from pipeline.recipe import find_recipe, load_recipe
    from pipeline.runner import perform

    built = []
    for recipe in (load_recipe(find_recipe(name)) for name in names):
        with watch.step(f"build {recipe.name}"):
            artifacts = perform(plan_recipe(recipe), folder, stage_teller(recipe.name, progress))
        built.append(
            Variants(summary=recipe.summary, artifacts=artifacts, threads=recipe.bench.threads)
        )
    return tuple(built)


def variants_of(models: Sequence[Path], folder: Path) -> tuple[Variants, ...]:
    """Artifacts of finished models: folders with artifact.json, or bare .tflite files.

    Raises:
        BadModelFile, BadArtifact: one of them cannot be used; nothing was pushed anywhere.
    """
    folders = [path for path in models if path.is_dir()]
    files = [path for path in models if not path.is_dir()]
    for path in files:
        check_model_file(path)
    groups = [Variants(summary=f"artifacts of {f}", artifacts=load_artifacts(f)) for f in folders]
    if files:
        described = [describe(path, folder / "bare" / sha256_of(path)[:16]) for path in files]
        groups.append(Variants(summary="finished models", artifacts=_side_by_side(described)))
    return tuple(groups)


def _side_by_side(described: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """Bare models as variants of one recipe; the first is the baseline, names are unique."""
    names: list[str] = []
    for artifact in described:
        taken = names.count(artifact.variant)
        names.append(artifact.variant)
        if taken:
            names[-1] = f"{artifact.variant}-{taken + 1}"
    return tuple(
        artifact.model_copy(update={"recipe": "models", "variant": name, "baseline": names[0]})
        for artifact, name in zip(described, names, strict=True)
    )


def stage_teller(name: str, progress: Progress) -> "Callable[[StageEvent], None]":
    """What the pipeline says of its stages, as steps of the progress."""

    def tell(event: "StageEvent") -> None:
        done = event.index + (event.state in ("finished", "cached"))
        progress.step(f"build {name}", _stage_words(event), done, event.count)

    return tell


def _stage_words(event: "StageEvent") -> str:
    match event.state:
        case "progress":
            return f"{event.label}, epoch {event.step} of {event.steps}: {event.message}"
        case "finished":
            return f"{event.label} took {event.seconds:.0f} s"
        case "cached":
            return f"{event.label} is there already"
        case "started":
            return event.label
