"""What an analysis found out about a trained model; kept as JSON, read without TensorFlow.

Accuracies are those of the model with one thing changed and nothing trained.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final, Literal, Self, final

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from pipeline.errors import RecipeError
from pipeline.plan import CACHE_FOLDER, Call, Plan
from pipeline.recipe import RECIPE_FILE

_log = logging.getLogger(__name__)

# Layers of these are wrapped or custom, and their rounding hides what channels and weights matter.
_NOT_PLAIN: Final = frozenset({"quantize_aware", "binarize"})


class _Kept(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )


class Standard(StrEnum):
    """What answers are held against."""

    LABELS = "labels"
    OWN_ANSWERS = "own answers"  # of the unchanged model: accuracy is agreement with it


@final
class Judged(_Kept):
    """What one change did.

    Attributes:
        accuracy: share of right answers.
        error: rms(outputs - unchanged ones) / rms(unchanged ones); None when infinite.
    """

    accuracy: float
    error: float | None


@final
class Trial(_Kept):
    """The accuracy when a share was taken away."""

    share: float
    accuracy: float


@final
class Group(_Kept):
    """A channel group, and what silencing its lowest (L1) channels alone did."""

    name: str
    channels: PositiveInt
    trials: tuple[Trial, ...]


@final
class Layer(_Kept):
    """A layer with a kernel, and what changing its kernel alone did.

    Attributes:
        macs: multiplications of one inference.
        weights: values of its kernels.
        reads: share of the channels it reads, by the group that may remove them.
        makes: likewise of those it makes; empty for a depthwise layer, which makes what it reads.
        trials: with the smallest weights at zero.
        int8: with its kernel rounded to int8, a scale for each channel.
    """

    name: str
    macs: NonNegativeInt
    weights: PositiveInt
    reads: dict[str, float]
    makes: dict[str, float]
    trials: tuple[Trial, ...]
    int8: Judged


@final
class Int8(_Kept):
    """The whole model as an int8 file, answered by LiteRT; without ``judged`` for a reason."""

    judged: Judged | None = None
    reason: str | None = None


@final
class Size(_Kept):
    """Of a .tflite file, as it lies on the device and as it is downloaded."""

    bytes: PositiveInt
    bytes_zstd: PositiveInt


@final
class Findings(_Kept):
    """All of it.

    Attributes:
        split: of the recipe's data that was asked about.
        accuracy: of the unchanged model; 1.0 when held against its own answers.
        trainable: whether the training split has labels.
        groups: of removable channels, in the order of computation.
        groups_reason: why there are none.
        left_whole: layers whose channels all stay -> why.
        left_out: layers with weights that were not looked at -> why.
    """

    schema_number: Literal[1] = 1
    recipe: str
    branch: str
    standard: Standard
    split: Literal["validation", "training"]
    samples: PositiveInt
    trainable: bool
    accuracy: float
    macs: PositiveInt
    parameters: PositiveInt
    groups: tuple[Group, ...]
    groups_reason: str | None = None
    left_whole: dict[str, str]
    left_out: dict[str, str]
    layers: tuple[Layer, ...]
    int8: Int8
    float32_size: Size | None
    int8_size: Size | None
    warnings: tuple[str, ...] = ()

    def points(self, accuracy: float) -> float:
        """Accuracy points lost against the unchanged model; a gain is none."""
        return round(max(0.0, 100 * (self.accuracy - accuracy)), 9)  # binary fractions: 0.9 - 0.89

    def lost(self, group: Group, removed: float) -> float:
        """Points that removing a share of a group alone loses, between trials by interpolation."""
        known = [(0.0, 0.0), *((t.share, self.points(t.accuracy)) for t in group.trials)]
        shares, points = zip(*known, strict=True)
        return float(np.interp(removed, shares, points))

    def stands(self, layer: Layer, points: float) -> float:
        """The sparsity up to which no trial of the layer lost more than ``points``."""
        stood = 0.0
        for trial in layer.trials:
            if self.points(trial.accuracy) > points:
                break
            stood = trial.share
        return stood

    def mac_share(self, kept: Mapping[str, float]) -> float:
        """Share of the multiplications that stay with such shares of the groups' channels."""
        return sum(layer.macs * _left(layer, kept) for layer in self.layers) / self.macs

    def weight_share(self, kept: Mapping[str, float]) -> float:
        """Likewise of the kernels' weights."""
        weights = sum(layer.weights for layer in self.layers)
        return sum(layer.weights * _left(layer, kept) for layer in self.layers) / weights

    def touched(self, group: Group) -> float:
        """Share of the multiplications in layers that make or read the group's channels."""
        return 1 - self.mac_share({group.name: 0.0})


