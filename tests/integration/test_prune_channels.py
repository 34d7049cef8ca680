"""Channels removed from a small network that tells gratings of six directions apart."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import NumberFormat
from pipeline.channels.cost import cost_of
from pipeline.data import Data, Split
from pipeline.errors import DataError, NotPrunable
from pipeline.export import tflite
from pipeline.keras_compat import keras
from pipeline.settings import PruneChannels, Train
from pipeline.stages import prune_channels, train
from pipeline.stages.given import Given, Outcome
from pipeline.tflite_file import read_model

pytestmark = pytest.mark.slow

DIRECTIONS = 6


def gratings(samples: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    labels = np.arange(samples) % DIRECTIONS
    angle = (np.pi * labels / DIRECTIONS)[:, None, None]
    down, right = np.mgrid[:12, :12]
    phase = random.uniform(0, 2 * np.pi, (samples, 1, 1))
    waves = np.sin(1.2 * (right * np.cos(angle) + down * np.sin(angle)) + phase)
    noisy = waves + random.normal(0, 1.2, waves.shape)
    return Split(inputs=noisy[..., None].astype(np.float32), labels=labels)


def network() -> Any:
    layers = keras.layers
    inputs = keras.Input((12, 12, 1))
    x = layers.Conv2D(32, 5, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="stem_bn")(x))
    y = layers.Conv2D(32, 3, padding="same", use_bias=False, name="branch")(x)
    y = layers.BatchNormalization(momentum=0.9, name="branch_bn")(y)
    x = layers.ReLU()(layers.Add(name="add")([x, y]))
    x = layers.Conv2D(48, 3, padding="same", name="head")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(DIRECTIONS, name="logits")(x), name="gratings")


@pytest.fixture(scope="module")
def data() -> Data:
    return Data(train=gratings(480, 0), validation=gratings(480, 1), test=gratings(960, 2))


@pytest.fixture(scope="module")
def trained(data: Data) -> Any:
    keras.utils.set_random_seed(3)
    settings = Train(stage="train", epochs=12, batch=32, learning_rate=5e-3)
    return train.run(settings, Given(model=network(), data=data, seed=3)).model


def pruned(model: Any, data: Data, seed: int = 3, **asked: Any) -> Outcome:
    settings = PruneChannels.model_validate(
        {"stage": "prune_channels", "keep": 0.5, "multiple": 4, "smallest": 4, "batch": 32} | asked
    )
    return prune_channels.run(settings, Given(model=model, data=data, seed=seed))


def accuracy(model: Any, split: Split) -> float:
    answers = model(split.inputs).numpy().argmax(axis=1)
    return float((answers == split.labels).mean())


@pytest.fixture(scope="module")
def halved(trained: Any, data: Data) -> Outcome:
    return pruned(trained, data)


def test_the_file_holds_what_was_promised(trained: Any, halved: Outcome, tmp_path: Path) -> None:
    """Counted by another reader, in another format, than what made the promise."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite.convert(halved.model, NumberFormat.FLOAT32))
    macs = halved.facts["macs"]
    assert read_model(path).macs == macs["after"]
    assert cost_of(trained).macs == macs["before"]
    assert halved.facts["target"] == {
        "of": "macs", "keep": 0.5, "reached": round(macs["after"] / macs["before"], 4),
        "before": macs["before"], "predicted": macs["after"], "after": macs["after"],
    }  # fmt: skip
    assert 0.42 * macs["before"] < macs["after"] <= 0.5 * macs["before"]


def test_widths_are_multiples_and_facts_tell_them(halved: Outcome) -> None:
    groups = halved.facts["groups"]
    assert {name: found["of"] for name, found in groups.items()} == {"stem": 32, "head": 48}
    for name, found in groups.items():
        assert halved.model.get_layer(name).filters == found["kept"]
        assert found["kept"] % 4 == 0
    # Coupled by the addition, so narrowed together.
    assert halved.model.get_layer("branch").filters == groups["stem"]["kept"]
    assert list(halved.facts["left_whole"]) == ["logits"]
    assert halved.facts["steps"][0]["normalisations_measured_anew"] == 2


def test_the_given_model_stays_as_it_was(trained: Any, data: Data) -> None:
    before = [weight.copy() for weight in trained.get_weights()]
    first = pruned(trained, data, score="taylor", epochs=1)
    again = pruned(trained, data, score="taylor", epochs=1)
    for was, now in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_scores_keep_what_random_loses(trained: Any, data: Data) -> None:
    """At equal widths and without fine-tuning; random is the mean of four draws."""

    def left(score: str, seed: int = 3) -> float:
        outcome = pruned(trained, data, seed, score=score, layers={"stem": 0.5}, keep=0.25)
        assert outcome.facts["groups"] == {
            "stem": {"kept": 16, "of": 32}, "head": {"kept": 20, "of": 48}
        }  # fmt: skip
        return accuracy(outcome.model, data.test)

    random = np.mean([left("random", seed) for seed in range(4)])
    assert accuracy(trained, data.test) > 0.97
    assert left("l1") > random + 0.25
    assert left("taylor") > random + 0.25


@pytest.mark.parametrize(
    ("target", "allocation"), [("parameters", "global"), ("channels", "sensitivity")]
)
def test_other_targets_are_met_too(trained: Any, data: Data, target: str, allocation: str) -> None:
    facts = pruned(trained, data, target=target, allocation=allocation, keep=0.4).facts
    aim = facts["target"]
    assert aim["after"] == aim["predicted"]
    assert 0.3 * aim["before"] < aim["after"] <= 0.4 * aim["before"]
    if target == "channels":
        assert aim["after"] == sum(group["kept"] for group in facts["groups"].values())


