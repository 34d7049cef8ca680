"""A recipe of a few hundred weights through the whole pipeline."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifact import Artifact, NumberFormat, check_model_file, describe, load_artifacts
from pipeline.plan import entry_folder, plan_recipe
from pipeline.recipe import load_recipe
from pipeline.runner import StageEvent, perform
from pipeline.tflite_file import read_model

pytestmark = [
    pytest.mark.slow,
    # tensorflow_model_optimization compares TensorFlow's version while it is imported.
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
]

RECIPE = """\
summary = "stripes, lying or standing"
seed = 5
[data]
samples = 64
[[branch]]
name = "dense"
stages = [{ stage = "train", epochs = 2, batch = 16, learning_rate = 1e-2 }]
formats = ["float32", "float16", "dynamic", "int8"]
[[branch]]
name = "sparse"
from = "dense"
stages = [
    { stage = "prune_weights", epochs = 2, batch = 16, sparsity = 0.5 },
    { stage = "finetune", epochs = 1, batch = 16 },
]
formats = ["float32", "int8"]
"""

MODEL = """\
import numpy as np

from pipeline.recipe import Data, Split


def build_model():
    import tf_keras
    from tf_keras import layers

    inputs = tf_keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem")(inputs)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU(6.0)(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    y = layers.Conv2D(32, 1, name="project")(y)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return tf_keras.Model(inputs, layers.Dense(2, name="logits")(x))


def load_data(samples):
    random = np.random.default_rng(0)
    labels = np.arange(3 * samples) % 2
    stripes = np.sin(np.arange(8) * 2 + random.uniform(0, 6, (3 * samples, 1)))
    standing = np.repeat(stripes[:, np.newaxis], 8, axis=1)
    images = np.where(labels[:, None, None] == 1, standing, standing.transpose(0, 2, 1))
    noisy = images + random.normal(0, 0.3, images.shape)
    splits = np.split(noisy[..., np.newaxis].astype(np.float32), 3)
    parts = [Split(inputs=i, labels=n) for i, n in zip(splits, np.split(labels, 3))]
    return Data(train=parts[0], validation=parts[1], test=parts[2])
"""


@pytest.fixture(scope="module")
def recipe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "stripes"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("variants")


@pytest.fixture(scope="module")
def artifacts(recipe_folder: Path, variants: Path) -> dict[str, Artifact]:
    events: list[StageEvent] = []
    made = perform(plan_recipe(load_recipe(recipe_folder)), variants, events.append)
    assert {e.state for e in events} == {"started", "progress", "finished"}
    epochs = [(e.step, e.steps) for e in events if e.label == "dense/train" and e.step]
    assert epochs == [(1, 2), (2, 2)]
    return {a.variant: a for a in made}


def real_outputs(artifact: Artifact, name: str = "outputs_litert.bin") -> np.ndarray:
    spec = artifact.output
    values = np.fromfile(artifact.path(name), spec.dtype).reshape(artifact.test.samples, -1)
    return (values.astype(np.float32) - (spec.zero_point or 0)) * (spec.scale or 1)


def test_every_variant_is_whole(artifacts: dict[str, Artifact], variants: Path) -> None:
    assert list(artifacts) == [
        "dense_float32", "dense_float16", "dense_dynamic", "dense_int8", "sparse_float32",
        "sparse_int8",
    ]  # fmt: skip
    assert {a.variant: a for a in load_artifacts(variants)} == artifacts
    for artifact in artifacts.values():
        check_model_file(artifact.model_path)
        assert artifact.test.samples == 64
        assert artifact.accuracy is not None
        assert artifact.accuracy.total == 64
        assert artifact.macs == 16 * 32 * 9 + 16 * 32 * 9 + 16 * 32 * 32 + 64
        assert artifact.warnings == ()
        assert artifact.provenance.data_sha256 is not None
        assert artifact.provenance.packages["tensorflow"] != "not installed"


def test_it_learned_something(artifacts: dict[str, Artifact]) -> None:
    """Far above chance, so that wrong answers of an engine would show in accuracy."""
    accuracy = artifacts["dense_float32"].accuracy
    assert accuracy is not None
    assert accuracy.low > 0.6


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("dense_float32", "float32"), ("dense_float16", "float32"), ("dense_dynamic", "float32"),
        ("dense_int8", "int8"), ("sparse_int8", "int8"),
    ],
)  # fmt: skip
def test_formats_are_what_they_say(
    artifacts: dict[str, Artifact], variant: str, dtype: str
) -> None:
    artifact = artifacts[variant]
    model = read_model(artifact.model_path)
    assert (artifact.input.dtype, artifact.output.dtype) == (dtype, dtype)
    assert model.number_format is artifact.format
    assert (artifact.input.scale is not None) == (artifact.format is NumberFormat.INT8)
    assert artifact.input.shape == (1, 8, 8, 1)
    # An open batch would bring shape arithmetic; a half quantized graph, conversions inside.
    kinds = {name.split()[0] for name in model.operator_counts}
    assert not kinds & {"SHAPE", "STRIDED_SLICE", "PACK", "QUANTIZE"}


def test_zeros_are_there_before_and_after_conversion(artifacts: dict[str, Artifact]) -> None:
    for variant in ("sparse_float32", "sparse_int8"):
        by_layer = artifacts[variant].sparsity_by_layer
        for layer in ("stem", "project", "logits"):
            assert by_layer[layer] == pytest.approx(0.5, abs=0.02), (variant, by_layer)
        assert by_layer["depthwise"] < 0.1
    assert artifacts["dense_float32"].sparsity < 0.01


def test_zeros_make_the_download_smaller(artifacts: dict[str, Artifact]) -> None:
    dense, sparse = artifacts["dense_float32"], artifacts["sparse_float32"]
    assert sparse.bytes == dense.bytes
    assert sparse.bytes_zstd < dense.bytes_zstd
    assert artifacts["dense_float32"].compression_ratio == 0.0
    assert sparse.compression_ratio == 0.0


@pytest.mark.parametrize(
    ("variant", "tolerance"),
    [("dense_float32", 1e-5), ("dense_float16", 0.01), ("dense_dynamic", 0.2), ("dense_int8", 0.2)],
)
def test_answers_are_keras_answers(
    artifacts: dict[str, Artifact], variants: Path, variant: str, tolerance: float
) -> None:
    from pipeline.keras_compat import keras

    artifact = artifacts[variant]
    trained = artifact.provenance.stages[-2]
    assert trained.name == "train"
    model = keras.models.load_model(entry_folder(variants, trained.key) / "model.keras")
    spec = artifact.input
    inputs = np.fromfile(artifact.path("inputs.bin"), spec.dtype).reshape(-1, 8, 8, 1)
    values = (inputs.astype(np.float32) - (spec.zero_point or 0)) * (spec.scale or 1)
    expected = model.predict(values, verbose=0)
    assert np.abs(real_outputs(artifact) - expected).max() <= tolerance * np.abs(expected).max()


def test_the_older_engine_answers_alike(artifacts: dict[str, Artifact]) -> None:
    for artifact in artifacts.values():
        older = artifact.references[1]
        assert older.engine.startswith("tflite-runtime")
        assert older.outputs_file is not None, older.reason
        ours, theirs = real_outputs(artifact), real_outputs(artifact, older.outputs_file)
        assert np.abs(ours - theirs).max() <= 0.05 * np.abs(ours).max()


def test_a_second_build_does_nothing_and_loads_no_tensorflow(
    artifacts: dict[str, Artifact], recipe_folder: Path, variants: Path
) -> None:
    program = f"""
