"""The hand-over: ``artifact.json`` beside each ``.tflite``, and the check of a model file.

Written last, when everything it names is on disk; so a folder with an artifact.json is whole.
Importing this loads neither TensorFlow nor numpy: whoever benches finished models pays nothing.
"""

import hashlib
import json
import math
import os
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from pipeline.errors import BadArtifact, BadModelFile

__all__ = [
    "Accuracy",
    "Artifact",
    "BadArtifact",
    "BadModelFile",
    "NumberFormat",
    "Provenance",
    "Reference",
    "StageRecord",
    "TensorSpec",
    "TestSet",
    "check_model_file",
    "describe",
    "load_artifact",
    "load_artifacts",
    "sha256_of",
    "write_artifact",
]

ARTIFACT_FILE = "artifact.json"
MODEL_FILE = "model.tflite"

# TFLite's tensor types by the names artifacts use, with the bytes of one element.
ITEM_BYTES = {
    "float32": 4, "float16": 2, "float64": 8, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2,
    "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "bool": 1,
}  # fmt: skip


class NumberFormat(StrEnum):
    """The number format a variant is converted to."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"  # weights stored as float16, computed as the engine likes
    DYNAMIC = "dynamic"  # weights int8, activations quantized while running
    INT8 = "int8"  # weights, activations, input and output int8
    INT16X8 = "int16x8"  # weights int8, activations int16: for finding out what int8 costs
    DYNAMIC_CONV = "dynamic_conv"  # as dynamic, but depthwise convolutions stay float
    WEIGHT_INT8 = "weight_int8"  # weights int8, everything computed in float
    WEIGHT_INT4 = "weight_int4"  # weights int4, everything computed in float
    MIXED = "mixed"  # int8, but the layers that lose most stay float
    FLOAT32_SPARSE = "float32_sparse"  # zeros left out of the file
    FLOAT16_SPARSE = "float16_sparse"


class _Stored(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False
    )


@final
class TensorSpec(_Stored):
    """One input or output of a model.

    A real value is ``scale * (stored - zero_point)`` when ``scale`` is given.
    """

    name: str
    dtype: str
    shape: tuple[PositiveInt, ...]
    scale: float | None = None
    zero_point: int | None = None

    @model_validator(mode="after")
    def _known_type(self) -> Self:
        if self.dtype not in ITEM_BYTES:
            raise ValueError(f"dtype {self.dtype!r} is none of {', '.join(ITEM_BYTES)}")
        return self

    @property
    def elements(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of one sample."""
        return self.elements * ITEM_BYTES[self.dtype]


@final
class Accuracy(_Stored):
    """Correct answers on the test split, with the Wilson 95 % interval of the share."""

    correct: NonNegativeInt
    total: PositiveInt
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, correct: int, total: int) -> Self:
        """The accuracy of ``correct`` answers out of ``total``.

        Source: Wilson (1927), as scipy.stats.binomtest(...).proportion_ci computes it.
        """
        from scipy.stats import binomtest  # costs most of a second, and few callers need it

        interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
        low, high = float(interval.low), float(interval.high)
        return cls(correct=correct, total=total, value=correct / total, low=low, high=high)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.correct > self.total:
            raise ValueError(f"{self.correct} correct of {self.total}")
        if not math.isclose(self.value, self.correct / self.total, abs_tol=1e-9):
            raise ValueError(f"value {self.value} is not {self.correct}/{self.total}")
        return self


@final
class TestSet(_Stored):
    """The samples a phone is asked to run; files are relative to the artifact's folder."""

    __test__: ClassVar[bool] = False  # not a test class, whatever pytest makes of the name

    samples: PositiveInt
    origin: str  # "test split", "synthetic", "random"
    inputs_file: str  # samples in the model's input type, back to back
    labels_file: str | None = None  # int32 little-endian, one per sample


@final
class Reference(_Stored):
    """What one engine on the build host answers to the test set."""

    engine: str  # "ai-edge-litert 2.3.0"
    outputs_file: str | None = None  # first output of every sample, raw, back to back
    sha256: str | None = None
    accuracy: Accuracy | None = None
    reason: str | None = None  # why outputs_file is null

    @model_validator(mode="after")
    def _outputs_or_reason(self) -> Self:
        if (self.outputs_file is None) == (self.reason is None):
            raise ValueError("needs either outputs_file or the reason why there is none")
        return self


@final
class StageRecord(_Stored):
    """One stage that led to a variant, and the content hash its output is cached under."""

    name: str
    parameters: dict[str, Any]
    key: str
    facts: dict[str, Any] = Field(default={})  # what the stage said of its work


@final
class Provenance(_Stored):
    """Where a variant comes from; enough to make it again."""

    seed: int | None
    recipe_sha256: str | None
    data_sha256: str | None
    code_sha256: str | None
    stages: tuple[StageRecord, ...]
    packages: dict[str, str]
    created_by: str
    built_at_utc: str


