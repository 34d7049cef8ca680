"""The law on networks that nobody thought of."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from pipeline.channels.cost import cost_of, predicted
from pipeline.channels.graph import analyse
from pipeline.channels.law import difference
from pipeline.channels.rewrite import remove
from pipeline.errors import NotPrunable
from pipeline.keras_compat import keras, tf
from tests.integration.channels.models import batch, image, shaken, units

pytestmark = pytest.mark.slow

L = keras.layers
Step = Callable[[st.DataObject, list[Any]], Any]
SMALLEST = 2  # an image must not shrink to nothing


def _pick(data: st.DataObject, tensors: list[Any]) -> Any:
    return data.draw(st.sampled_from(tensors))


def _width(data: st.DataObject) -> int:
    return data.draw(st.sampled_from([2, 4, 6, 8, 12]))


def _conv(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    groups = data.draw(st.sampled_from([g for g in (1, 2, 3, 4) if x.shape[-1] % g == 0]))
    filters = groups * data.draw(st.integers(1, 4))
    activation = data.draw(st.sampled_from([None, "relu", "sigmoid", "swish"]))
    size = data.draw(st.sampled_from([1, 3]))
    return L.Conv2D(filters, size, padding="same", groups=groups, activation=activation)(x)


def _strided(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    stride = 2 if x.shape[1] > SMALLEST else 1
    kind = data.draw(st.sampled_from([L.SeparableConv2D, L.Conv2DTranspose, L.Conv2D]))
    if kind is L.Conv2DTranspose and x.shape[1] >= 16:
        stride = 1
    return kind(_width(data), 3, strides=stride, padding="same")(x)


def _depthwise(data: st.DataObject, tensors: list[Any]) -> Any:
    multiplier = data.draw(st.sampled_from([1, 1, 2]))
    x = _pick(data, tensors)
    return L.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier)(x)


def _by_channel(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    layer = data.draw(st.sampled_from([
        L.BatchNormalization, L.PReLU, L.LayerNormalization, lambda: L.GroupNormalization(2),
        lambda: L.GroupNormalization(-1), lambda: L.Activation("tanh"), lambda: L.Dropout(0.1),
        lambda: L.UpSampling2D(2), lambda: L.AveragePooling2D(2, padding="same"),
        lambda: L.LeakyReLU(0.1),
    ]))  # fmt: skip
    if layer is not None and x.shape[-1] % 2:
        layer = L.BatchNormalization
    made = layer()
    if isinstance(made, L.UpSampling2D) and x.shape[1] >= 16:
        made = L.ReLU()
    return made(x)


def _arithmetic(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    y = _pick(data, [t for t in tensors if t.shape[1:] == x.shape[1:]])
    return data.draw(
        st.sampled_from([
            lambda: L.Add()([x, y]), lambda: L.Maximum()([x, y]), lambda: x * tf.sigmoid(y),
            lambda: x - 0.5 * y, lambda: L.Average()([x, y, x]),
        ])
    )()  # fmt: skip


def _aligned(data: st.DataObject, tensors: list[Any]) -> Any:
    """A sum of what a convolution first makes alike."""
    x, y = _pick(data, tensors), _pick(data, tensors)
    assume(x.shape[1] == y.shape[1])
    return L.Add()([x, L.Conv2D(x.shape[-1], 1)(y)])


def _concatenated(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    fitting = [t for t in tensors if t.shape[1:3] == x.shape[1:3]]
    return L.Concatenate()([x, _pick(data, fitting)])


def _gated(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(3, 1, activation="relu")(gate)
    return L.Multiply()([x, L.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)])


def _shared(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    y = _pick(data, [t for t in tensors if t.shape[-1] == x.shape[-1]])
    layer = L.Conv2D(_width(data), 1)
    return L.Concatenate()([L.GlobalMaxPooling2D(keepdims=True)(layer(t)) for t in (x, y)])


def _nested(data: st.DataObject, tensors: list[Any]) -> Any:
    x = _pick(data, tensors)
    y = _pick(data, [t for t in tensors if t.shape[1:] == x.shape[1:]])
    inputs = keras.Input(x.shape[1:])
    inside = L.BatchNormalization()(L.Conv2D(_width(data), 1)(inputs))
    model = keras.Model(inputs, [inside, L.ReLU()(inside)])
    return L.Add()([model(x)[0], model(y)[1]])


STEPS: tuple[Step, ...] = (
    _conv, _conv, _strided, _depthwise, _by_channel, _by_channel, _arithmetic, _aligned,
    _concatenated, _gated, _shared, _nested,
)  # fmt: skip


def _network(data: st.DataObject) -> Any:
    inputs = image()
    tensors = [L.Conv2D(_width(data), 3, padding="same")(inputs)]
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=8)):
        tensors.append(step(data, tensors))
    # Two heads: one reads by channel, one by channel and place.
    pooled = L.GlobalAveragePooling2D()(_pick(data, tensors))
    flat = L.Flatten()(tensors[-1])
    return keras.Model(inputs, [L.Dense(2)(pooled), L.Dense(3)(flat)])


@settings(
    max_examples=25,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_the_law_is_kept_by_generated_networks(data: st.DataObject) -> None:
    model = shaken(_network(data))
    try:
        graph = analyse(model)
    except NotPrunable:
        return
    dropped = units(graph, share=data.draw(st.sampled_from([0.2, 0.5, 0.9])))
    smaller = remove(model, graph, dropped)
    found = difference(model, graph, dropped, smaller, batch(model))
    assert found.kept, found
    kept = {group.name: group.channels - len(dropped[group.name]) for group in graph.groups}
    assert predicted(model, graph)(kept) == cost_of(smaller)
