"""Findings of networks that never were."""

from typing import Any

from pipeline.findings import Findings, Group, Int8, Judged, Layer, Size, Standard, Trial

SHARES = (0.25, 0.5, 0.75)
SPARSITIES = (0.5, 0.7, 0.8, 0.9)


def group(name: str, lost: tuple[float, float, float], channels: int = 64) -> Group:
    trials = tuple(
        Trial(share=share, accuracy=0.9 - points / 100)
        for share, points in zip(SHARES, lost, strict=True)
    )
    return Group(name=name, channels=channels, trials=trials)


def layer(name: str, reads: str | None, makes: str | None, **more: Any) -> Layer:
    lost = more.pop("lost", (0.0, 0.0, 0.5, 5.0))
    fields: dict[str, Any] = {
        "name": name, "macs": 100_000_000, "weights": 10_000,
        "reads": {reads: 1.0} if reads else {}, "makes": {makes: 1.0} if makes else {},
        "trials": tuple(
            Trial(share=share, accuracy=0.9 - points / 100)
            for share, points in zip(SPARSITIES, lost, strict=True)
        ),
        "int8": Judged(accuracy=0.9, error=0.01),
    }  # fmt: skip
    return Layer(**(fields | more))


def findings(**more: Any) -> Findings:
    """A chain of four layers over three groups; ``one`` hurts, the others do not."""
    layers = (
        layer("one", None, "one", macs=20_000_000), layer("two", "one", "two"),
        layer("three", "two", "three"), layer("logits", "three", None, macs=1_000_000),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "recipe": "tiny", "branch": "dense", "standard": Standard.LABELS, "split": "validation",
        "samples": 512, "trainable": True, "accuracy": 0.9, "macs": 221_000_000,
        "parameters": 40_000,
        "groups": (
            group("one", (30.0, 60.0, 80.0)), group("two", (0.0, 2.0, 20.0)),
            group("three", (0.0, 1.0, 10.0)),
        ),
        "left_whole": {"logits": "gives the model's output"}, "left_out": {}, "layers": layers,
        "int8": Int8(judged=Judged(accuracy=0.897, error=0.05)),
        "float32_size": Size(bytes=1_000_000, bytes_zstd=900_000),
        "int8_size": Size(bytes=280_000, bytes_zstd=252_000),
    }  # fmt: skip
    return Findings(**(fields | more))


def judged_int8(points: float) -> Int8:
    return Int8(judged=Judged(accuracy=0.9 - points / 100, error=0.1))