@final
class Artifact(_Stored):
    """One variant of a recipe: a ``.tflite`` with everything that is known about it."""

    schema_version: Literal[1] = 1
    recipe: str
    variant: str
    branch: str
    format: NumberFormat
    baseline: str  # the variant everything of this recipe is compared with
    task: Literal["classification"] | None
    file: str
    sha256: str
    bytes: PositiveInt
    bytes_zstd: PositiveInt
    input: TensorSpec
    output: TensorSpec
    parameters: NonNegativeInt  # elements of constant weight tensors
    macs: NonNegativeInt | None  # None: an operator whose multiplications are not counted
    sparsity: float  # zeros among the weights of layers that multiply
    sparsity_by_layer: dict[str, float]
    unique_values_by_layer: dict[str, PositiveInt] = Field(default={})  # distinct stored weights
    operators: dict[str, PositiveInt] = Field(default={})  # "CONV_2D v3" -> how often
    min_runtime: str | None = None  # first TensorFlow Lite release that knows every operator
    compression_ratio: float | None  # (baseline - this) / baseline, in bytes of the file
    accuracy: Accuracy | None
    accuracy_reason: str | None = None
    test: TestSet
    references: tuple[Reference, ...]
    conversion: dict[str, Any] = Field(default={})  # what the conversion said of its work
    warnings: tuple[str, ...] = Field(default=())
    provenance: Provenance

    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _accuracy_or_reason(self) -> Self:
        if self.accuracy is None and not self.accuracy_reason:
            raise ValueError("accuracy is null without accuracy_reason")
        return self

    @property
    def folder(self) -> Path:
        """The folder this artifact was loaded from or written to."""
        if self._folder is None:
            raise BadArtifact(self.variant, "", "is not on disk yet")
        return self._folder

    def path(self, name: str) -> Path:
        """The file ``name`` of this artifact; never outside its folder."""
        path = self.folder / name
        if path.resolve().parent != self.folder.resolve():
            raise BadArtifact(str(self.folder / ARTIFACT_FILE), name, "leaves the folder")
        return path

    @property
    def model_path(self) -> Path:
        """The ``.tflite`` itself."""
        return self.path(self.file)

    @property
    def is_baseline(self) -> bool:
        """Whether the other variants of the recipe are compared with this one."""
        return self.variant == self.baseline


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_artifact(artifact: Artifact, folder: Path) -> Artifact:
    """Write ``artifact.json`` into ``folder`` in one step and return the artifact, placed there."""
    temporary = folder / f".{ARTIFACT_FILE}.{os.getpid()}"
    temporary.write_text(artifact.model_dump_json(indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / ARTIFACT_FILE)
    return _placed(artifact, folder)


def load_artifact(path: Path) -> Artifact:
    """Read one ``artifact.json`` and check that its model file is the one it describes.

    Raises:
        BadArtifact: not JSON, another schema, or it does not fit the files beside it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        artifact = _placed(Artifact.model_validate(document), path.parent)
    except ValidationError as exc:
        raise BadArtifact(str(path), *_first_fault(exc)) from exc
    except (OSError, ValueError) as exc:
        raise BadArtifact(str(path), "", f"cannot be read ({exc})") from exc
    _check_files(artifact, path)
    return artifact


def load_artifacts(folder: Path) -> tuple[Artifact, ...]:
    """All artifacts under ``folder``: by recipe, the baseline's branch first, then by format.

    Raises:
        BadArtifact: one of them cannot be used.
    """
    paths = (p for p in folder.rglob(ARTIFACT_FILE) if not _hidden(p.relative_to(folder)))
    return tuple(sorted(map(load_artifact, paths), key=_reading_order))


def check_model_file(path: Path) -> None:
    """Check by bounded reads that ``path`` is a whole TFLite file, before any engine sees it.

    Raises:
        BadModelFile: missing, empty, truncated, something else, or offsets leave the file.
    """
    from pipeline.tflite_check import check_model_bytes

    try:
        content = path.read_bytes()
    except OSError as exc:
        raise BadModelFile(str(path), exc.strerror or str(exc)) from exc
    check_model_bytes(content, str(path))


def describe(path: Path, folder: Path) -> Artifact:
    """Make the artifact of a bare ``.tflite``: random inputs, accuracy unknown.

    Args:
        path: the model; it is copied, not changed.
        folder: where model, inputs, reference outputs and artifact.json are written.

    Raises:
        BadModelFile: not a whole TFLite file, or not one this project can feed.
    """
    from pipeline.bare import describe_model

    return describe_model(path, folder)


def _placed(artifact: Artifact, folder: Path) -> Artifact:
    artifact._folder = folder  # private to this module: a place on disk is no part of the record
    return artifact


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _reading_order(artifact: Artifact) -> tuple[str, bool, str, int]:
    of_baseline = artifact.baseline == f"{artifact.branch}_{NumberFormat.FLOAT32}"
    position = list(NumberFormat).index(artifact.format)
    return artifact.recipe, not of_baseline, artifact.branch, position


def _first_fault(exc: ValidationError) -> tuple[str, str]:
    fault = exc.errors()[0]
    return ".".join(map(str, fault["loc"])), fault["msg"]


def _check_files(artifact: Artifact, path: Path) -> None:
    outputs = [r.outputs_file for r in artifact.references]
    for name in (artifact.file, artifact.test.inputs_file, artifact.test.labels_file, *outputs):
        if name is not None and not artifact.path(name).is_file():
            raise BadArtifact(str(path), name, "the file is missing")
    expected = artifact.test.samples * artifact.input.bytes
    found = artifact.path(artifact.test.inputs_file).stat().st_size
    if found != expected:
        raise BadArtifact(str(path), "test.inputs_file", f"holds {found} bytes, not {expected}")
    if sha256_of(artifact.model_path) != artifact.sha256:
        raise BadArtifact(str(path), "sha256", f"{artifact.file} was changed after it was built")
