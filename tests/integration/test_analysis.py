"""A network that tells lying stripes from standing ones, asked what it has too much of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_bench.analysis import analyse, goal_of, judged_by
from device_bench.progress import Lines
from pipeline.analysis import (
    REMOVED,
    SPARSITIES,
    Subject,
    kernels_of,
    macs_of,
    measure,
    opened,
    rounded,
    silenced,
    thinned,
)
from pipeline.channels.cost import cost_of, predicted
from pipeline.channels.graph import analyse as channel_graph
from pipeline.channels.graph import layer_at
from pipeline.channels.rewrite import zeroed
from pipeline.data import Split
from pipeline.findings import Archive, Findings, Standard, branch_end, findings_key
from pipeline.keras_compat import copy_of, keras
from pipeline.plan import CACHE_FOLDER, Plan, plan_recipe
from pipeline.recipe import load_recipe
from pipeline.runner import perform_call

pytestmark = pytest.mark.slow

RECIPE = """\
summary = "stripes, lying or standing"
seed = 5
[[branch]]
name = "dense"
stages = [{ stage = "train", epochs = 3, batch = 16, learning_rate = 1e-2 }]
formats = ["float32"]
"""

MODEL = """\
import numpy as np

from pipeline.recipe import Data, Split


def build_model():
    import tf_keras
    from tf_keras import layers

    inputs = tf_keras.Input((8, 8, 1))
    x = layers.Conv2D(16, 3, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.ReLU()(layers.Conv2D(16, 1, name="project")(y))
    x = layers.Concatenate()([layers.Conv2D(8, 1, name="wide")(y), x])
    x = layers.Conv2D(24, 1, name="head")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return tf_keras.Model(inputs, layers.Dense(2, name="logits")(x))


def load_data():
    random = np.random.default_rng(0)
    labels = np.arange(288) % 2
    stripes = np.sin(np.arange(8) * 2 + random.uniform(0, 6, (288, 1)))
    standing = np.repeat(stripes[:, np.newaxis], 8, axis=1)
    images = np.where(labels[:, None, None] == 1, standing, standing.transpose(0, 2, 1))
    noisy = images + random.normal(0, 0.3, images.shape)
    splits = np.split(noisy[..., np.newaxis].astype(np.float32), 3)
    parts = [Split(inputs=i, labels=n) for i, n in zip(splits, np.split(labels, 3))]
    return Data(train=parts[0], validation=parts[1], test=parts[2])
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("models") / "stripes"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "model.py").write_text(MODEL)
    return plan_recipe(load_recipe(folder))


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("variants")


@pytest.fixture(scope="module")
def subject(plan: Plan, variants: Path) -> Subject:
    entry = perform_call(plan, branch_end(plan, "dense"), variants)
    return opened(plan.recipe, "dense", entry)


@pytest.fixture(scope="module")
def model(subject: Subject) -> Any:
    return subject.model


