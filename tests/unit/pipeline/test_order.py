"""Orders of stages that undo one another, each refused with the reason."""

import pytest

from pipeline.artifact import NumberFormat
from pipeline.order import Trait, check_formats, traits_after
from pipeline.settings import STAGES


def after(*stages: str) -> frozenset[Trait]:
    traits: frozenset[Trait] = frozenset()
    for stage in stages:
        traits = traits_after(traits, stage)
    return traits


@pytest.mark.parametrize(
    "stages",
    [
        ("train", "prune_channels", "finetune", "prune_weights", "finetune", "quantize_aware"),
        ("train", "prune_weights", "prune_weights", "cluster", "quantize_aware"),
        ("train", "sparse_topology", "prune_weights"),
        ("train", "prune_channels", "prune_channels", "binarize"),
        ("train", "cluster", "quantize_aware"),
    ],
)
def test_orders_that_compose(stages: tuple[str, ...]) -> None:
    after(*stages)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (("prune_weights", "train"), "train would destroy the zeros"),
        (("prune_weights", "prune_channels"), "put it before prune_weights"),
        (("prune_weights", "binarize"), "binarize would destroy the zeros"),
        (("cluster", "finetune"), "only quantize_aware keeps shared values"),
        (("cluster", "prune_weights"), "prune_weights would destroy the shared values"),
        (("quantize_aware", "prune_channels"), "quantize_aware comes last"),
        (("quantize_aware", "finetune"), "quantize_aware comes last"),
        (("binarize", "quantize_aware"), "quantize_aware would destroy the binary weights"),
        (("cluster", "cluster"), "cluster would destroy the shared values"),
    ],
)
def test_orders_that_contradict(stages: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        after(*stages)


def test_every_stage_is_known_to_the_order() -> None:
    for stage in STAGES:
        after(stage)


def test_what_quantize_aware_ends_in() -> None:
    traits = after("quantize_aware")
    check_formats(traits, [NumberFormat.INT8])
    with pytest.raises(ValueError, match="only int8 can be made, not float32"):
        check_formats(traits, [NumberFormat.INT8, NumberFormat.FLOAT32])


def test_leaving_zeros_out_needs_zeros() -> None:
    check_formats(after("prune_weights"), [NumberFormat.FLOAT32_SPARSE])
    with pytest.raises(ValueError, match="needs a prune_weights stage"):
        check_formats(after("train"), [NumberFormat.FLOAT16_SPARSE])
