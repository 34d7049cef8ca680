"""The ``deploy-bench`` command.

Imports happen inside the commands: ``--help`` must answer at once, and only commands that
compress may load the pipeline's stages.
"""

import contextlib
import dataclasses
import functools
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, ParamSpec, TypeVar

import typer

from android_harness.errors import FailureKind, HarnessError, NoPhone, ToolMissing
from device_bench.errors import BenchError, UnknownBench
from device_bench.exits import HELP, Exit
from pipeline.errors import ConversionError, PipelineError, ReferenceFailed, StageFailed

if TYPE_CHECKING:
    from device_bench.progress import Progress
    from device_bench.record import Protocol
    from device_bench.report.model import Report
    from device_bench.stopwatch import Stopwatch
    from device_bench.targets import Selection
    from device_bench.variants import Variants
    from pipeline.artifact import NumberFormat

P = ParamSpec("P")
R = TypeVar("R")

OUT = Path("out")
STORE_FILE = "bench.sqlite"

app = typer.Typer(
    name="deploy-bench",
    help="Compress a model, run every variant on the phone, and report which one to ship.\n\n"
    + HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Phones = Annotated[
    list[str] | None,
    typer.Option("--phone", help="serial or host:port; may be repeated; default: all connected"),
]
Virtual = Annotated[
    str,
    typer.Option(
        help="auto (when no phone is connected), none, container, kvm, emulated, simulated"
    ),
]
Out = Annotated[Path, typer.Option(help="folder of the store and the reports")]
Blocks = Annotated[int, typer.Option(min=2, max=1000, help="fresh processes per variant")]
Threads = Annotated[str | None, typer.Option(help="thread counts, e.g. 1,4; default: the recipe's")]
MinSeconds = Annotated[
    float, typer.Option(min=0.0, max=60.0, help="shortest timed loop of a block")
]
Recipes = Annotated[list[str] | None, typer.Argument(help="recipe names or folders")]
Model = Annotated[
    Path | None,
    typer.Option(help="a Keras model of your own (.keras, .h5, SavedModel); makes its recipe"),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="for --model: folder of images per class, images alone, .npz with x and y, "
        "or 'synthetic' (size and latency only)"
    ),
]
RecipeDir = Annotated[
    Path | None, typer.Option(help="where --model's recipe lies; default: models/<file's name>")
]
Size = Annotated[
    str | None, typer.Option(help="input size where the model leaves it open: 224, or 192x256")
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="of pixels: 0..1, -1..1, 0..255, imagenet, caffe; default: under which the model "
        "is right most often, without labels 0..1 (0..255 when the model scales itself)"
    ),
]
Custom = Annotated[
    list[str] | None,
    typer.Option(help="layer class of your own, package.module:Class; may be repeated"),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="run Python code inside the model file (Lambda layers)")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="only the result")]