def _left(layer: Layer, kept: Mapping[str, float]) -> float:
    return _axis(layer.reads, kept) * _axis(layer.makes, kept)


def _axis(channels: Mapping[str, float], kept: Mapping[str, float]) -> float:
    return 1 - sum(share * (1 - kept.get(group, 1.0)) for group, share in channels.items())


def branch_end(plan: Plan, branch: str) -> Call:
    """The call that gives the model at the end of a branch.

    Raises:
        RecipeError: the recipe has no such branch, or its end is no plain float model.
    """
    file = str(plan.recipe.folder / RECIPE_FILE)
    conversions = [call for call in plan.conversions if call.label.split("/")[0] == branch]
    if not conversions:
        names = ", ".join(b.name for b in plan.recipe.branch)
        raise RecipeError(file, "branch", f"{branch!r} is no branch", f"there is: {names}")
    end = plan.call(str(conversions[0].parent))
    if found := _NOT_PLAIN & {call.name for call in plan.lineage(end)}:
        hint = "name a branch that ends before it with --branch"
        raise RecipeError(file, "branch", f"{branch!r} ends behind {sorted(found)[0]}", hint)
    return end


def findings_key(plan: Plan, branch: str) -> str:
    """Hash of everything that decides the findings: model, data, conversion, and our own code.

    Raises:
        RecipeError: as ``branch_end``.
    """
    end = branch_end(plan, branch)
    here = Path(__file__).parent
    sources = [(here / name).read_bytes() for name in ("analysis.py", "findings.py")]
    conversions = [call.key for call in plan.conversions if call.parent == end.key]
    parts = [end.key, conversions[0], *(hashlib.sha256(s).hexdigest() for s in sources)]
    return hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest()


@final
class Archive:
    """Findings, and the judgements they are made of, on disk.

    Every judgement is kept when it is made, so that a killed analysis goes on behind the last.
    """

    def __init__(self, folder: Path, key: str) -> None:
        root = folder / CACHE_FOLDER
        self._whole, self._parts = root / f"{key}.findings.json", root / f"{key}.judgements.jsonl"
        self._judged: dict[str, Judged] | None = None

    def findings(self) -> Findings | None:
        """Those of an earlier analysis; None when there are none, or they are damaged."""
        try:
            return Findings.model_validate_json(self._whole.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as exc:
            _log.warning("the kept findings are damaged (%s); made again", exc.errors()[0]["msg"])
            return None

    def keep(self, findings: Findings) -> None:
        """Keep findings, in one step; their judgements are needed no more."""
        self._whole.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._whole.with_suffix(".new")
        temporary.write_text(findings.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._whole)
        self._parts.unlink(missing_ok=True)

    def judged(self, question: str) -> Judged | None:
        """The answer an earlier, killed analysis found."""
        if self._judged is None:
            self._judged = dict(map(_read, self._lines()))
        return self._judged.get(question)

    def note(self, question: str, judged: Judged) -> None:
        """Keep one answer."""
        self._parts.parent.mkdir(parents=True, exist_ok=True)
        with self._parts.open("a", encoding="utf-8") as file:
            file.write(json.dumps([question, judged.accuracy, judged.error]) + "\n")

    def _lines(self) -> list[str]:
        try:
            text = self._parts.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        # The last line has no end when the analysis was killed while it was written.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            self._parts.write_text(whole, encoding="utf-8")
        return whole.splitlines()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._whole})"

    @classmethod
    def of(cls, plan: Plan, branch: str, folder: Path) -> Self:
        """The one of a recipe's branch.

        Raises:
            RecipeError: as ``branch_end``.
        """
        return cls(folder, findings_key(plan, branch))


def _read(line: str) -> tuple[str, Judged]:
    question, accuracy, error = json.loads(line)
    return question, Judged(accuracy=accuracy, error=error)
