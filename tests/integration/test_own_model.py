"""A model of the user's own through the real command, with data of every kind."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from device_bench import cli
from device_bench.exits import Exit
from pipeline.artifact import load_artifacts
from pipeline.keras_compat import keras
from pipeline.module import load_module
from pipeline.own.intake import OwnModel, take_in
from pipeline.own.model import Ending, load_own_model, traits_of
from pipeline.recipe import RecipeError, load_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
    # Keras 2 dislikes that these tests save as .h5; reading it is the product.
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]
layers = keras.layers

LAYERS = """\
import tf_keras


class Twice(tf_keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


def convolutional(size=16, last="softmax", units=3, front=()):
    x = inputs = keras.Input((size, size, 3))
    for layer in front:
        x = layer(x)
    for width in (32, 64):
        x = layers.Conv2D(width, 3, 2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(units, activation=last)(x))


def colours(count):
    """Noisy images uint8[count, 16, 16, 3] that are red, green or blue."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(60, 170, (count, 16, 16, 3))
    images[np.arange(count), :, :, labels] += 40
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data; tests work on copies of what they change."""
    folder = tmp_path_factory.mktemp("files")
    images, labels = colours(60)
    keras.utils.set_random_seed(0)
    model = convolutional()
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(images / 127.5 - 1, labels, batch_size=20, epochs=8, verbose=0)
    model.save(folder / "Flower-Net.keras")
    model.save(folder / "flower.h5")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        where = folder / "photos" / ("red", "green", "blue")[label] / f"{index}.png"
        where.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(where)
    np.savez(folder / "colours.npz", x=images, y=labels)
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a user works in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("android_harness.places.VARIANTS", tmp_path / "build" / "variants")
    for name in ("Flower-Net.keras", "flower.h5", "colours.npz"):
        shutil.copy(files / name, tmp_path)
    shutil.copytree(files / "photos", tmp_path / "photos")
    return tmp_path


def build(*arguments):
    return CliRunner().invoke(cli.app, ["build", *map(str, arguments)])


def variants():
    return {a.variant: a for a in load_artifacts(Path("build/variants"))}


def test_images_by_class_make_a_dense_and_a_slim_branch(here):
    # Folder names sort blue, green, red: the model's classes are in another order.
    for old, new in (("red", "0_red"), ("green", "1_green"), ("blue", "2_blue")):
        (here / "photos" / old).rename(here / "photos" / new)
    done = build("--model", "Flower-Net.keras", "--data", "photos")
    assert done.exit_code == Exit.OK, done.output
    assert "recipe models/flower_net: written, for editing" in done.output
    assert "scale -1..1 (right on 60 samples" in done.output
    made = variants()
    assert list(made) == [
        "dense_float32", "dense_float16", "dense_int8", "slim_float32", "slim_int8",
    ]  # fmt: skip
    assert made["dense_float32"].accuracy.value > 0.9
    assert made["dense_float32"].test.samples == 12
    assert made["slim_float32"].macs <= 0.5 * made["dense_float32"].macs
    assert "has seen them" in made["dense_int8"].warnings[0]
    recipe = here / "models" / "flower_net" / "recipe.toml"
    text = recipe.read_text()
    assert 'model_file = "../../Flower-Net.keras"' in text
    assert "# in this order: 0_red, 1_green, 2_blue" in text

    again = build("--model", "Flower-Net.keras", "--data", "photos", "-q")
    assert again.exit_code == Exit.OK
    by_name = build("flower_net", "-q")
    assert by_name.output == again.output

    recipe.write_text(text.replace("epochs = 5", "epochs = 6"))
    edited = build("--model", "Flower-Net.keras", "--data", "photos")
    assert edited.exit_code == Exit.USAGE
    assert "was edited and is not overwritten" in edited.output
    assert "epochs = 6" in recipe.read_text()


def taken(model, data="photos", **more):
    """The recipe alone, not built."""
    written = take_in(OwnModel(model=Path(model), data=data, **more))
    return written, load_recipe(written.folder)


def test_classes_in_another_order_are_found_out(here):
    folder = Path("mine/colours")
    written, recipe = taken("Flower-Net.keras", scale="-1..1", folder=folder)
    assert "classes are in another order" in written.remarks[1]
    assert recipe.data["scale"] == "-1..1"
    assert [b.name for b in recipe.branch] == ["dense", "slim"]
    assert recipe.located("data")["data_path"] == f"{here}/mine/colours/../../photos"


def test_without_labels_nothing_is_trained_and_the_scale_is_a_guess(here):
    written, recipe = taken("flower.h5", "photos/red")
    assert "scale 0..1 (a guess" in written.remarks[0]
    assert [b.name for b in recipe.branch] == ["dense"]
    assert (
        "# No branch with fewer channels: the data have no labels"
        in (recipe.folder / "recipe.toml").read_text()
    )


def test_synthetic_data_are_asked_for_in_so_many_words(here):
    written, recipe = taken("flower.h5", "synthetic")
    assert "SYNTHETIC" in written.remarks[0]
    assert "data_path" not in recipe.data
    data = load_module(recipe).load_data()
    assert data.accuracy_reason == "no data were given"


def test_a_changed_model_makes_the_recipe_anew_and_another_model_none(here):
    assert taken("flower.h5", "synthetic")[0].state == "written"
    assert taken("flower.h5", "synthetic")[0].state == "there already"
    convolutional(units=5).save("flower.h5")
    written, recipe = taken("flower.h5", "synthetic")
    assert (written.state, recipe.data["classes"]) == ("written anew", 5)
    shutil.copy("Flower-Net.keras", "flower.keras")
    with pytest.raises(RecipeError, match="of another model file"):
        taken("flower.keras", "synthetic")


def test_h5_with_a_sigmoid_and_arrays_make_dense_formats_only(here):
    convolutional(last="sigmoid", units=1).save("two.h5")
    done = build("--model", "two.h5", "--data", "colours.npz")
    assert done.exit_code == Exit.OK, done.output
    made = variants()
    assert list(made) == ["dense_float32", "dense_float16", "dense_int8"]
    assert made["dense_float32"].accuracy is None
    assert "no scores of classes" in made["dense_float32"].accuracy_reason
    text = (here / "models" / "two" / "recipe.toml").read_text()
    assert "# No branch with fewer channels: the model ends in a sigmoid's" in text


def refused(done, says):
    assert done.exit_code == Exit.USAGE, done.output
    lines = [line for line in done.output.splitlines() if line.startswith("deploy-bench: ")]
    assert len(lines) == 1, done.output
    assert says in lines[0]
    assert not Path("models").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "Flower-Net.keras"], "--data takes a folder"),
        (["--model", "Flower-Net.keras", "--data", "none"], "none: does not exist"),
        (["--model", "Flower-Net.keras", "--data", "flower.h5"], "no folder and no .npz"),
        (["--model", "Flower-Net.keras", "--data", "photos/red", "--size", "big"], "no size"),
        (["--model", "Flower-Net.keras", "--data", "photos", "--scale", "2"], "none of 0..1"),
        (["--model", "Flower-Net.keras", "--data", "photos", "--custom", "os"], "package.module"),
        (["--model", "Flower-Net.keras", "--data", "photos", "--custom", "os:x"], "no class x"),
        (["--model", "Flower-Net.keras", "--data", "photos", "--recipe-dir", "a-b"], "a-z, 0-9"),
        (["--model", "none.keras", "--data", "photos"], "cannot be read"),
        (["--model", "colours.npz", "--data", "photos"], "not one that Keras wrote"),
        (["--model", "photos", "--data", "photos"], "without saved_model.pb"),
    ],
)
def test_wrong_options_leave_nothing(here, options, says):
    refused(build(*options), says)