def main() -> None:
    """Run the command; ``kill`` is treated like Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _shown(path: Path) -> Path:
    """A path as people type it: relative where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _told(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every foreseen error into one clear message and its exit code."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            _complain("stopped; what was finished is stored, the same command goes on from there")
            raise typer.Exit(Exit.INTERRUPTED) from None
        except (HarnessError, PipelineError, BenchError) as exc:
            _complain(str(exc))
            raise typer.Exit(_exit_of(exc)) from exc

    return guarded


@app.command()
@_told
def run(  # noqa: PLR0913  (typer reads the options off the signature)
    recipes: Recipes = None,
    model: Model = None,
    data: Data = None,
    recipe_dir: RecipeDir = None,
    size: Size = None,
    scale: Scale = None,
    custom: Custom = None,
    trust: Trust = False,
    phone: Phones = None,
    virtual: Virtual = "auto",
    out: Out = OUT,
    blocks: Blocks = 5,
    threads: Threads = None,
    min_s: MinSeconds = 1.0,
    quiet: Quiet = False,
) -> None:
    """Build recipes, measure every variant on every phone, write the reports.

    Example: deploy-bench run digits_mobile mobilenet_v2 --phone 37251FDJG0 --threads 1,4

    A model of your own: deploy-bench run --model flowers.keras --data photos/
    """
    from device_bench.stopwatch import Stopwatch
    from device_bench.variants import build_recipes, check_recipes

    selection, protocol = _selection(phone, virtual), _protocol(blocks, threads, min_s)
    given = _Own(model, data, recipe_dir, size, scale, custom or (), trust)
    named = _recipes(recipes, given, quiet)
    check_recipes(named)
    watch = Stopwatch()
    with _progress(quiet) as progress:
        variants = build_recipes(named, _variants_folder(), progress, watch)
        bench = _measure(variants, selection, protocol, out, progress, watch)
    _finish(out, bench)


@app.command()
@_told
def build(  # noqa: PLR0913  (typer reads the options off the signature)
    recipes: Recipes = None,
    model: Model = None,
    data: Data = None,
    recipe_dir: RecipeDir = None,
    size: Size = None,
    scale: Scale = None,
    custom: Custom = None,
    trust: Trust = False,
    quiet: Quiet = False,
) -> None:
    """Compress and convert only; nothing is measured.

    Example: deploy-bench build digits_mobile

    A model of your own: deploy-bench build --model flowers.keras --data photos/
    """
    from device_bench.stopwatch import Stopwatch
    from device_bench.variants import build_recipes, check_recipes

    given = _Own(model, data, recipe_dir, size, scale, custom or (), trust)
    named = _recipes(recipes, given, quiet)
    check_recipes(named)
    watch = Stopwatch()
    with _progress(quiet) as progress:
        groups = build_recipes(named, _variants_folder(), progress, watch)
    for artifact in (a for group in groups for a in group.artifacts):
        accuracy = "-" if artifact.accuracy is None else f"{100 * artifact.accuracy.value:.1f} %"
        sizes = f"{artifact.bytes / 1000:>9.1f} kB {artifact.bytes_zstd / 1000:>9.1f} kB zstd"
        name = f"{artifact.recipe:<16} {artifact.variant:<18}"
        typer.echo(f"{name} {sizes} {accuracy:>7}  {_shown(artifact.model_path)}")


@app.command()
@_told
def bench(
    models: Annotated[list[Path], typer.Argument(help=".tflite files, or folders of artifacts")],
    phone: Phones = None,
    virtual: Virtual = "auto",
    out: Out = OUT,
    blocks: Blocks = 5,
    threads: Threads = None,
    min_s: MinSeconds = 1.0,
    quiet: Quiet = False,
) -> None:
    """Measure finished models; the first one is the baseline. Loads no TensorFlow.

    Example: deploy-bench bench float.tflite int8.tflite --phone 192.168.1.20:5555
    """
    from device_bench.stopwatch import Stopwatch
    from device_bench.variants import variants_of

    selection, protocol = _selection(phone, virtual), _protocol(blocks, threads, min_s)
    variants = variants_of(models, _variants_folder())
    watch = Stopwatch()
    with _progress(quiet) as progress:
        measured = _measure(variants, selection, protocol, out, progress, watch)
    _finish(out, measured)


@app.command()
@_told
def report(
    bench: Annotated[str | None, typer.Argument(help="bench id; default: the newest")] = None,
    out: Out = OUT,
    schema: Annotated[bool, typer.Option("--schema", help="print report.json's schema")] = False,
) -> None:
    """Write a stored bench's report again.

    Example: deploy-bench report
    """
    if schema:
        import json

        from device_bench.report.html import report_schema

        typer.echo(json.dumps(report_schema(), indent=2))
        return
    from device_bench.store import opened

    with opened(out / STORE_FILE) as store:
        found = bench or next((b.id for b in store.benches()), None)
    if found is None:
        _complain(f"{out / STORE_FILE} holds no bench yet; run: deploy-bench run digits_mobile")
        raise typer.Exit(Exit.USAGE)
    _finish(out, found)


@app.command()
@_told
def plan(recipe: Annotated[str, typer.Argument(help="recipe name or folder")]) -> None:
    """Print what building a recipe would do, and which parts are done already.

    Example: deploy-bench plan digits_mobile
    """
    from pipeline.plan import describe_plan, plan_recipe
    from pipeline.recipe import find_recipe, load_recipe

    typer.echo(describe_plan(plan_recipe(load_recipe(find_recipe(recipe))), _variants_folder()))


@app.command()
@_told
def recipe(
    schema: Annotated[
        bool, typer.Option("--schema", help="print the recipe's JSON schema")
    ] = False,
) -> None:
    """List the recipes, or print the schema of recipe.toml.

    Example: deploy-bench recipe --schema
    """
    from pipeline.recipe import list_recipes, recipe_schema

    if schema:
        import json

        typer.echo(json.dumps(recipe_schema(), indent=2))
        return
    for found in list_recipes():
        typer.echo(f"{found.name:<20} {found.problem or found.summary}")


@app.command()
@_told
def analyse(
    recipe: Annotated[str, typer.Argument(help="recipe name or folder")],
    branch: Annotated[
        str | None, typer.Option(help="branch to start from; default: the first")
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            help="wanted share of the float32 model's time; default: 0.25, unless --size is given",
        ),
    ] = None,
    points: Annotated[
        float, typer.Option(min=0.0, max=100.0, help="accuracy points that may be lost")
    ] = 1.0,
    size: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, help="wanted share of the float32 file's compressed size"),
    ] = None,
    out: Out = OUT,
    quiet: Quiet = False,
) -> None:
    """Find out what a model has too much of, and propose a branch that compresses it.

    Example: deploy-bench analyse digits_mobile --latency 0.25 --points 1.0
    """
    from device_bench.analysis import analyse as analysed
    from device_bench.analysis import goal_of, told, write_page

    goal = goal_of(latency, points, size)
    with _progress(quiet) as progress:
        found = analysed(recipe, branch, goal, _variants_folder(), progress)
    typer.echo(told(found))
    typer.echo(f"page: {_shown(write_page(found, out))}")


