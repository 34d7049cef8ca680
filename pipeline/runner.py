"""Perform a plan: do what is not done yet, keep every output, place the variants.

What a variant needs is asked for from its end: a variant in place needs nothing, a kept
conversion no model, a kept model no training. So a second build touches neither TensorFlow nor
the data, and a killed one goes on behind its last finished call.
"""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol, final

from pipeline.artifact import (
    ARTIFACT_FILE,
    Artifact,
    Provenance,
    StageRecord,
    load_artifact,
    write_artifact,
)
from pipeline.cache import Entry, make_entry, read_entry
from pipeline.errors import BadArtifact, PipelineError, StageFailed
from pipeline.plan import Call, CallKind, Plan

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StageEvent:
    """Something happened to a call; a "started" is followed by "progress" and "finished".

    Attributes:
        index: of the call in the plan, from 0; ``count`` of them in all.
        step: epochs done out of ``steps``, for "progress".
        seconds: what the call took, for "finished".
    """

    recipe: str
    label: str
    kind: CallKind
    state: Literal["started", "progress", "finished", "cached"]
    index: int
    count: int
    step: int = 0
    steps: int = 0
    message: str = ""
    seconds: float = 0.0


Progress = Callable[[StageEvent], None]
Report = Callable[[int, int, str], None]


class Worker(Protocol):
    """Does the calls of a plan; the real one is pipeline.work.KerasWorker."""

    def build(self, call: Call, folder: Path) -> dict[str, Any]:
        """Write the recipe's untrained model into ``folder``; returns facts."""

    def stage(
        self, call: Call, parent: Entry, folder: Path, report: Report, teacher: Entry | None = None
    ) -> dict[str, Any]:
        """Write the parent's model after the stage into ``folder``; returns facts."""

    def convert(self, call: Call, parent: Entry, folder: Path) -> dict[str, Any]:
        """Write a variant's files into ``folder``; returns fields of the artifact."""


def perform(
    plan: Plan,
    folder: Path,
    progress: Progress = lambda _: None,
    worker: Callable[[Plan], Worker] | None = None,
) -> tuple[Artifact, ...]:
    """Do what is left of ``plan`` and place its variants under ``folder``/recipe/variant.

    Args:
        plan: as plan_recipe() made it.
        folder: of all recipes' variants; the outputs of calls are kept in ``.cache`` under it.
        progress: told about each call.
        worker: makes what does the work, once something is left to do.

    Returns:
        The artifacts, in the recipe's order.

    Raises:
        PipelineError: a call failed; what was finished before is kept.
        KeyboardInterrupt: likewise.
    """
    return _Performance(plan, folder, progress, worker or _keras_worker).run()


def perform_call(
    plan: Plan,
    call: Call,
    folder: Path,
    progress: Progress = lambda _: None,
    worker: Callable[[Plan], Worker] | None = None,
) -> Entry:
    """The output of one call of ``plan``, made with all it needs when it is not kept.

    Nothing else is done: no variant is placed, and of a stage nothing is converted.

    Raises:
        PipelineError, KeyboardInterrupt: as ``perform``.
    """
    return _Performance(plan, folder, progress, worker or _keras_worker).entry(call)


def _keras_worker(plan: Plan) -> Worker:
    from pipeline.work import KerasWorker  # imports TensorFlow

    return KerasWorker(plan.recipe)


