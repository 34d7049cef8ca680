"""What may be asked of each stage: one class per stage, named as ``stage = "..."`` names it.

Pure: no numpy, no TensorFlow. The work of the stage ``x`` is ``run`` in ``pipeline/stages/x.py``.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, final, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Share = Annotated[float, Field(gt=0, lt=1)]


class Asked(BaseModel):
    """Base of everything a recipe holds: unknown keys are refused, nothing changes later."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


@final
class Distil(Asked):
    """A teacher's answers to learn from, beside the labels.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """

    teacher: str = Field(description="branch above whose end teaches")
    temperature: PositiveFloat = Field(4.0, description="softens both answers; 1: as they are")
    weight: float = Field(0.7, gt=0, le=1, description="of the teacher; the labels get the rest")
    features: tuple[str, ...] = Field(
        (), description="layers of both models whose outputs are to agree, too"
    )
    feature_weight: PositiveFloat = Field(1.0, description="of the features' squared error")


class Fit(Asked):
    """What every stage that trains takes."""

    epochs: PositiveInt = Field(description="passes over the training split")
    batch: PositiveInt = Field(64, description="samples in one step")
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam, at the first step")
    decay: Literal["cosine", "none"] = Field("cosine", description="of the learning rate, to 0")
    distil: Distil | None = Field(None, description="a teacher to learn from")


@final
class Train(Fit):
    """Train the model as it stands."""

    stage: Literal["train"]
    fresh: bool = Field(
        False, description="from new random weights: the control of every smaller network"
    )


@final
class PruneChannels(Fit):
    """Remove whole channels, so that the network becomes smaller and faster as it is."""

    stage: Literal["prune_channels"]
    epochs: NonNegativeInt = Field(0, description="fine-tuning after each removal; 0: none")
    keep: Share = Field(description="share of the target that may stay; met from below")
    target: Literal["macs", "parameters", "bytes", "channels"] = Field(
        "macs", description="what keep is a share of; bytes: of the float32 file"
    )
    score: Literal["l1", "l2", "batchnorm", "taylor", "geometric_median", "random"] = Field(
        "l1", description="what tells how much a channel matters; random: the control"
    )
    allocation: Literal["uniform", "global", "sensitivity"] = Field(
        "uniform",
        description="how the removal is spread: the same share everywhere; the lowest scores of "
        "the whole network; less where removing hurts the validation loss",
    )
    layers: dict[str, float] = Field(
        {}, description="share of channels kept, by layer, from the first step on"
    )
    multiple: PositiveInt = Field(
        16, description="widths are rounded to it; of narrower layers, to smallest"
    )
    smallest: PositiveInt = Field(8, description="no layer is left with fewer channels")
    steps: PositiveInt = Field(1, description="removals by equal shares, each fine-tuned")
    tolerance: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="validation accuracy that may be lost; the first step beyond is the last, "
        "and undone",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for layer, share in self.layers.items():
            if not 0 < share <= 1:
                raise ValueError(f"layers.{layer} is {share}, not a share above 0 and up to 1")
        if self.distil is not None and not self.epochs:
            raise ValueError("distil asks for a teacher, but epochs = 0 trains nothing")
        return self


@final
class PruneWeights(Fit):
    """Set the smallest weights to zero, more and more while training, then keep the zeros."""

    stage: Literal["prune_weights"]
    sparsity: Share = Field(description="share of zeros in each pruned layer")
    initial_sparsity: float = Field(0.0, ge=0, lt=1, description="share of zeros at the start")
    ramp: float = Field(0.6, gt=0, le=1, description="share of the steps in which it grows")
    every_steps: PositiveInt = Field(8, description="steps between two changes of the zeros")
    pattern: Literal["unstructured", "n_of_m", "block"] = Field(
        "unstructured", description="which weights are zero together"
    )
    n_of_m: tuple[PositiveInt, PositiveInt] = Field(
        (2, 4), description="zeros among so many neighbours, for that pattern"
    )
    block: tuple[PositiveInt, PositiveInt] = Field(
        (1, 4), description="inputs x outputs that are zero together, for that pattern"
    )

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.initial_sparsity > self.sparsity:
            raise ValueError("initial_sparsity is above sparsity")
        if self.pattern == "n_of_m":
            zeros, many = self.n_of_m
            if zeros >= many or abs(self.sparsity - zeros / many) > 1e-9:
                raise ValueError(
                    f"n_of_m = [{zeros}, {many}] makes a sparsity of {zeros / many:g}, "
                    f"not {self.sparsity:g}"
                )
        return self


@final
class Finetune(Fit):
    """Train on with the weights that are zero held at zero."""

    stage: Literal["finetune"]


@final
class SparseTopology(Fit):
    """Rewrite a MobileNet-like network so that engines use their sparse kernels; then train on."""

    stage: Literal["sparse_topology"]


@final
class Cluster(Fit):
    """Let the weights of each layer share a few values; zeros stay zeros."""

    stage: Literal["cluster"]
    clusters: int = Field(16, ge=2, le=256, description="values in each layer")
    layers: dict[str, Annotated[int, Field(ge=2, le=256)]] = Field(
        {}, description="values, by layer; as many as it holds weights, or more: left as it is"
    )
    initialisation: Literal["linear", "random", "density", "kmeans"] = Field(
        "kmeans", description="where the values start"
    )


@final
class QuantizeAware(Fit):
    """Train with int8's rounding in place; zeros and shared values stay."""

    stage: Literal["quantize_aware"]
    skip: tuple[str, ...] = Field((), description="layers whose kernels stay float")


@final
class Binarize(Fit):
    """Train with weights of -1 and +1 times one scale per channel; first and last layer stay."""

    stage: Literal["binarize"]
    activations: bool = Field(False, description="also binarize what the layers take")


Stage = Annotated[
    Train
    | PruneChannels
    | PruneWeights
    | Finetune
    | SparseTopology
    | Cluster
    | QuantizeAware
    | Binarize,
    Field(discriminator="stage"),
]

STAGES: Mapping[str, type[Fit]] = {
    get_args(kind.model_fields["stage"].annotation)[0]: kind
    for kind in get_args(get_args(Stage)[0])
}
