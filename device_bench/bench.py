"""A whole bench: artifacts and phones in, a stored bench and its report out.

The thin orchestration beside the CLI. Only ``build_recipes`` loads the pipeline's stages.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, final

from android_harness.errors import HarnessError, NoPhone, WrongAbi
from android_harness.evidence import Fidelity
from android_harness.phone import Phone
from android_harness.runner import bundle as bundles
from device_bench.identify import identity_of
from device_bench.measure import PhoneBench, Told
from device_bench.progress import Progress
from device_bench.record import Bench, Identity, PhoneVisit, Protocol, Run, Timing
from device_bench.store import Store
from device_bench.targets import Selection, Target, selected
from pipeline.artifact import (
    Artifact,
    check_model_file,
    describe,
    load_artifacts,
    sha256_of,
)

if TYPE_CHECKING:
    from pipeline.runner import StageEvent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The artifacts of one recipe, with its sentence about itself and the threads it asks for."""

    summary: str
    artifacts: tuple[Artifact, ...]
    threads: tuple[int, ...] = (1,)


@final
@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Wall time of the bench's steps, in order."""

    timings: list[Timing] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it fails."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.timings.append(Timing(step=name, seconds=round(time.monotonic() - started_s, 2)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A phone that answered, with the runner that fits it."""

    target: Target
    identity: Identity
    transport: str
    bundle: bundles.Bundle


def measure(
    variants: Sequence[Variants],
    selection: Selection,
    protocol: Protocol,
    store: Store,
    progress: Progress,
    watch: Stopwatch,
) -> Bench:
    """Run every variant on every phone and store it; go on with an interrupted bench.

    Returns:
        the stored bench, complete.

    Raises:
        NoPhone: none can be used.
        KeyboardInterrupt: stopped; what was finished is stored and the next call goes on.
    """
    with watch.step("start phones"):
        started = selected(selection, progress.line)
        targets = started.__enter__()
    try:
        with watch.step("prepare phones"):
            ready = _prepare(targets, progress)
        bench = _open(variants, ready, protocol, store, progress)
        stop = Event()
        works = [
            _work(bench, one, position, variants, store, progress, stop)
            for position, one in enumerate(ready)
        ]
        with watch.step("measure on phones"):
            _perform(works, ready, stop)
    finally:
        started.__exit__(None, None, None)
    timings = (*bench.timings, *watch.timings)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    bench = bench.model_copy(
        update={"status": "complete", "timings": timings, "finished_at_utc": now}
    )
    store.save(bench)
    return bench


def _prepare(targets: Sequence[Target], progress: Progress) -> list[_Ready]:
    ready, problems = [], []
    for target in targets:
        try:
            ready.append(_meet(target))
        except HarnessError as exc:
            problems.append(f"{target.label}: {exc}")
            progress.line(f"{target.label} is left out: {exc}")
    if not ready:
        raise NoPhone("; ".join(problems) or "nothing is connected")
    return ready


def _meet(target: Target) -> _Ready:
    with target.connect() as transport:
        phone = Phone(transport)
        identity = identity_of(phone)
        supported = next((a for a in identity.abis if a in bundles.SUPPORTED_ABIS), None)
        if supported is None:
            raise WrongAbi(transport.endpoint, identity.abis, tuple(bundles.SUPPORTED_ABIS))
        described = transport.description
    return _Ready(
        target=target,
        identity=identity,
        transport=described,
        bundle=bundles.build_bundle(supported),
    )


def _open(
    variants: Sequence[Variants],
    ready: Sequence[_Ready],
    protocol: Protocol,
    store: Store,
    progress: Progress,
) -> Bench:
    """The interrupted bench of the same matrix, or a new one."""
    key = _key(variants, ready, protocol)
    found = store.open_bench(key)
    if found is not None:
        progress.line(f"going on with {found.id}, which was interrupted")
        return found
    now = datetime.now(UTC)
    bench = Bench(
        id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        key=key,
        created_at_utc=now.isoformat(timespec="seconds"),
        tool_version=version("deploy-bench"),
        protocol=protocol,
    )
    store.save(bench)
    return bench


