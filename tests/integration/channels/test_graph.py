"""What hangs together in the channel graph, and what is left whole for which reason."""

from typing import Any

import numpy as np
import pytest

from pipeline.channels.graph import ChannelGraph, Group, analyse, kernel_by_channel, layer_at
from pipeline.errors import NotPrunable
from pipeline.keras_compat import keras, tf
from tests.integration.channels.models import MODELS, head, image

pytestmark = pytest.mark.slow

L = keras.layers


def found(name: str) -> dict[str, Group]:
    return {group.name: group for group in analyse(MODELS[name]()).groups}


def layers(slots: tuple[Any, ...]) -> list[str]:
    return [slot.layer for slot in slots]


def test_an_addition_ties_all_that_is_added_along_the_trunk() -> None:
    groups = found("residual")
    assert list(groups) == ["trunk", "one_expand", "two_expand"]
    trunk = groups["trunk"]
    assert trunk.channels == 8
    assert layers(trunk.producers) == ["trunk", "one_project", "two_project"]
    assert layers(trunk.consumers) == ["one_expand", "two_expand", "logits"]
    assert layers(groups["one_expand"].producers) == ["one_expand", "one_depthwise"]
    assert layers(groups["one_expand"].normalisers) == ["one_bn"]
    assert layers(groups["one_expand"].consumers) == ["one_depthwise", "one_project"]


def test_what_is_concatenated_keeps_its_own_units_at_shifted_places() -> None:
    inputs = image()
    parts = [L.Conv2D(n, 1, name=f"part{n}")(inputs) for n in (2, 3)]
    x = L.BatchNormalization(name="bn")(L.Concatenate()(parts))
    two, three = analyse(keras.Model(inputs, head(x))).groups
    assert two.normalisers[0].indices == ((0,), (1,))
    assert three.normalisers[0].indices == three.consumers[0].indices == ((2,), (3,), (4,))


def test_an_addition_of_a_concatenation_parts_the_units_by_their_producers() -> None:
    groups = found("concatenated")
    assert {name: layers(g.producers) for name, g in groups.items()} == {
        "a": ["a", "d"],
        "b": ["b", "d"],
        "c": ["c", "d"],
        "e": ["e"],
    }
    assert groups["c"].producers[1].indices == ((11,), (12,), (13,), (14,))


def test_flattening_gives_a_unit_all_its_places() -> None:
    groups = found("flattened")
    assert groups["conv"].consumers[0].indices[1] == tuple(range(1, 16 * 6, 6))
    assert groups["wide"].channels == 5  # reshaped to 3 x 3 places of 5 channels
    assert groups["wide"].producers[0].indices[4] == tuple(range(4, 45, 5))
    assert layers(groups["wide"].followers) == ["image"]


def test_a_depth_multiplier_makes_more_of_each_channel() -> None:
    groups = found("separable")
    assert layers(groups["separable"].producers) == ["separable", "multiplied"]
    assert groups["separable"].producers[1].indices[2] == (6, 7, 8)
    assert groups["separable"].consumers[0].indices[2] == (2,)


def test_groups_of_a_convolution_go_whole_or_are_all_thinned() -> None:
    groups = found("grouped")
    assert groups["entry"].channels == 6  # groups of 4 channels each
    assert groups["entry"].producers[1].indices[5] == (20, 21, 22, 23)
    assert groups["entry"].consumers[0].indices[5] == (20, 21, 22, 23)
    assert groups["between"].channels == 8  # the same places of both groups of the next
    assert groups["between"].consumers[0].indices[1] == (1, 9)
    few = groups["few"]
    assert few.channels == 9
    assert few.producers[0].indices[1] == (1, 10)


def test_a_group_that_is_normalised_together_goes_together() -> None:
    groups = found("normalised")
    assert groups["by_group"].channels == 4
    assert groups["by_group"].producers[0].indices[1] == (3, 4, 5)
    assert groups["by_instance"].channels == 9
    assert groups["by_position"].channels == 7


def test_layers_left_whole_say_why() -> None:
    graph = analyse(MODELS["normalised"]())
    assert graph.left_whole == {
        "by_layer": "layer, a LayerNormalization, mixes all channels",
        "logits": "gives the model's output",
    }


def test_calls_of_a_shared_layer_are_one() -> None:
    graph = analyse(MODELS["shared"]())
    assert [g.name for g in graph.groups] == ["conv", "deep"]
    assert graph.groups[1].consumers[0].indices[3] == (3,)  # second
    assert graph.groups[1].consumers[1].indices[3] == (3, 13)  # logits read both towers
    assert set(graph.left_whole) == {"second", "logits"}


def test_nested_layers_have_paths() -> None:
    model = MODELS["nested"]()
    groups = {g.name: g for g in analyse(model).groups}
    (adapt,) = (g for name, g in groups.items() if name.startswith("adapt"))
    assert sorted(layers(adapt.producers)) == ["adapt_one", "adapt_two"]  # one model reads both
    assert layers(adapt.consumers) == ["backbone/conv"]
    assert layer_at(model, "inner/out") is model.get_layer("inner").get_layer("out")
    with pytest.raises(KeyError, match="inner/nowhere"):
        layer_at(model, "inner/nowhere")


def squeezed(x: Any) -> Any:
    return L.Conv2D(1, 1, name="focus")(x) * L.Conv2D(4, 1, name="wide")(x)


class Own(L.Conv2D):
    """A subclass may do anything."""