@app.command()
@_told
def staircase(
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="float32 or int8; may be repeated; default: both"),
    ] = None,
    phone: Phones = None,
    virtual: Virtual = "auto",
    out: Out = OUT,
    blocks: Blocks = 5,
    min_s: MinSeconds = 0.2,
    quiet: Quiet = False,
) -> None:
    """Measure at which multiples of channels convolutions get dearer on a phone.

    The answer is what prune_channels should round widths to: multiple = ... in recipe.toml.

    Example: deploy-bench staircase --phone 37251FDJG0 --format int8
    """
    from device_bench.report.build import build_report
    from device_bench.staircase import as_json, read_phones, rungs, told
    from device_bench.stopwatch import Stopwatch
    from device_bench.store import opened

    wanted = _staircase_formats(formats)
    selection = dataclasses.replace(_selection(phone, virtual), timed=True)
    protocol = _protocol(blocks, "1", min_s)
    with _progress(quiet) as progress:
        variants = rungs(wanted, _variants_folder(), progress)
        bench = _measure(variants, selection, protocol, out, progress, Stopwatch())
    with opened(out / STORE_FILE) as store:
        found = read_phones(build_report(store, bench), wanted)
    for label, staircases in found.items():
        typer.echo("\n".join([label, *map(told, staircases)]))
    file = out / bench / "staircase.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_json(found), encoding="utf-8")
    typer.echo(f"staircase: {_shown(file)}")
    if not found:
        _complain("no phone that was measured keeps a clock that tells latency")
        raise typer.Exit(Exit.NO_PHONE)


@app.command()
@_told
def devices() -> None:
    """List the connected phones, and what to do about each that cannot be used."""
    from android_harness.phones import list_phones
    from device_bench.listing import describe_phones

    typer.echo(describe_phones(list_phones()))


@app.command()
@_told
def clean(
    phone: Annotated[list[str], typer.Option("--phone", help="serial or host:port")],
) -> None:
    """Remove everything of ours from a phone: cached models, the runner, what dead runs left.

    Example: deploy-bench clean --phone 37251FDJG0
    """
    from android_harness.phone import Phone
    from android_harness.phones import connect
    from android_harness.places import REMOTE_ROOT
    from android_harness.session import quoted

    for selector in phone:
        with connect(selector) as transport:
            Phone(transport).run(f"rm -rf {quoted(REMOTE_ROOT)}", timeout_s=60.0)
        typer.echo(f"{selector}: {REMOTE_ROOT} is gone")


class _Own(NamedTuple):
    """The options about a model of the user's own, as typed."""

    model: Path | None
    data: str | None
    recipe_dir: Path | None
    size: str | None
    scale: str | None
    custom: Sequence[str]
    trust: bool


def _recipes(recipes: list[str] | None, given: _Own, quiet: bool) -> list[str]:
    """The recipes to build: those named, and the one of the user's own model."""
    if given.model is None:
        if any(given):
            raise typer.BadParameter("describes a model, but there is no --model", param_hint=(
                "--" + next(k for k, v in given._asdict().items() if v).replace("_", "-")
            ))  # fmt: skip
        if not recipes:
            raise typer.BadParameter("name a recipe, or give --model", param_hint="recipes")
        return recipes
    from device_bench.variants import check_recipes, write_recipe
    from pipeline.own.intake import OwnModel

    check_recipes(recipes or [])  # before anything is written
    own = OwnModel(
        model=given.model, data=given.data, folder=given.recipe_dir, size=given.size,
        scale=given.scale, custom=tuple(given.custom), trust=given.trust,
    )  # fmt: skip
    with _progress(quiet) as progress:
        folder, remarks = write_recipe(own, progress)
    for remark in remarks[quiet:]:  # where the recipe lies is no warning
        typer.echo(remark, err=True)
    return [*(recipes or []), str(folder)]