@final
@dataclass(slots=True)
class _Performance:
    """One run of perform()."""

    plan: Plan
    folder: Path
    progress: Progress
    make_worker: Callable[[Plan], Worker]
    _worker: Worker | None = None
    _done: dict[str, Entry] = field(default_factory=dict)

    def run(self) -> tuple[Artifact, ...]:
        conversions = self.plan.conversions
        in_place = {call.key: self._in_place(call) for call in conversions}
        entries: dict[str, Entry] = {}
        for call in conversions:
            if in_place[call.key] is None:
                entries[call.key] = self.entry(call)
            else:
                self._tell(call, "cached")
        baseline_bytes = self._baseline_bytes(in_place, entries)
        self._remove_strangers()
        return tuple(
            self._place(call, entries[call.key], baseline_bytes)
            if (artifact := in_place[call.key]) is None
            else _compared(artifact, baseline_bytes)
            for call in conversions
        )

    def _remove_strangers(self) -> None:
        """Variants the recipe no longer has would be benched and reported beside those it has."""
        names = {call.variant for call in self.plan.conversions}
        for path in (self.folder / self.plan.recipe.name).glob(f"*/{ARTIFACT_FILE}"):
            if path.parent.name not in names:
                shutil.rmtree(path.parent)

    def _in_place(self, call: Call) -> Artifact | None:
        """The variant as it lies there, when it is this plan's and whole."""
        path = self._target(call) / ARTIFACT_FILE
        if not path.is_file():
            return None
        try:
            artifact = load_artifact(path)
        except BadArtifact as exc:
            _log.warning("%s; the variant is placed again", exc)
            return None
        stages = artifact.provenance.stages
        same = bool(stages) and stages[-1].key == call.key
        return artifact if same and self._names_fit(artifact) else None

    def _names_fit(self, artifact: Artifact) -> bool:
        """A recipe may name another baseline, or change in a way that changes no output."""
        return (
            artifact.provenance.recipe_sha256 == self.plan.recipe.sha256
            and artifact.provenance.code_sha256 == self.plan.code_sha256
        )

    def entry(self, call: Call) -> Entry:
        """The call's output: kept from before, or made now together with what it needs."""
        if call.key in self._done:
            return self._done[call.key]
        entry = read_entry(self.folder, call)
        if entry is None:
            entry = self._make(call, self._entry_of(call.parent), self._entry_of(call.teacher))
        else:
            self._tell(call, "cached")
        self._done[call.key] = entry
        return entry

    def _entry_of(self, key: str | None) -> Entry | None:
        return None if key is None else self.entry(self.plan.call(key))

    def _make(self, call: Call, parent: Entry | None, teacher: Entry | None) -> Entry:
        self._tell(call, "started")
        begun = time.monotonic()
        try:
            entry = make_entry(self.folder, call, lambda to: self._work(call, parent, teacher, to))
        except PipelineError:
            raise
        except Exception as exc:
            cause = f"{type(exc).__name__}: {exc}"
            raise StageFailed(self.plan.recipe.name, call.label, cause) from exc
        self._tell(call, "finished", seconds=time.monotonic() - begun)
        return entry

    def _work(
        self, call: Call, parent: Entry | None, teacher: Entry | None, folder: Path
    ) -> dict[str, Any]:
        if self._worker is None:
            self._worker = self.make_worker(self.plan)
        if parent is None:
            return self._worker.build(call, folder)
        if call.kind is CallKind.CONVERT:
            return self._worker.convert(call, parent, folder)
        return self._worker.stage(call, parent, folder, self._report(call), teacher)

    def _report(self, call: Call) -> Report:
        def report(step: int, steps: int, message: str) -> None:
            self._tell(call, "progress", step=step, steps=steps, message=message)

        return report

    def _tell(
        self, call: Call, state: Literal["started", "progress", "finished", "cached"], **more: Any
    ) -> None:
        event = StageEvent(
            recipe=self.plan.recipe.name, label=call.label, kind=call.kind, state=state,
            index=self.plan.calls.index(call), count=len(self.plan.calls), **more,
        )  # fmt: skip
        self.progress(event)

    def _baseline_bytes(
        self, in_place: dict[str, Artifact | None], entries: dict[str, Entry]
    ) -> int:
        name = self.plan.recipe.baseline
        call = next(c for c in self.plan.conversions if c.variant == name)
        placed = in_place[call.key]
        return int(entries[call.key].facts["bytes"]) if placed is None else placed.bytes

    def _target(self, call: Call) -> Path:
        return self.folder / self.plan.recipe.name / str(call.variant)

    def _place(self, call: Call, entry: Entry, baseline_bytes: int) -> Artifact:
        """Copy the variant's files and write its artifact.json, last."""
        target = self._target(call)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in entry.files:
            shutil.copyfile(entry.folder / name, target / name)
        return write_artifact(self._artifact(call, entry, baseline_bytes), target)

    def _artifact(self, call: Call, entry: Entry, baseline_bytes: int) -> Artifact:
        facts = {k: v for k, v in entry.facts.items() if k not in ("data_sha256", "built_at_utc")}
        return Artifact.model_validate(
            {
                **facts,
                "recipe": self.plan.recipe.name,
                "variant": call.variant,
                "branch": call.label.split("/")[0],
                "baseline": self.plan.recipe.baseline,
                "task": self.plan.recipe.task,
                "compression_ratio": _ratio(facts["bytes"], baseline_bytes),
                "provenance": self._provenance(call, entry).model_dump(mode="json"),
            }
        )

    def _said(self, call: Call) -> dict[str, Any]:
        """What a stage said of its work; nothing when its output was cleared away."""
        entry = self._done.get(call.key)
        if entry is None and call.kind is CallKind.STAGE:
            entry = read_entry(self.folder, call)
        said: dict[str, Any] = {} if entry is None else entry.facts.get("stage", {})
        return said

    def _provenance(self, call: Call, entry: Entry) -> Provenance:
        stages = tuple(
            StageRecord(name=c.name, parameters=dict(c.parameters), key=c.key, facts=self._said(c))
            for c in self.plan.lineage(call)
        )
        return Provenance(
            seed=self.plan.recipe.seed, recipe_sha256=self.plan.recipe.sha256,
            data_sha256=entry.facts["data_sha256"], code_sha256=self.plan.code_sha256,
            stages=stages, packages=dict(self.plan.packages), created_by=created_by(),
            built_at_utc=entry.facts["built_at_utc"],
        )  # fmt: skip


def _ratio(model_bytes: int, baseline_bytes: int) -> float:
    return (baseline_bytes - model_bytes) / baseline_bytes


def _compared(artifact: Artifact, baseline_bytes: int) -> Artifact:
    """The artifact in place, compared with the baseline as it is now."""
    ratio = _ratio(artifact.bytes, baseline_bytes)
    if artifact.compression_ratio == ratio:
        return artifact
    folder = artifact.folder
    return write_artifact(artifact.model_copy(update={"compression_ratio": ratio}), folder)


def created_by() -> str:
    """``deploy-bench 0.1.0``; without a version when it runs from a folder."""
    try:
        return f"deploy-bench {metadata.version('deploy-bench')}"
    except metadata.PackageNotFoundError:
        return "deploy-bench"


def now_utc() -> str:
    """The time as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