import sys
from pathlib import Path
from pipeline.plan import plan_recipe
from pipeline.recipe import load_recipe
from pipeline.runner import perform
events = []
made = perform(plan_recipe(load_recipe(Path({str(recipe_folder)!r}))), Path({str(variants)!r}),
               events.append)
print(len(made), *sorted({{event.state for event in events}}))
print(*sorted({{"tensorflow", "tf_keras", "numpy"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{len(artifacts)} cached", ""]


def test_stages_leave_the_model_they_are_given_alone(
    artifacts: dict[str, Artifact], recipe_folder: Path, variants: Path
) -> None:
    from pipeline.keras_compat import keras
    from pipeline.module import load_module
    from pipeline.settings import Finetune, PruneWeights
    from pipeline.stages import finetune, prune_weights
    from pipeline.stages.given import Given

    data = load_module(load_recipe(recipe_folder)).load_data()
    trained = artifacts["dense_float32"].provenance.stages[-2]
    model = keras.models.load_model(entry_folder(variants, trained.key) / "model.keras")
    before = [weight.copy() for weight in model.get_weights()]
    asked = PruneWeights(stage="prune_weights", epochs=1, batch=16, sparsity=0.7)
    first = prune_weights.run(asked, Given(model=model, data=data, seed=1))
    assert first.facts["sparsity"] == pytest.approx(0.7, abs=0.02)
    pruned = first.model
    then = finetune.run(
        Finetune(stage="finetune", epochs=1, batch=16), Given(model=pruned, data=data, seed=1)
    )
    assert then.facts["sparsity"] == pytest.approx(0.7, abs=0.02)
    tuned = then.model
    moved = zip(pruned.get_weights(), tuned.get_weights(), strict=True)
    assert any((a != b).any() for a, b in moved)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert not any("prune" in layer.name for layer in pruned.layers)


def test_the_same_recipe_gives_the_same_file(
    artifacts: dict[str, Artifact], recipe_folder: Path, tmp_path: Path
) -> None:
    again = perform(plan_recipe(load_recipe(recipe_folder)), tmp_path)
    assert {a.variant: a.sha256 for a in again} == {n: a.sha256 for n, a in artifacts.items()}


def test_a_bare_model_is_described(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    source = artifacts["dense_int8"].model_path
    artifact = describe(source, tmp_path / "bare")
    assert artifact.accuracy is None
    assert artifact.accuracy_reason is not None
    assert artifact.format is NumberFormat.INT8
    assert artifact.sha256 == artifacts["dense_int8"].sha256
    assert artifact.is_baseline
    assert artifact.test.origin == "random"
    assert artifact.path("outputs_litert.bin").stat().st_size == artifact.test.samples * 2
    assert load_artifacts(tmp_path) == (artifact,)