def _measure(
    variants: "tuple[Variants, ...]",
    selection: "Selection",
    protocol: "Protocol",
    out: Path,
    progress: "Progress",
    watch: "Stopwatch",
) -> str:
    from device_bench.bench import measure
    from device_bench.store import opened

    with opened(out / STORE_FILE) as store:
        return measure(variants, selection, protocol, store, progress, watch).id


def _finish(out: Path, bench: str) -> None:
    """Write the report, say the answers, and end with the exit code the results deserve."""
    from device_bench.report.build import build_report
    from device_bench.report.html import write_report
    from device_bench.store import opened

    with opened(out / STORE_FILE) as store:
        made = build_report(store, bench)
    files = write_report(made, out / bench)
    for phone in made.phones:
        for found in phone.recipes:
            typer.echo(
                f"{found.recipe} [{phone.evidence}: {phone.fidelity}] {found.answer.headline}"
            )
    took = ", ".join(f"{t.step} {t.seconds:.0f} s" for t in made.timings)
    typer.echo(f"took: {took}")
    typer.echo(f"report: {files.index}")
    raise typer.Exit(_judged(made))


def _judged(made: "Report") -> Exit:
    variants = [v for p in made.phones for r in p.recipes for v in r.variants]
    kinds = {v.failures[-1].kind for v in variants if v.status != "ok" and v.failures}
    if FailureKind.MODEL in kinds or any(v.wrong for v in variants):
        return Exit.MODEL
    if FailureKind.DEVICE in kinds:
        return Exit.DEVICE
    return Exit.INFRA if kinds else Exit.OK


def _staircase_formats(formats: list[str] | None) -> "list[NumberFormat]":
    from pipeline.artifact import NumberFormat

    known = {"float32": NumberFormat.FLOAT32, "int8": NumberFormat.INT8}
    for given in formats or ():
        if given not in known:
            said = f"{given!r} is none of {', '.join(known)}"
            raise typer.BadParameter(said, param_hint="--format")
    return [known[given] for given in dict.fromkeys(formats or known)]


def _selection(phone: list[str] | None, virtual: str) -> "Selection":
    import os

    from device_bench.targets import Selection, VirtualChoice

    try:
        choice = VirtualChoice(virtual)
    except ValueError:
        said = f"{virtual!r} is none of {', '.join(VirtualChoice)}"
        raise typer.BadParameter(said, param_hint="--virtual") from None
    serial = os.environ.get("ANDROID_SERIAL")
    named = tuple(phone or ()) or ((serial,) if serial else ())
    return Selection(phones=named, virtual=choice)


def _protocol(blocks: int, threads: str | None, min_s: float) -> "Protocol":
    from device_bench.record import Protocol

    try:
        counts = tuple(int(part) for part in threads.split(",")) if threads else ()
    except ValueError:
        said = f"{threads!r} is not a list of numbers such as 1,4"
        raise typer.BadParameter(said, param_hint="--threads") from None
    if not all(1 <= count <= 256 for count in counts):
        raise typer.BadParameter("thread counts lie between 1 and 256", param_hint="--threads")
    return Protocol(blocks=blocks, threads=counts, min_s=min_s)


def _variants_folder() -> Path:
    from android_harness.places import VARIANTS

    return VARIANTS


@contextlib.contextmanager
def _progress(quiet: bool) -> "Iterator[Progress]":
    from device_bench.progress import shown

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with shown(quiet) as progress:
        yield progress


def _exit_of(exc: Exception) -> Exit:
    match exc:
        case NoPhone() | ToolMissing():
            return Exit.NO_PHONE
        case (
            HarnessError(kind=FailureKind.MODEL)
            | ConversionError()
            | ReferenceFailed()
            | StageFailed()
        ):
            return Exit.MODEL
        case HarnessError(kind=FailureKind.DEVICE):
            return Exit.DEVICE
        case PipelineError() | UnknownBench():
            return Exit.USAGE
        case _:
            return Exit.INFRA


def _complain(text: str) -> None:
    typer.echo(f"deploy-bench: {text}", err=True)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
