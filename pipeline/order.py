"""Which stages may follow which, and what a branch's end may be converted to; pure.

Every stage leaves something in the weights that a later one may destroy without a word: plain
training fills zeros, any training parts shared values. Such an order is refused while the recipe
is read, not after an hour of training.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from pipeline.artifact import NumberFormat


class Trait(StrEnum):
    """What a stage leaves in the weights."""

    SPARSE = "zeros"
    CLUSTERED = "shared values"
    BINARY = "binary weights"
    QUANTIZED = "int8's rounding"


_LEAVES: Final[Mapping[str, Trait]] = {
    "prune_weights": Trait.SPARSE,
    "cluster": Trait.CLUSTERED,
    "binarize": Trait.BINARY,
    "quantize_aware": Trait.QUANTIZED,
}
_KEEPS: Final[Mapping[str, frozenset[Trait]]] = {
    "finetune": frozenset({Trait.SPARSE}),
    "prune_weights": frozenset({Trait.SPARSE}),
    "cluster": frozenset({Trait.SPARSE}),
    "quantize_aware": frozenset({Trait.SPARSE, Trait.CLUSTERED}),
}
_ADVICE: Final[Mapping[Trait, str]] = {
    Trait.SPARSE: "put it before prune_weights, or use finetune, which holds the zeros",
    Trait.CLUSTERED: "put it before cluster; only quantize_aware keeps shared values",
    Trait.BINARY: "put it before binarize",
    Trait.QUANTIZED: "quantize_aware comes last",
}
_QUANTIZED_FORMATS: Final = frozenset({NumberFormat.INT8})
_ENCODED: Final = frozenset({NumberFormat.FLOAT32_SPARSE, NumberFormat.FLOAT16_SPARSE})


def traits_after(traits: frozenset[Trait], stage: str) -> frozenset[Trait]:
    """What the weights hold after ``stage``.

    Raises:
        ValueError: the stage would destroy what an earlier one made; the text says which.
    """
    lost = traits - _KEEPS.get(stage, frozenset())
    if lost:
        first = sorted(lost)[0]
        raise ValueError(f"{stage} would destroy the {first} of an earlier stage; {_ADVICE[first]}")
    return traits | ({_LEAVES[stage]} if stage in _LEAVES else frozenset())


def check_formats(traits: frozenset[Trait], formats: Iterable[NumberFormat]) -> None:
    """Check what weights with ``traits`` are to be converted to.

    Raises:
        ValueError: a format that cannot come of them.
    """
    for number_format in formats:
        if Trait.QUANTIZED in traits and number_format not in _QUANTIZED_FORMATS:
            raise ValueError(
                f"after quantize_aware only int8 can be made, not {number_format}; "
                "put the other formats into a branch that ends before it"
            )
        if number_format in _ENCODED and Trait.SPARSE not in traits:
            raise ValueError(f"{number_format} stores zeros apart; it needs a prune_weights stage")
