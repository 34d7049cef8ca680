"""Small models, one for each thing a channel graph must understand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.keras_compat import keras, tf

L = keras.layers
SIDE = 8


def image(channels: int = 3, side: int = SIDE) -> Any:
    return keras.Input((side, side, channels))


def head(x: Any) -> Any:
    return L.Dense(5, name="logits")(L.GlobalAveragePooling2D()(x))


def shaken(model: Any, seed: int = 0) -> Any:
    """The model with statistics as training leaves them, so that no channel is like another."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if getattr(layer, "layers", None) or not layer.weights:
            continue
        layer.set_weights([_drawn(random, w) for w in layer.weights])
    return model


def _drawn(random: np.random.Generator, weight: Any) -> Any:
    name, shape = weight.name.split("/")[-1], tuple(weight.shape)
    if "gamma" in name or "variance" in name:
        return random.uniform(0.5, 1.5, shape)
    if len(shape) == 1 or "alpha" in name:
        return random.normal(0, 0.3, shape)
    fan_in = max(1, np.prod(shape[:-1]) / (shape[-2] if "depthwise" in name else 1))
    return random.normal(0, np.sqrt(2 / fan_in), shape)


def units(graph: Any, share: float = 0.4, seed: int = 1) -> dict[str, list[int]]:
    """Some units of every group, at least one."""
    random = np.random.default_rng(seed)
    return {
        g.name: sorted(random.permutation(g.channels)[: max(1, int(g.channels * share))].tolist())
        for g in graph.groups
    }


def batch(model: Any, samples: int = 2, seed: int = 2) -> Any:
    random = np.random.default_rng(seed)
    drawn = [
        tf.constant(random.normal(size=(samples, *t.shape[1:])), keras.backend.floatx())
        for t in model.inputs
    ]
    return drawn[0] if len(drawn) == 1 else drawn


def _plain() -> Any:
    x = inputs = image()
    x = L.Conv2D(12, 3, strides=2, use_bias=False, name="stem")(x)
    x = L.BatchNormalization(name="stem_bn")(x)
    x = L.ReLU(6.0)(x)
    x = L.Conv2D(10, 3, dilation_rate=2, padding="same", activation="swish", name="dilated")(x)
    return keras.Model(inputs, head(L.Dropout(0.1)(x)))


def _sequential() -> Any:
    return keras.Sequential([
        image(),
        L.ZeroPadding2D(), L.Conv2D(8, 3, name="first"), L.PReLU(shared_axes=[1, 2]),
        L.MaxPooling2D(), L.Conv2D(10, 1, name="second"), L.PReLU(), L.Cropping2D(1),
        L.Flatten(), L.Dense(9, "tanh", name="third"), L.Dense(4, name="last"),
    ])  # fmt: skip


def _residual() -> Any:
    inputs = image()
    trunk = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", name="trunk")(inputs))
    for block in ("one", "two"):
        x = L.Conv2D(14, 1, name=f"{block}_expand")(L.Activation("relu")(trunk))
        x = L.DepthwiseConv2D(3, padding="same", name=f"{block}_depthwise")(x)
        x = L.BatchNormalization(name=f"{block}_bn")(x)
        x = L.Conv2D(8, 1, name=f"{block}_project")(L.Activation("hard_sigmoid")(x))
        trunk = L.Add()([trunk, x])
    return keras.Model(inputs, head(trunk))


def _arithmetic() -> Any:
    inputs = image()
    a = L.Conv2D(8, 1, name="a")(inputs)
    b = L.Conv2D(8, 1, name="b")(inputs)
    c = L.Conv2D(8, 3, padding="same", name="c")(inputs)
    x = (a + b) * 0.5 - tf.nn.relu6(c + 3.0) * (1.0 / 6.0)
    x = L.Average()([x, L.Maximum()([a, b]), L.Minimum()([b, c]), L.Subtract()([c, a])])
    x = tf.nn.silu(1.0 - x) + tf.math.sigmoid(x) / 2.0 + tf.clip_by_value(x, -1.0, 1.0)
    return keras.Model(inputs, head(L.Conv2D(6, 1, name="mix")(x)))


def _gates() -> Any:
    inputs = image()
    x = L.Conv2D(12, 3, name="conv")(inputs)
    gate = L.GlobalAveragePooling2D()(x)
    gate = L.Reshape((1, 1, 12))(gate)
    gate = L.Conv2D(4, 1, activation="relu", name="squeeze")(gate)
    gate = L.Conv2D(12, 1, activation="sigmoid", name="excite")(gate)
    x = L.Multiply()([x, gate])
    gate = tf.reduce_mean(x, [1, 2], keepdims=True)
    gate = tf.nn.relu6(L.Conv2D(12, 1, name="hard")(gate) + 3.0) * (1.0 / 6.0)
    x = x * gate
    focus = L.Conv2D(1, 1, activation="sigmoid", name="focus")(x)
    return keras.Model(inputs, head(L.Conv2D(6, 1, name="mix")(x * focus)))


def _concatenated() -> Any:
    inputs = image()
    a = L.Conv2D(6, 1, name="a")(inputs)
    b = L.Conv2D(5, 3, padding="same", name="b")(a)
    x = L.BatchNormalization(name="both")(L.Concatenate()([a, b]))
    c = L.Conv2D(4, 3, padding="same", name="c")(x)
    x = tf.concat([x, c], axis=-1)
    tall = L.Concatenate(axis=1)([x, x])
    d = L.Conv2D(15, 1, name="d")(tall)
    return keras.Model(inputs, head(L.Conv2D(7, 1, name="e")(L.Add()([d, tall]))))