@pytest.fixture(scope="module")
def found(plan: Plan, variants: Path, subject: Subject) -> Findings:
    before = subject.model.get_weights()
    found = measure(subject, Archive.of(plan, "dense", variants), lambda *_: None)
    for old, new in zip(before, subject.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return found


def test_nothing_but_the_branchs_end_is_made(subject: Subject, plan: Plan, variants: Path) -> None:
    assert subject.data.validation is not None
    assert len(subject.data.validation.inputs) == 96
    assert not (variants / "stripes").exists()
    kept = {p.name for p in (variants / CACHE_FOLDER).iterdir() if p.is_dir()}
    assert kept == {call.key for call in plan.lineage(branch_end(plan, "dense"))}


def test_silencing_is_what_removal_is_held_against(model: Any, subject: Subject) -> None:
    graph, inputs = channel_graph(model), subject.data.test.inputs[:8]
    for group in graph.groups:
        changed = copy_of(model)
        for path, weights in silenced(model, graph, group.name, [0, 3]).items():
            layer_at(changed, path).set_weights(weights)
        expected = zeroed(model, graph, {group.name: [0, 3]})(inputs).numpy()
        np.testing.assert_array_equal(changed(inputs).numpy(), expected)
        assert not np.array_equal(expected, model(inputs).numpy())


def test_multiplications_of_layers_add_up(model: Any) -> None:
    macs = macs_of(model)
    assert list(macs) == ["stem", "depthwise", "project", "wide", "head", "logits"]
    assert macs["stem"] == 4 * 4 * 9 * 16
    assert sum(macs.values()) == cost_of(model).macs


def test_shares_are_those_the_rewrite_would_leave(found: Findings, model: Any) -> None:
    predict = predicted(model, channel_graph(model))
    whole = predict({}).macs
    for group in found.groups:
        half = {group.name: group.channels // 2}
        share = predict(half).macs / whole
        assert found.mac_share({group.name: 0.5}) == pytest.approx(share, abs=1e-4), group.name
    every = {group.name: group.channels // 2 for group in found.groups}
    share = predict(every).macs / whole
    assert found.mac_share(dict.fromkeys(every, 0.5)) == pytest.approx(share, abs=1e-4)


def test_the_smallest_weights_are_thinned(model: Any) -> None:
    layer = model.get_layer("project")
    kernel, bias = layer.get_weights()
    thin, kept_bias = thinned(layer, 0.75)
    assert np.mean(thin == 0) == 0.75
    np.testing.assert_array_equal(thin[thin != 0], kernel[thin != 0])
    assert np.abs(kernel[thin == 0]).max() <= np.abs(thin[thin != 0]).min()
    np.testing.assert_array_equal(bias, kept_bias)


@pytest.mark.parametrize(("name", "axis"), [("project", (0, 1, 2)), ("depthwise", (0, 1))])
def test_rounding_has_a_scale_for_each_channel(
    model: Any, name: str, axis: tuple[int, ...]
) -> None:
    layer = model.get_layer(name)
    kernel, near = layer.get_weights()[0], rounded(layer)[0]
    scale = np.abs(kernel).max(axis=axis, keepdims=True) / 127
    np.testing.assert_allclose(near, np.round(kernel / scale) * scale, rtol=1e-6)
    assert np.abs(near - kernel).max() > 0
    assert (np.abs(near - kernel) <= scale * 0.5001).all()


def test_findings_are_whole(found: Findings, subject: Subject, plan: Plan) -> None:
    validation = subject.data.validation
    assert validation is not None
    assert (found.standard, found.split, found.samples) == (Standard.LABELS, "validation", 96)
    answers = subject.model(validation.inputs).numpy().argmax(axis=1)
    assert found.accuracy == pytest.approx(np.mean(answers == validation.labels))
    assert found.accuracy > 0.9
    assert [g.name for g in found.groups] == ["stem", "project", "wide", "head"]
    assert [layer.name for layer in found.layers] == list(macs_of(subject.model))
    assert [t.share for t in found.groups[0].trials] == list(REMOVED)
    assert [t.share for t in found.layers[0].trials] == list(SPARSITIES)
    assert "logits" in found.left_whole
    assert found.left_out == {}


def test_a_trial_is_what_the_changed_model_answers(found: Findings, subject: Subject) -> None:
    validation = subject.data.validation
    assert validation is not None
    changed = copy_of(subject.model)
    layer = changed.get_layer("head")
    layer.set_weights(thinned(layer, 0.9))
    right = changed(validation.inputs).numpy().argmax(axis=1) == validation.labels
    [head] = [each for each in found.layers if each.name == "head"]
    assert head.trials[-1].accuracy == pytest.approx(np.mean(right))


def test_int8_is_judged_as_a_file(found: Findings) -> None:
    assert found.int8.judged is not None
    assert found.int8.judged.error is not None
    assert 0 < found.int8.judged.error < 0.2
    assert found.points(found.int8.judged.accuracy) < 10
    assert found.int8_size is not None
    assert found.float32_size is not None
    assert found.int8_size.bytes != found.float32_size.bytes
    # rounding one layer's weights moves outputs less than rounding everything
    errors = [each.int8.error for each in found.layers]
    assert all(error is not None and 0 < error < found.int8.judged.error for error in errors)


def test_the_second_time_nothing_is_asked(found: Findings, plan: Plan, variants: Path) -> None:
    class Silent(Lines):
        def step(self, name: str, text: str, done: int, total: int) -> None:
            raise AssertionError(f"{name}: {text}")

    folder = str(plan.recipe.folder)
    again = analyse(folder, None, goal_of(0.25, 1.0, None), variants, Silent())
    assert again.findings == found
    assert "96 validation samples" in judged_by(again.findings)
    assert any("overhead-bound" in note for note in again.proposal.notes)


def small(subject: Subject, *widths: int) -> Subject:
    """The same task for a few dense layers, untrained."""
    keras.utils.set_random_seed(2)
    hidden = [keras.layers.Dense(width, "relu", name=f"hidden{width}") for width in widths]
    layers = [keras.layers.Flatten(), *hidden, keras.layers.Dense(2, name="logits")]
    return replace(subject, model=keras.Sequential([keras.layers.Input((8, 8, 1)), *layers]))


def test_a_killed_analysis_goes_on_behind_its_last_judgement(
    subject: Subject, tmp_path: Path
) -> None:
    def kill(done: int, _: int, __: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    tiny = small(subject, 8)
    whole = measure(tiny, Archive(tmp_path, "whole"), lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        measure(tiny, Archive(tmp_path, "key"), kill)
    lines = tmp_path / CACHE_FOLDER / "key.judgements.jsonl"
    kept = [json.loads(line) for line in lines.read_text().splitlines()]
    asked = [question for question, *_ in kept]
    assert asked == ["group hidden8 without 25%", "group hidden8 without 50%"]
    kept[0][1] = 0.123  # a mark: it is not asked for again
    lines.write_text("".join(json.dumps(line) + "\n" for line in kept))
    resumed = measure(tiny, Archive(tmp_path, "key"), lambda *_: None)
    assert resumed.groups[0].trials[0].accuracy == 0.123
    assert resumed.groups[0].trials[1:] == whole.groups[0].trials[1:]
    assert resumed.layers == whole.layers


def test_without_labels_the_models_own_answers_count(subject: Subject, tmp_path: Path) -> None:
    validation = subject.data.validation
    assert validation is not None
    unlabelled = replace(
        subject.data, validation=Split(inputs=validation.inputs[:8]),
        train=Split(inputs=subject.data.train.inputs),
    )  # fmt: skip
    bare = replace(small(subject), data=unlabelled)
    found = measure(bare, Archive(tmp_path, "key"), lambda *_: None)
    assert (found.standard, found.accuracy, found.trainable) == (Standard.OWN_ANSWERS, 1.0, False)
    assert judged_by(found).startswith("no labels: judged by agreement with its own answers")
    assert found.groups == ()
    assert found.groups_reason is not None
    assert "no channel can be removed" in found.groups_reason
    assert list(kernels_of(bare.model)) == ["logits"]


def test_the_key_is_the_branchs(plan: Plan, variants: Path, found: Findings) -> None:
    file = variants / CACHE_FOLDER / f"{findings_key(plan, 'dense')}.findings.json"
    assert Findings.model_validate_json(file.read_text()) == found
