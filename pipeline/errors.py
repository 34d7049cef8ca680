"""The pipeline's errors.

PipelineError
├── RecipeError         a recipe that cannot be used: where, which key, what would be right
├── UnusableInput       a model or data of the user's own that cannot be taken in
├── BadModelFile        a file that is not a whole TFLite model
├── BadArtifact         an artifact.json that is not understood, or does not fit its files
├── DataError           model.py gave a model or data that cannot be used
├── StageFailed         a stage raised; the cause is chained
├── NotPrunable         a model whose channels cannot be removed, or not the way it was asked
├── TrainingDiverged    a loss or a weight became no number
├── OutOfMemory         a training step does not fit into memory
├── TeachingError       a model cannot be distilled as asked: the teacher does not fit
├── ConversionError     a trained model could not be converted, or converts to wrong numbers
├── ReferenceFailed     an interpreter on this host could not run a model
└── PackageMissing      the packages of the ``compress`` extra are not installed

Constructor arguments are facts, handed to ``super().__init__`` so that an error survives
pickling. ``kind`` names whose trouble it is, in the words the reports use.
"""

from typing import ClassVar, Literal


class PipelineError(Exception):
    """Base of all errors of the pipeline."""

    kind: ClassVar[Literal["model", "device", "infra"]] = "model"
    retryable: ClassVar[bool] = False


class RecipeError(PipelineError):
    """A recipe that cannot be used."""

    kind = "infra"

    def __init__(self, path: str, key: str, message: str, hint: str = "") -> None:
        super().__init__(path, key, message, hint)
        self.path, self.key, self.message, self.hint = path, key, message, hint

    def __str__(self) -> str:
        where = f"{self.path}: {self.key}" if self.key else self.path
        hint = f"; {self.hint}" if self.hint else ""
        return f"{where}: {self.message}{hint}"


class UnusableInput(PipelineError):
    """A model or data of the user's own that cannot be taken in: what is wrong, what would help."""

    kind = "infra"

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(path, message, hint)
        self.path, self.message, self.hint = path, message, hint

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.path}: {self.message}{hint}"


class BadModelFile(PipelineError):
    """A file that is not a whole TFLite model."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; export the model again and copy the whole file"


class BadArtifact(PipelineError):
    """An artifact.json that is not understood, or does not fit the files beside it."""

    kind = "infra"

    def __init__(self, path: str, key: str, message: str) -> None:
        super().__init__(path, key, message)
        self.path, self.key, self.message = path, key, message

    def __str__(self) -> str:
        where = f"{self.path}: {self.key}" if self.key else self.path
        return f"{where}: {self.message}; build the recipe again"


class DataError(PipelineError):
    """What model.py gave cannot be trained or evaluated on."""

    def __init__(self, recipe: str, message: str) -> None:
        super().__init__(recipe, message)
        self.recipe, self.message = recipe, message

    def __str__(self) -> str:
        return f"recipe {self.recipe}: {self.message}"


class StageFailed(PipelineError):
    """A stage raised something of its own; the cause is chained."""

    def __init__(self, recipe: str, stage: str, cause: str) -> None:
        super().__init__(recipe, stage, cause)
        self.recipe, self.stage, self.cause = recipe, stage, cause

    def __str__(self) -> str:
        return f"recipe {self.recipe}, stage {self.stage}: {self.cause}"


class TrainingDiverged(PipelineError):
    """A loss or a weight became infinite or no number."""

    def __init__(self, model: str, epoch: int, learning_rate: float) -> None:
        super().__init__(model, epoch, learning_rate)
        self.model, self.epoch, self.learning_rate = model, epoch, learning_rate

    def __str__(self) -> str:
        return (
            f"training {self.model} diverged in epoch {self.epoch} with learning_rate = "
            f"{self.learning_rate}: a loss or a weight is infinite or no number; lower "
            "learning_rate, and look for inputs that are no numbers"
        )


class OutOfMemory(PipelineError):
    """A training step does not fit into memory."""

    kind = "infra"

    def __init__(self, model: str, batch: int) -> None:
        super().__init__(model, batch)
        self.model, self.batch = model, batch

    def __str__(self) -> str:
        return f"training {self.model} ran out of memory with batch = {self.batch}; lower batch"


class TeachingError(PipelineError):
    """A model cannot be distilled as asked."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model, self.reason = model, reason

    def __str__(self) -> str:
        return f"{self.model} cannot be distilled: {self.reason}"


class NotPrunable(PipelineError):
    """A model whose channels cannot be removed, or not the way it was asked."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(model, reason)
        self.model, self.reason = model, reason

    def __str__(self) -> str:
        return f"model {self.model}: {self.reason}"


class ConversionError(PipelineError):
    """A model could not be converted, or its conversion gives other numbers."""

    def __init__(self, variant: str, reason: str) -> None:
        super().__init__(variant, reason)
        self.variant, self.reason = variant, reason

    def __str__(self) -> str:
        return f"{self.variant}: {self.reason}"


class ReferenceFailed(PipelineError):
    """An interpreter on this host could not run a model."""

    def __init__(self, engine: str, model: str, reason: str) -> None:
        super().__init__(engine, model, reason)
        self.engine, self.model, self.reason = engine, model, reason

    def __str__(self) -> str:
        return f"{self.engine} cannot run {self.model}: {self.reason}"


class PackageMissing(PipelineError):
    """A package that compression needs is not installed."""

    kind = "infra"

    def __init__(self, package: str, needed_for: str) -> None:
        super().__init__(package, needed_for)
        self.package, self.needed_for = package, needed_for

    def __str__(self) -> str:
        return (
            f"{self.package} is needed {self.needed_for}; "
            'install it with: pip install "deploy-bench[compress]"'
        )