REASONS = {
    "unknown": (
        lambda x: L.Lambda(lambda t: t[..., ::-1], name="odd")(L.Conv2D(4, 1, name="c")(x)),
        {"c": "odd, a Lambda, does something unknown to channels"},
    ),
    "subclass": (
        lambda x: Own(4, 1, name="own")(L.Conv2D(4, 1, name="c")(x)),
        {
            "c": "own, an Own, does something unknown to channels",
            "own": "own, an Own, does something unknown to channels",
        },
    ),
    "input": (
        lambda x: L.DepthwiseConv2D(3, name="c")(x),
        {"c": "is tied, channel by channel, to the model's input"},
    ),
    "added to the input": (
        lambda x: L.Conv2D(3, 1, name="c")(x) + x,
        {"c": "is tied, channel by channel, to the model's input"},
    ),
    "spread": (squeezed, {"focus": "spreads its one channel over others"}),
    "softmax": (
        lambda x: L.Conv2D(4, 1, activation="softmax", name="c")(x),
        {"c": "the activation softmax of c may mix channels"},
    ),
    "constants": (
        lambda x: L.Conv2D(4, 1, name="c")(x) * [1.0, 2.0, 3.0, 4.0],
        {"c": ", a math.multiply, holds constants by channel"},
    ),
    "sliced": (
        lambda x: L.Conv2D(4, 1, name="c")(x)[..., :2],
        {"c": ", a __operators__.getitem, does something unknown to channels"},
    ),
    "first axis": (
        lambda x: L.Conv2D(8, 1, data_format="channels_first", name="c")(x),
        {"c": "c, a Conv2D, works on channels_first"},
    ),
    "moved": (
        lambda x: L.Permute((3, 1, 2), name="p")(L.Conv2D(8, 1, name="c")(x)),
        {"c": "p, a Permute, moves the channel axis"},
    ),
    "cut": (
        lambda x: L.Reshape((8, 8, 2, 3), name="r")(L.Conv2D(6, 1, name="c")(x))[:, :, :, 0],
        {"c": "tf.__operators__.getitem"},
    ),
    "reduced": (
        lambda x: tf.reduce_mean(L.Conv2D(6, 1, name="c")(x), -1, keepdims=True),
        {"c": ", a math.reduce_mean, mixes all channels"},
    ),
    "one unit": (
        lambda x: L.Conv2D(1, 1, name="c")(x),
        {"c": "its channels can only be removed all at once"},
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_reason_names_the_layer_at_fault(case: str) -> None:
    make, expected = REASONS[case]
    inputs = image()
    x = L.Conv2D(5, 1, name="after")(make(inputs))
    whole = analyse(keras.Model(inputs, L.Conv2D(2, 1, name="out")(x))).left_whole
    assert whole.keys() - {"out"} == expected.keys()
    for path, reason in expected.items():
        assert reason in whole[path]


def test_a_model_whose_layers_are_unknown_is_refused() -> None:
    class Subclassed(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(NotPrunable, match="no functional or Sequential model"):
        analyse(Subclassed())
    with pytest.raises(NotPrunable, match=r"add a keras\.Input first"):
        analyse(keras.Sequential([L.Dense(3)]))


def test_a_model_without_removable_channels_is_refused_with_the_reasons() -> None:
    inputs = image()
    with pytest.raises(NotPrunable, match="it has no layer with a kernel; drop the"):
        analyse(keras.Model(inputs, L.ReLU()(inputs)))
    with pytest.raises(NotPrunable, match=r"only \(gives the model's output\); drop the"):
        analyse(keras.Model(inputs, L.Conv2D(4, 1, name="only")(inputs)))


def test_kernels_are_told_apart_by_output_channel() -> None:
    random = np.random.default_rng(0)
    for layer, shape, channels in (
        (L.Dense(4), (3,), 4),
        (L.Conv2D(4, 2), (5, 5, 3), 4),
        (L.Conv2D(4, 2, groups=2), (5, 5, 6), 4),
        (L.Conv2DTranspose(4, 2), (5, 5, 3), 4),
        (L.SeparableConv2D(4, 2, depth_multiplier=2), (5, 5, 3), 4),
        (L.DepthwiseConv2D(2, depth_multiplier=2), (5, 5, 3), 6),
    ):
        layer.build((None, *shape))
        layer.set_weights([random.normal(size=w.shape) for w in layer.weights])
        before = layer(x := tf.constant(random.normal(size=(1, *shape)), tf.float32)).numpy()
        rows = kernel_by_channel(layer)
        assert rows.shape[0] == channels
        last = 1 if isinstance(layer, L.SeparableConv2D) else 0
        # Doubling the weights that a row holds doubles that output channel and no other.
        for channel in range(channels):
            weights = layer.get_weights()
            weights[last] = np.where(np.isin(weights[last], rows[channel]), 2, 1) * weights[last]
            copy = type(layer).from_config(layer.get_config())
            copy.build((None, *shape))
            copy.set_weights([*weights[: last + 1], *weights[last + 1 :]])
            bias = layer.get_weights()[-1]
            scale = np.ones(channels)
            scale[channel] = 2
            np.testing.assert_allclose(
                copy(x) - bias, (before - bias) * scale, rtol=1e-4, atol=1e-5
            )
    with pytest.raises(ValueError, match="no layer with a kernel"):
        kernel_by_channel(L.ReLU())


def test_the_graph_is_the_same_each_time() -> None:
    graphs: list[ChannelGraph] = [analyse(MODELS["gates"]()) for _ in range(2)]
    assert [g.name for g in graphs[0].groups] == [g.name for g in graphs[1].groups]