def test_the_float_file_is_as_small_as_asked(trained: Any, data: Data) -> None:
    outcome = pruned(trained, data, target="bytes", keep=0.4)
    aim = outcome.facts["target"]
    assert aim["after"] == len(tflite.convert(outcome.model, NumberFormat.FLOAT32))
    assert aim["after"] <= 0.4 * aim["before"]
    assert aim["predicted"] == pytest.approx(aim["after"], rel=0.01)


def test_units_of_several_channels_are_rounded_together(data: Data) -> None:
    inputs = keras.Input((12, 12, 1))
    x = keras.layers.Conv2D(32, 3, name="before")(inputs)
    x = keras.layers.Conv2D(48, 3, groups=2, name="grouped")(x)
    x = keras.layers.Dense(DIRECTIONS)(keras.layers.Flatten()(x))
    outcome = pruned(keras.Model(inputs, x, name="groups"), data, multiple=8, smallest=8)
    assert outcome.facts["groups"]["grouped"]["of"] == 24
    # 214 080 of 489 600; 24 and 32 would be 255 072.
    assert [outcome.model.get_layer(n).filters for n in ("before", "grouped")] == [16, 40]


def test_what_has_no_scale_is_scored_otherwise_and_said(trained: Any, data: Data) -> None:
    facts = pruned(trained, data, score="batchnorm").facts
    assert facts["scored_otherwise"] == {"head": "l1: no batch normalisation scales it"}


def test_a_teacher_without_training_is_refused() -> None:
    with pytest.raises(ValueError, match="epochs = 0 trains nothing"):
        PruneChannels.model_validate(
            {"stage": "prune_channels", "keep": 0.5, "distil": {"teacher": "dense"}}
        )


def test_a_step_that_costs_too_much_is_undone(trained: Any, data: Data) -> None:
    outcome = pruned(trained, data, keep=0.08, steps=3, tolerance=0.2)
    *kept, last = outcome.facts["steps"]
    assert kept
    assert last["undone"]
    assert not any(step["undone"] for step in kept)
    before = outcome.facts["accuracy_before"]
    assert before - last["accuracy"] > 0.2 >= before - kept[-1]["accuracy"]
    assert cost_of(outcome.model).macs == kept[-1]["macs"] > last["macs"]
    assert accuracy(outcome.model, data.validation) == pytest.approx(kept[-1]["accuracy"])
    assert outcome.facts["target"]["reached"] == kept[-1]["share"] > 0.08
    assert "was undone" in outcome.warnings[0]


def test_steps_remove_equal_shares_and_count_epochs_as_one(trained: Any, data: Data) -> None:
    told: list[tuple[int, int, str]] = []
    settings = PruneChannels(
        stage="prune_channels", keep=0.25, steps=2, epochs=2, batch=32, multiple=2, smallest=2
    )
    outcome = prune_channels.run(
        settings, Given(model=trained, data=data, seed=3, report=lambda *said: told.append(said))
    )
    assert [step["share_asked"] for step in outcome.facts["steps"]] == [0.5, 0.25]
    assert all(0.9 < s["share"] / s["share_asked"] <= 1 for s in outcome.facts["steps"])
    assert [(epoch, of) for epoch, of, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[2][2].startswith("step 2 of 2: loss")
    assert accuracy(outcome.model, data.test) > 0.9


def test_removal_alone_needs_no_labels(trained: Any, data: Data) -> None:
    bare = replace(data, train=Split(inputs=data.train.inputs), validation=None)
    outcome = pruned(trained, bare)
    assert outcome.facts["steps"][0]["accuracy"] is None
    assert outcome.facts["steps"][0]["normalisations_measured_anew"] == 2
    assert accuracy(outcome.model, data.test) > 0.9


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"keep": 0.01}, NotPrunable, r"keep = 0.01 of the macs cannot be met; .* \d.*% stay"),
        ({"keep": 0.01}, NotPrunable, r"head \(floor, .*; 1 layers keep all .*logits: gives"),
        (
            {"layers": {"stem": 1.0}, "keep": 0.2},
            NotPrunable,
            r"stem \(layers, .*raise keep to 0\.\d+, .* shares of layers",
        ),
        ({"layers": {"branches": 0.5}}, DataError, r"layers.branches: .*near it: branch"),
        ({"layers": {"logits": 0.5}}, DataError, "keeps all its channels: gives the model's"),
        ({"layers": {"stem": 0.5, "branch": 1}}, DataError, "layers.branch hangs together"),
        ({"keep": 0.08, "tolerance": 0.01}, NotPrunable, "the best, step 1 of 1 with"),
    ],
)
def test_what_cannot_be_is_said(
    trained: Any, data: Data, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        pruned(trained, data, **asked)
    assert re.search(said, str(caught.value))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"score": "taylor"}, "no gradients for score = 'taylor'; use l1"),
        ({"epochs": 1}, "set epochs = 0"),
        ({"tolerance": 0.1}, "tolerance needs a validation split with labels"),
        ({"allocation": "sensitivity"}, "use uniform or global"),
    ],
)
def test_labels_are_asked_for(trained: Any, data: Data, asked: dict[str, Any], said: str) -> None:
    bare = replace(data, train=Split(inputs=data.train.inputs), validation=None)
    with pytest.raises(DataError) as caught:
        pruned(trained, bare, **asked)
    assert said in str(caught.value)
