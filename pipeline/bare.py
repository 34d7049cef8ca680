"""The artifact of a bare ``.tflite``: a model nobody told us anything about."""

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import MODEL_FILE, Artifact, Provenance, TensorSpec, TestSet, write_artifact
from pipeline.errors import BadModelFile
from pipeline.reference.process import LITERT, TFLITE_RUNTIME
from pipeline.runner import created_by, now_utc
from pipeline.sparse_path import sparse_path
from pipeline.tflite_file import TfliteModel, read_model
from pipeline.variant import INPUTS_FILE, answers, facts_of

# Enough to see that two engines answer alike; few enough to push at once.
SAMPLES: Final = 16
MOST_BYTES: Final = 16_000_000
SEED: Final = 1


def describe_model(path: Path, folder: Path) -> Artifact:
    """Copy ``path`` into ``folder`` with random inputs, reference outputs and artifact.json.

    Raises:
        BadModelFile: not whole, or not a model with one input of fixed shape.
        ReferenceFailed: LiteRT on this host cannot run it.
    """
    model = read_model(path)
    _check_feedable(model)
    folder.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes()
    (folder / MODEL_FILE).write_bytes(content)
    test = _random_test_set(model.spec(model.inputs[0]), folder)
    placed = read_model(folder / MODEL_FILE)
    references = tuple(answers(e, placed, folder, test, True) for e in (LITERT, TFLITE_RUNTIME))
    name = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "model"
    fields: dict[str, Any] = {
        **facts_of(model, content),
        "recipe": name, "variant": name, "branch": name, "baseline": name, "task": None,
        "format": model.number_format, "compression_ratio": 0.0, "accuracy": None,
        "accuracy_reason": "the file came without a test set; build a recipe to have one",
        "test": test, "references": references, "warnings": _warnings(model),
        "provenance": _provenance(),
    }  # fmt: skip
    return write_artifact(Artifact.model_validate(fields), folder)


def _check_feedable(model: TfliteModel) -> None:
    if len(model.inputs) != 1 or not model.outputs:
        found = f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise BadModelFile(model.path, f"{found}; one input and at least one output are supported")


def _warnings(model: TfliteModel) -> list[str]:
    found = []
    if len(model.outputs) > 1:
        found.append(f"the model has {len(model.outputs)} outputs; only the first is compared")
    if (breaks := sparse_path(model).breaks) is not None:
        found.append(f"WRONG NUMBERS ON ARM: {breaks}")
    return found


def _random_test_set(spec: TensorSpec, folder: Path) -> TestSet:
    samples = max(1, min(SAMPLES, MOST_BYTES // spec.bytes))
    random = np.random.default_rng(SEED)
    with (folder / INPUTS_FILE).open("wb") as file:
        for _ in range(samples):
            file.write(_random(spec, random).tobytes())
    return TestSet(samples=samples, origin="random", inputs_file=INPUTS_FILE)


def _random(spec: TensorSpec, random: np.random.Generator) -> NDArray[Any]:
    """One sample: numbers within -1..1, 8 bit integers over their range, indices of 0 and 1.

    Wider integers are mostly indices into a table whose size the file does not tell.
    """
    if spec.dtype in ("int8", "uint8"):
        limits = np.iinfo(spec.dtype)
        return random.integers(limits.min, limits.max + 1, spec.shape).astype(spec.dtype)
    if spec.dtype.startswith("float"):
        return random.uniform(-1, 1, spec.shape).astype(spec.dtype)
    return random.integers(0, 2, spec.shape).astype(spec.dtype)


def _provenance() -> Provenance:
    return Provenance(
        seed=SEED, recipe_sha256=None, data_sha256=None, code_sha256=None, stages=(), packages={},
        created_by=created_by(), built_at_utc=now_utc(),
    )  # fmt: skip