def _flattened() -> Any:
    inputs = image(side=4)
    x = L.Conv2D(6, 1, activation="relu", name="conv")(inputs)
    x = L.Dense(3 * 3 * 5, name="wide")(L.Flatten()(x))
    x = L.Reshape((3, 3, 5), name="image")(x)
    x = L.Conv2DTranspose(7, 3, strides=2, padding="same", name="up")(x)
    x = L.UpSampling2D(interpolation="bilinear")(x)
    return keras.Model(inputs, L.Conv2D(2, 1, name="out")(L.LeakyReLU()(x)))


def _separable() -> Any:
    inputs = image()
    x = L.Conv2D(6, 1, name="conv")(inputs)
    x = L.SeparableConv2D(10, 3, depth_multiplier=2, name="separable")(x)
    x = L.BatchNormalization()(x)
    x = L.DepthwiseConv2D(3, depth_multiplier=3, name="multiplied", activation="relu")(x)
    return keras.Model(inputs, head(L.SeparableConv2D(8, 1, name="last")(x)))


def _grouped() -> Any:
    inputs = image()
    x = L.Conv2D(24, 1, name="entry")(inputs)
    x = L.Conv2D(24, 3, groups=6, padding="same", activation="relu", name="many")(x)
    x = L.Conv2D(16, 1, name="between")(x)
    x = L.Conv2D(18, 3, groups=2, name="few")(x)
    x = L.Conv2D(18, 3, groups=18, padding="same", name="depthwise")(x)
    return keras.Model(inputs, head(x))


def _normalised() -> Any:
    inputs = image()
    x = L.Conv2D(12, 1, name="by_group")(inputs)
    x = L.GroupNormalization(groups=4, name="groups")(x)
    x = L.Conv2D(9, 1, name="by_instance")(x)
    x = L.GroupNormalization(groups=-1, name="instance")(x)
    x = L.Conv2D(7, 1, name="by_position")(x)
    x = L.LayerNormalization(axis=[1, 2], name="positions")(x)
    x = L.Conv2D(8, 1, name="by_layer")(x)
    x = L.LayerNormalization(name="layer")(x)
    x = L.Conv2D(16, 1, activation="gelu", name="expand")(x)
    return keras.Model(inputs, head(L.Conv2D(8, 1, name="project")(x)))


def _sequence() -> Any:
    inputs = keras.Input((12, 4))
    x = L.Conv1D(8, 3, padding="causal", name="conv")(inputs)
    x = L.SeparableConv1D(10, 3, name="separable")(L.SpatialDropout1D(0.1)(x))
    x = L.DepthwiseConv1D(3, name="depthwise")(L.MaxPooling1D()(x))
    x = L.Conv1D(6, 1, name="pointwise")(x)
    x = L.Permute((1, 2))(L.Conv1DTranspose(8, 2, name="up")(x))
    x = L.Dense(9, activation="elu", name="dense")(x)
    return keras.Model(inputs, L.Dense(3, name="out")(L.GlobalMaxPooling1D()(x)))


def _shared() -> Any:
    left, right = image(), image()
    conv = L.Conv2D(8, 3, name="conv")
    norm = L.BatchNormalization(name="norm")
    deep = L.Conv2D(10, 3, name="deep")
    towers = [deep(L.ReLU()(norm(conv(x)))) for x in (left, right)]
    x = L.Concatenate()(towers)
    apart = L.Dense(4, name="second")(L.GlobalMaxPooling2D()(towers[0]))
    return keras.Model([left, right], [head(x), apart])


def _nested() -> Any:
    backbone = keras.Sequential(
        [image(4), L.Conv2D(8, 3, name="conv"), L.BatchNormalization(), L.ReLU()], name="backbone"
    )
    x = a = keras.Input((6, 6, 8))
    x = L.Conv2D(12, 1, name="in")(x)
    inner = keras.Model(a, [x, L.Conv2D(8, 1, name="out")(x)], name="inner")
    inputs = image()
    one, two = (backbone(L.Conv2D(4, 1, name=n)(inputs)) for n in ("adapt_one", "adapt_two"))
    wide, narrow = inner(one)
    _, other = inner(two)
    x = L.Concatenate()([wide, L.Add()([narrow, other])])
    return keras.Model(inputs, head(x))


def _shared_across_nesting() -> Any:
    conv = L.Conv2D(6, 3, padding="same", name="conv")
    a = image(6)
    inner = keras.Model(a, L.Conv2D(9, 1, name="inside")(conv(a)), name="inner")
    inputs = image()
    x = conv(L.Conv2D(6, 1, name="entry")(inputs))
    return keras.Model(inputs, head(inner(x)))


def _any_size() -> Any:
    a = keras.Input((None, None, 3))
    x = L.Conv2D(8, 3, padding="same", name="conv")(a)
    x = L.Concatenate()([x, L.Add()([tf.nn.relu(x), x])])
    inner = keras.Model(a, L.Conv2D(6, 3, strides=2, name="strided")(x), name="inner")
    left, right = image(), image(side=12)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(inner(x)) for x in (left, right)])
    return keras.Model([left, right], L.Dense(3)(x))


def _preprocessed() -> Any:
    inputs = image()
    x = L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(inputs)
    x = L.Rescaling(1 / 2.0, 0.1)(x)
    x = L.Resizing(6, 6)(L.Conv2D(8, 1, name="conv")(L.GaussianNoise(0.1)(x)))
    x = L.Conv2D(6, 1, name="next")(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
    return keras.Model(inputs, head(tf.image.resize(x, (9, 9))))


MODELS: dict[str, Callable[[], Any]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        _plain, _sequential, _residual, _arithmetic, _gates, _concatenated, _flattened,
        _separable, _grouped, _normalised, _sequence, _shared, _nested, _shared_across_nesting,
        _any_size, _preprocessed,
    )
}  # fmt: skip
