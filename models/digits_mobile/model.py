"""Handwritten digits, 32 x 32, by a network built as MobileNetV2 is, small enough to train here.

Source of the blocks: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018, figure 4.
"""

from typing import Any

from pipeline.recipe import Data, Split

CLASSES = 10
# Expansion, output channels, stride of each block; 16 x 16, 8 x 8 and 4 x 4 pixels.
BLOCKS = ((1, 16, 1), (6, 24, 1), (6, 24, 1), (6, 40, 2), (6, 40, 1), (6, 80, 2), (6, 80, 1))
STEM_CHANNELS = 32
HEAD_CHANNELS = 320
# Keras' 0.99 needs thousands of steps to forget its start; a training of this size has hundreds.
MOMENTUM = 0.9


def build_model(width: float = 1.0, size: int = 32) -> Any:
    """Build the network.

    Args:
        width: factor on the channels of every layer.
        size: height and width of the input in pixels.

    Returns:
        An untrained model, float32[batch, size, size, 1] to logits float32[batch, 10].
    """
    import tf_keras

    inputs = tf_keras.Input((size, size, 1), name="image")
    x = _convolved(inputs, _scaled(STEM_CHANNELS, width), kernel=3, stride=2, name="stem")
    for index, (expansion, channels, stride) in enumerate(BLOCKS):
        x = _block(x, expansion, _scaled(channels, width), stride, f"block{index}")
    x = _convolved(x, _scaled(HEAD_CHANNELS, width), kernel=1, stride=1, name="head")
    x = tf_keras.layers.GlobalAveragePooling2D(name="pool")(x)
    # No softmax: it saturates int8 outputs at one value, which hides differences between engines.
    logits = tf_keras.layers.Dense(CLASSES, name="logits")(x)
    return tf_keras.Model(inputs, logits, name="digits_mobile")


def load_data(size: int = 32, seed: int = 0, shift: int = 2) -> Data:
    """Split scikit-learn's 1797 digits 60/20/20, each class alike, and enlarge them.

    Args:
        size: height and width in pixels, a multiple of 8 (the digits have 8 x 8).
        seed: of the split.
        shift: training inputs are moved by up to this many pixels.

    Returns:
        Inputs float32[n, size, size, 1] in -1..1, labels of 0..9.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    images = _enlarged(pixels.reshape(-1, 8, 8), size)
    train, rest, train_labels, rest_labels = train_test_split(
        images, labels, train_size=0.6, stratify=labels, random_state=seed
    )
    validation, test, validation_labels, test_labels = train_test_split(
        rest, rest_labels, train_size=0.5, stratify=rest_labels, random_state=seed
    )
    return Data(
        train=Split(inputs=train, labels=train_labels),
        validation=Split(inputs=validation, labels=validation_labels),
        test=Split(inputs=test, labels=test_labels),
        augment=lambda batch, random: _shifted(batch, random, shift),
    )


def _scaled(channels: int, width: float) -> int:
    """Channels times width, as a multiple of 8: the tile of most kernels."""
    return max(8, round(channels * width / 8) * 8)


def _convolved(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    from tf_keras import layers

    x = layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, expansion: int, channels: int, stride: int, name: str) -> Any:
    """Expand, filter each channel, project; add the input where the shapes allow it."""
    from tf_keras import layers

    before = int(x.shape[-1])
    y = x
    if expansion > 1:
        y = _convolved(y, before * expansion, kernel=1, stride=1, name=f"{name}_expand")
    y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(
        y
    )
    y = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_depthwise_bn")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(y)
    y = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_project_bn")(y)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and before == channels else y


def _enlarged(images: Any, size: int) -> Any:
    """Cubic enlargement of uint images [n, 8, 8] in 0..16 to float32[n, size, size, 1] in -1..1."""
    import numpy as np
    from scipy.ndimage import zoom

    factor = size / images.shape[1]
    larger = zoom(images, (1, factor, factor), order=3, mode="nearest", grid_mode=True)
    return (np.clip(larger, 0, 16)[..., np.newaxis] / 8 - 1).astype(np.float32)


def _shifted(batch: Any, random: Any, shift: int) -> Any:
    """Move every image by its own whole number of pixels; what enters is background."""
    import numpy as np

    margins = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    padded = np.pad(batch, margins, constant_values=-1)
    height, width = batch.shape[1:3]
    corners = random.integers(0, 2 * shift + 1, (len(batch), 2))
    moved = [
        image[down : down + height, right : right + width]
        for image, (down, right) in zip(padded, corners, strict=True)
    ]
    return np.stack(moved)
