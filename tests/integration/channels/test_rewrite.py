"""A smaller model is a model like any other: saved, loaded, trained, converted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.artifact import NumberFormat
from pipeline.channels.cost import cost_of, predicted
from pipeline.channels.graph import analyse
from pipeline.channels.rewrite import remove, zeroed
from pipeline.errors import NotPrunable
from pipeline.export.tflite import convert
from pipeline.keras_compat import keras, tf
from pipeline.tflite_file import read_model
from tests.integration.channels.models import MODELS, batch, head, image, shaken, units

pytestmark = pytest.mark.slow

L = keras.layers
CONVERTED = ("plain", "residual", "flattened", "separable", "grouped")


@pytest.fixture(scope="module")
def smaller() -> dict[str, Any]:
    made = {}
    for name in {*CONVERTED, "nested", "shared"}:
        model = shaken(MODELS[name]())
        made[name] = remove(model, graph := analyse(model), units(graph))
    return made


@pytest.mark.parametrize("name", ["nested", "shared", "flattened"])
def test_it_is_saved_and_loaded(smaller: dict[str, Any], name: str, tmp_path: Path) -> None:
    model = smaller[name]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inputs = batch(model)
    for given, expected in zip(
        tf.nest.flatten(loaded(inputs)), tf.nest.flatten(model(inputs)), strict=True
    ):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["plain", "nested", "grouped"])
def test_it_trains(smaller: dict[str, Any], name: str) -> None:
    model = remove(smaller[name], analyse(smaller[name]), {})
    before = [w.copy() for w in model.get_weights()]
    model.compile("sgd", "mse")
    inputs = batch(model)
    model.train_on_batch(inputs, np.ones((2, 5), np.float32))
    after = model.get_weights()
    kernels = [(a, b) for a, b in zip(after, before, strict=True) if a.ndim > 1]
    assert not any(np.array_equal(a, b) for a, b in kernels)


@pytest.mark.parametrize("name", CONVERTED)
def test_the_file_multiplies_as_often_as_counted(
    smaller: dict[str, Any], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(smaller[name], NumberFormat.FLOAT32))
    assert read_model(path).macs == cost_of(smaller[name]).macs


def test_surviving_weights_are_those_of_the_original() -> None:
    model = shaken(MODELS["plain"]())
    smaller = remove(model, analyse(model), {"stem": [0, 3], "dilated": [9]})
    kept = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    for name, cut in {
        "stem": lambda w: w[..., kept],
        "stem_bn": lambda w: w[kept],
        "dilated": lambda w: w[:, :, kept, :9] if w.ndim == 4 else w[:9],
        "logits": lambda w: w[:9] if w.ndim == 2 else w,
    }.items():
        old, new = model.get_layer(name).get_weights(), smaller.get_layer(name).get_weights()
        assert all(np.array_equal(cut(a), b) for a, b in zip(old, new, strict=True)), name


def test_nothing_dropped_is_a_copy_that_keeps_settings() -> None:
    model = shaken(MODELS["nested"]())
    model.get_layer("backbone").trainable = False
    copy = remove(model, analyse(model), {})
    assert copy.get_config() == model.get_config()
    assert len(copy.trainable_weights) == len(model.trainable_weights) < len(model.weights)
    assert all(map(np.array_equal, copy.get_weights(), model.get_weights()))
    assert not {id(w) for w in copy.weights} & {id(w) for w in model.weights}


def test_random_numbers_of_others_do_not_move() -> None:
    model = MODELS["plain"]()
    graph = analyse(model)
    drawn = []
    for work in (lambda: None, lambda: remove(model, graph, units(graph))):
        keras.utils.set_random_seed(3)
        work()
        drawn.append(L.Dense(3, kernel_initializer="glorot_uniform"))
        drawn[-1].build((None, 4))
    assert np.array_equal(drawn[0].get_weights()[0], drawn[1].get_weights()[0])


def test_only_kernels_that_read_are_zeroed() -> None:
    model = shaken(MODELS["plain"]())
    copy = zeroed(model, analyse(model), {"stem": [2]})
    assert not np.any(copy.get_layer("dilated").get_weights()[0][:, :, 2])
    assert np.all(copy.get_layer("dilated").get_weights()[0][:, :, 3])
    assert np.array_equal(
        copy.get_layer("stem").get_weights()[0], model.get_layer("stem").get_weights()[0]
    )


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ({"nowhere": [0]}, "it has no channel group 'nowhere'"),
        ({"stem": [12]}, r"group 'stem' has units 0 to 11, not \[12\]"),
        ({"stem": range(12)}, "group 'stem' must keep one of its units"),
    ],
)
def test_what_cannot_be_removed_is_refused(dropped: dict[str, Any], message: str) -> None:
    model = MODELS["plain"]()
    with pytest.raises(NotPrunable, match=message):
        remove(model, analyse(model), dropped)


def test_an_open_input_size_cannot_be_counted() -> None:
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, head(L.Conv2D(4, 3, name="conv")(inputs)))
    with pytest.raises(NotPrunable, match=r"give keras\.Input a shape without None"):
        cost_of(model)
    with pytest.raises(NotPrunable, match="size of what conv works on is not known"):
        predicted(model, analyse(model))


def test_an_unknown_group_has_no_cost() -> None:
    model = MODELS["plain"]()
    with pytest.raises(KeyError, match="nowhere"):
        predicted(model, analyse(model))({"nowhere": 1})


def test_costs_by_hand() -> None:
    inputs = image(channels=3, side=8)
    x = L.Conv2D(4, 3, name="conv")(inputs)  # 6 x 6 places
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    cost = cost_of(model)
    assert (cost.macs, cost.parameters) == (36 * 9 * 3 * 4 + 4 * 2, 9 * 3 * 4 + 4 + 4 * 2 + 2)
    cost = predicted(model, analyse(model))({"conv": 1})
    assert (cost.macs, cost.parameters) == (36 * 9 * 3 + 2, 9 * 3 + 1 + 2 + 2)


def test_costs_of_other_axes_and_orders_by_hand() -> None:
    first = keras.Input((3, 8, 6))
    x = L.Conv2D(4, 3, data_format="channels_first")(first)  # 6 x 4 places
    assert cost_of(keras.Model(first, x)).macs == 24 * 9 * 3 * 4
    small = image(channels=3, side=4)
    x = L.Conv2DTranspose(5, 3, strides=2)(small)  # each of 4 x 4 inputs meets the whole kernel
    assert cost_of(keras.Model(small, x)).macs == 16 * 9 * 3 * 5
