"""The worker that performs a plan's calls with Keras."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, final

from pipeline.artifact import NumberFormat
from pipeline.cache import Entry
from pipeline.data import Built, Data, Split
from pipeline.errors import DataError
from pipeline.keras_compat import keras
from pipeline.module import RecipeModule, load_module
from pipeline.plan import Call
from pipeline.recipe import Recipe
from pipeline.runner import Report, now_utc
from pipeline.settings import STAGES
from pipeline.stages.given import Given, Outcome
from pipeline.variant import Source, make_variant

MODEL: Final = "model.keras"


@final
class KerasWorker:
    """Builds, trains and converts one recipe; data and code are loaded when first needed."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._loaded: tuple[Path, Any] | None = None

    @cached_property
    def _module(self) -> RecipeModule:
        return load_module(self._recipe)

    @cached_property
    def _data(self) -> Data:
        return self._module.load_data()

    @cached_property
    def _data_sha256(self) -> str:
        return data_sha256(self._data)

    def build(self, call: Call, folder: Path) -> dict[str, Any]:
        """Write the recipe's untrained model; facts say what must be known about it."""
        # Keras numbers unnamed layers through the whole process; a second recipe starts anew.
        keras.backend.clear_session()
        keras.utils.set_random_seed(self._recipe.seed)
        built = self._module.build_model()
        _check_model(built, self._recipe.name)
        self._save(built.model, folder)
        return {"accuracy_reason": built.accuracy_reason, "warnings": list(built.warnings)}

    def stage(
        self, call: Call, parent: Entry, folder: Path, report: Report, teacher: Entry | None = None
    ) -> dict[str, Any]:
        """Write the parent's model after the stage; what the stage says of it are facts."""
        with self._scope():
            given = Given(
                model=self._load(parent), data=self._data, seed=self._recipe.seed, report=report,
                teacher=None if teacher is None else _read(teacher),
            )  # fmt: skip
            outcome = _performed(call, given)
        self._save(outcome.model, folder)
        trained = bool(call.parameters["epochs"])
        return {
            # A trained model is nobody's random one any more.
            "accuracy_reason": None if trained else parent.facts["accuracy_reason"],
            "warnings": [*([] if trained else parent.facts["warnings"]), *outcome.warnings],
            "stage": outcome.facts,
        }

    def convert(self, call: Call, parent: Entry, folder: Path) -> dict[str, Any]:
        """Write a variant's files; facts are the artifact's fields."""
        facts = parent.facts
        samples = call.parameters["samples"]
        recipe = self._recipe
        with self._scope():
            source = Source(
                model=self._load(parent), data=self._data, name=str(call.variant),
                number_format=NumberFormat(call.name),
                samples=None if samples == "all" else int(samples), quantize=recipe.quantize,
                accuracy_reason=facts["accuracy_reason"] or self._data.accuracy_reason,
                warnings=(*facts["warnings"], *self._data.warnings),
            )  # fmt: skip
            fields = make_variant(source, folder)
        return {**fields, "data_sha256": self._data_sha256, "built_at_utc": now_utc()}

    def _scope(self) -> Any:
        """Layers of the recipe's own model.py, and those its stages bring."""
        stages = {stage.stage for branch in self._recipe.branch for stage in branch.stages}
        brought = [_layers(_module_of(name)) for name in sorted(stages)]
        classes: dict[str, Any] = {k: v for found in brought for k, v in found.items()}
        return keras.utils.custom_object_scope(classes | self._module.classes())

    def _save(self, model: Any, folder: Path) -> None:
        with self._scope():
            model.save(folder / MODEL, save_format="keras")

    def _load(self, entry: Entry) -> Any:
        """The kept model; the last one stays, as the formats of a branch share it."""
        path = entry.folder / MODEL
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = path, _read(entry)
        return self._loaded[1]


def data_sha256(data: Data) -> str:
    """Of every array the recipe's data holds, in a fixed order."""
    total = hashlib.sha256()
    for name in ("train", "validation", "test"):
        split: Split | None = getattr(data, name)
        arrays = () if split is None else (split.inputs, split.labels)
        for array in arrays:
            shape = None if array is None else (str(array.dtype), array.shape)
            total.update(f"{name} {shape}\n".encode())
            total.update(b"" if array is None else array.tobytes())
    return total.hexdigest()


def _read(entry: Entry) -> Any:
    # safe_mode refuses Lambda layers; this file is made from the recipe's own code.
    return keras.models.load_model(entry.folder / MODEL, compile=False, safe_mode=False)


def _performed(call: Call, given: Given) -> Outcome:
    settings = STAGES[call.name].model_validate({"stage": call.name, **call.parameters})
    outcome: Outcome = _module_of(call.name).run(settings, given)
    return outcome


def _module_of(stage: str) -> ModuleType:
    return import_module(f"pipeline.stages.{stage}")


def _layers(stage: ModuleType) -> Mapping[str, Any]:
    """Layer classes by which a model that was saved behind the stage is read again."""
    brought: Mapping[str, Any] = stage.custom_objects() if hasattr(stage, "custom_objects") else {}
    return brought


def _check_model(built: Built, recipe: str) -> None:
    if not isinstance(built.model, keras.Model):
        found = f"{type(built.model).__module__}.{type(built.model).__name__}"
        raise DataError(recipe, f"build_model() returned {found}, not a tf_keras.Model")
    if len(built.model.inputs) != 1 or len(built.model.outputs) != 1:
        found = f"{len(built.model.inputs)} inputs and {len(built.model.outputs)} outputs"
        raise DataError(recipe, f"the model has {found}; one of each is supported")