def two_inputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    return keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))


def with_a_lambda():
    return convolutional(front=[layers.Lambda(lambda x: x * 2)])


def open_size():
    return convolutional(size=None)


def four_classes():
    return convolutional(units=4)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (two_inputs, "has 2 inputs and 1 outputs"),
        (with_a_lambda, "give --trust"),
        (open_size, "--size 224"),
        (four_classes, "3 class folders, but the model 4 outputs: 1 missing"),
    ],
)
def test_models_that_do_not_fit(here, make, says, suffix):
    make().save(f"bad{suffix}")
    refused(build("--model", f"bad{suffix}", "--data", "photos"), says)


def test_weights_alone_and_broken_files(here):
    convolutional().save_weights("weights.h5")
    refused(build("--model", "weights.h5", "--data", "photos"), "weights only")
    for name in ("Flower-Net.keras", "flower.h5"):
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])
        refused(build("--model", name, "--data", "photos"), "is damaged")


def test_arrays_of_another_size(here):
    np.savez("small.npz", x=np.zeros((9, 8, 8, 3), np.uint8), y=np.arange(9) % 3)
    done = build("--model", "Flower-Net.keras", "--data", "small.npz")
    refused(done, "samples of 8 x 8 x 3, but the model takes 16 x 16 x 3")