def _key(variants: Sequence[Variants], ready: Sequence[_Ready], protocol: Protocol) -> str:
    """Equal when the same files are measured in the same way on the same phones."""
    parts = [a.sha256 for v in variants for a in v.artifacts]
    parts += [
        f"{r.identity.serial} {r.identity.fingerprint} {r.bundle.engine_sha256}" for r in ready
    ]
    return sha256("\n".join([*parts, protocol.model_dump_json()]).encode()).hexdigest()


def _work(
    bench: Bench,
    ready: _Ready,
    position: int,
    variants: Sequence[Variants],
    store: Store,
    progress: Progress,
    stop: Event,
) -> PhoneBench:
    serial = ready.identity.serial
    visit = next((v for v in store.phones(bench.id) if v.serial == serial), None)
    if visit is None:
        visit = PhoneVisit(
            bench=bench.id,
            serial=serial,
            position=position,
            identity=ready.identity,
            transport=ready.transport,
            engine=f"ai-edge-litert {ready.bundle.engine_version}",
            engine_sha256=ready.bundle.engine_sha256,
        )
        store.save(visit)
    lock = Lock()

    def tell(told: Told) -> None:
        with lock:
            progress.step(ready.target.label, told.text, told.done, told.total)

    return PhoneBench(
        connect=ready.target.connect,
        visit=visit,
        runs=_runs(bench, serial, variants, store),
        bundle=ready.bundle,
        protocol=bench.protocol,
        store=store,
        tell=tell,
        stop=stop,
    )


def _runs(bench: Bench, serial: str, variants: Sequence[Variants], store: Store) -> tuple[Run, ...]:
    """The phone's runs: as stored, with the artifacts that lie on disk now."""
    stored = {run.name: run for run in store.runs(bench.id, serial)}
    wanted = [
        (group.summary, threads, artifact)
        for group in variants
        for threads in bench.protocol.threads or group.threads
        for artifact in group.artifacts
    ]
    runs: list[Run] = []
    for position, (summary, threads, artifact) in enumerate(wanted):
        fresh = Run(
            bench=bench.id,
            serial=serial,
            position=position,
            artifact=artifact,
            summary=summary,
            threads=threads,
        )
        found = stored.get(fresh.name)
        runs.append(found.model_copy(update={"artifact": artifact}) if found else fresh)
    for run in runs:
        store.save(run)
    return tuple(runs)


def _perform(works: Sequence[PhoneBench], ready: Sequence[_Ready], stop: Event) -> None:
    """Physical phones side by side; phones that live on this host one after the other."""
    physical = [one.identity.fidelity is Fidelity.PHONE for one in ready]
    apart = [work for work, alone in zip(works, physical, strict=True) if alone]
    shared = [work for work, alone in zip(works, physical, strict=True) if not alone]
    if apart:
        with ThreadPoolExecutor(max_workers=len(apart)) as pool:
            jobs = [pool.submit(work.perform) for work in apart]
            try:
                for job in jobs:
                    job.result()
            except BaseException:  # Ctrl-C comes to this thread only: the others must hear of it
                stop.set()
                raise
    for work in shared:
        work.perform()


def check_recipes(names: Sequence[str]) -> None:
    """Read every recipe, so that a wrong one is told before anything is built.

    Raises:
        RecipeError: a recipe is unknown or wrong.
    """
    from pipeline.recipe import find_recipe, load_recipe

    for name in names:
        load_recipe(find_recipe(name))


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
            artifacts = perform(plan_recipe(recipe), folder, _stage_teller(recipe.name, progress))
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


def _stage_teller(name: str, progress: Progress) -> "Callable[[StageEvent], None]":
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
