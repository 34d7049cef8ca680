"""Try a model on a few samples: how it wants pixels scaled, whether it can be narrowed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from pipeline.data import Data, Split
from pipeline.errors import PipelineError
from pipeline.own.data import Samples, few, find_samples, ready
from pipeline.own.model import Traits
from pipeline.own.scale import Scale, fits, scaled
from pipeline.settings import PruneChannels
from pipeline.stages.evaluate import count_correct, keras_outputs
from pipeline.stages.given import Given
from pipeline.stages.teaching import ends_in_softmax

TRIED_SAMPLES: Final = 96
# Scales that are right by less than this oftener are so by chance.
_CLEARLY: Final = 0.05
_LOWER: Final = 0.7  # of the loss
_SURE: Final = 0.05  # a loss below is one of sure and right answers, and cannot tell


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleChoice:
    """How pixels are to be scaled, and why so; ``doubt`` is what the user must look into."""

    scale: Scale
    reason: str
    doubt: str = ""


def sample_of(path: Path, traits: Traits, seed: int) -> Samples:
    """A few samples with labels, if there are any, as they are stored.

    Raises:
        UnusableInput: the data cannot be used with the model.
    """
    found = find_samples(path, traits.shape, traits.classes)
    chosen = few(found.get("all") or found["train"], TRIED_SAMPLES, seed)
    return Samples(inputs=chosen.read(traits.shape), labels=chosen.labels)


def choose_scale(model: Any, traits: Traits, sample: Samples, asked: Scale | None) -> ScaleChoice:
    """The scale that was asked for, or the one under which the model does best."""
    pixels = sample.read(traits.shape)
    if pixels.dtype.kind == "f":
        doubt = "--scale is for pixels; x holds floats, which are taken as they are"
        return ScaleChoice(
            scale=asked or Scale.RAW, reason="x holds floats, taken as they are",
            doubt=doubt if asked else "",
        )  # fmt: skip
    likely = asked or (Scale.RAW if traits.rescales else Scale.UNIT)
    if traits.classes is None or sample.labels is None:
        return ScaleChoice(scale=asked, reason="as asked") if asked else _guessed(likely, traits)
    tried = [asked] if asked else [s for s in Scale if fits(s, traits.shape[-1])]
    scores = {scale: _score(model, scaled(pixels, scale), sample.labels) for scale in tried}
    best = _best(scores, likely)
    said = ", ".join(f"{scale} {score.right:.0%}" for scale, score in scores.items())
    reason = f"right on {len(pixels)} samples: {said}"
    return ScaleChoice(
        scale=best, reason=reason, doubt=_doubt(scores[best].right, traits.classes, reason)
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    right: float  # share of the samples
    loss: float  # cross-entropy


def _score(model: Any, inputs: Any, labels: Any) -> _Score:
    outputs = keras_outputs(model, inputs).astype(np.float64)
    right = count_correct(outputs, labels) / len(labels)
    if ends_in_softmax(model):
        outputs = np.log(np.maximum(outputs, 1e-9))
    outputs -= outputs.max(1, keepdims=True)
    chosen = outputs[np.arange(len(labels)), labels]
    loss = float(np.mean(np.log(np.exp(outputs).sum(1)) - chosen))
    return _Score(right=right, loss=loss)


def _best(scores: dict[Scale, _Score], likely: Scale) -> Scale:
    """The scale with the lowest loss among those that are right most often; the likely one first.

    Larger inputs make surer answers whatever the model was trained on, so a wider scale must be
    clearly better, and 0..255 right more often, too.
    """
    most = max(score.right for score in scores.values())
    close = [s for s, score in scores.items() if score.right >= most - _CLEARLY]
    others = [s for s in close if s is likely or s is not Scale.RAW]
    best, *wider = sorted(others or close, key=lambda s: s is not likely)
    for scale in wider:
        if max(scores[scale].loss, _SURE) < _LOWER * scores[best].loss:
            best = scale
    return best


def _doubt(right: float, classes: int, reason: str) -> str:
    if right >= min(0.5, 2 / classes):
        return ""
    return (
        f"{reason}; the model is untrained, or its classes are in another order than the data's, "
        "or it wants another --scale"
    )


def why_not_narrower(
    model: Any, sample: Samples, scale: Scale, settings: PruneChannels
) -> str | None:
    """Why channels cannot be removed as ``settings`` say; None when they can.

    The removal itself is tried, without training: which layers can lose channels, and whether
    that is enough, only it can tell.
    """
    from pipeline.stages.prune_channels import run

    inputs = ready(sample.read(tuple(model.inputs[0].shape[1:])), scale)
    split = Split(inputs=inputs, labels=sample.labels)
    data = Data(train=split, validation=split, test=split)
    try:
        run(settings, Given(model=model, data=data, seed=0))
    except PipelineError as exc:
        return str(exc)
    return None


def _guessed(likely: Scale, traits: Traits) -> ScaleChoice:
    if traits.rescales:
        reason = f"the model scales them itself, in {traits.rescales}"
        return ScaleChoice(scale=likely, reason=reason)
    doubt = f"nothing tells how the model wants pixels scaled; taken: {likely} (--scale)"
    return ScaleChoice(scale=likely, reason="a guess: without labels nothing tells", doubt=doubt)