def test_a_subclass_has_no_graph(here):
    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.inside = layers.Dense(3)

        def call(self, inputs):
            return self.inside(inputs)

    model = Mine()
    model(np.zeros((1, 4)))
    model.save("mine")
    done = build("--model", "mine", "--data", "colours.npz")
    assert done.exit_code == Exit.USAGE, done.output
    assert "form no graph" in done.output


def test_a_layer_of_ones_own_is_asked_for_and_stored(here, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    (here / "own_layers.py").write_text(LAYERS)
    from importlib import import_module

    own = import_module("own_layers")
    convolutional(front=[own.Twice()]).save("own.keras")
    refused(build("--model", "own.keras", "--data", "photos"), "--custom own_layers:Twice")
    _, recipe = taken("own.keras", "photos/red", custom=("own_layers:Twice",))
    module = load_module(recipe)
    assert any(type(m).__name__ == "Twice" for m in module.build_model().model.layers)
    assert "Twice" in module.classes()
    assert "from own_layers import Twice" in Path("models/own/model.py").read_text()
    assert 'depends_on = ["../../own_layers.py"]' in Path("models/own/recipe.toml").read_text()


def test_nested_frozen_and_open_becomes_flat_and_fixed(tmp_path):
    inside = keras.Input((None, None, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, name="conv")(inside))
    base = keras.Model(inside, layers.ReLU()(x), trainable=False)
    inputs = keras.Input((None, None, 3))
    x = base(layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    outputs = layers.Softmax()(layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    keras.Model(inputs, outputs).save(tmp_path / "nested.keras")
    model = load_own_model(str(tmp_path / "nested.keras"), size=(32, 48))
    traits = traits_of(model)
    assert (traits.shape, traits.classes) == ((32, 48, 3), 5)
    assert (traits.ending, traits.rescales) == (Ending.SOFTMAX, "rescaling")
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert all(layer.trainable for layer in model.layers)
    # Called with training=False, the base's statistics stay as they are while it learns.
    before = model.get_layer("norm").moving_mean.numpy()
    model(np.ones((2, 32, 48, 3), np.float32), training=True)
    assert (model.get_layer("norm").moving_mean.numpy() == before).all()


def test_keras_3_gives_the_same_answers(tmp_path):
    keras3 = pytest.importorskip("keras")
    k = keras3.layers
    inputs = keras3.Input((12, 12, 3))
    block = [keras3.Input((12, 12, 3)), k.Conv2D(8, 3, padding="same"), k.BatchNormalization()]
    x = keras3.Sequential(block)(k.Rescaling(1 / 255)(inputs))
    x = k.Add()([x, k.DepthwiseConv2D(3, padding="same", activation="relu")(x)])
    outputs = k.Dense(4, activation="softmax")(k.GlobalAveragePooling2D()(x))
    model = keras3.Model(inputs, outputs)
    model.save(tmp_path / "three.keras")
    made = load_own_model(str(tmp_path / "three.keras"))
    assert isinstance(made, keras.Model)
    samples = np.random.default_rng(0).uniform(0, 255, (4, 12, 12, 3)).astype(np.float32)
    assert np.allclose(made(samples), model(samples), atol=1e-6)


def test_foreign_functions_in_a_config_are_never_imported(here):
    with zipfile.ZipFile("Flower-Net.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["module"] = "antigravity"
    config["config"]["layers"][1]["class_name"] = "Fly"
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile("evil.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(build("--model", "evil.keras", "--data", "photos"), "Fly of antigravity")
    assert "antigravity" not in sys.modules
