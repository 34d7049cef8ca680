"""How pixel values of 0..255 become what a model was trained on; pure numpy."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Scale(StrEnum):
    """What a model wants to see of a pixel; names as the command takes them."""

    UNIT = "0..1"
    SIGNED = "-1..1"
    RAW = "0..255"
    IMAGENET = "imagenet"  # 0..1, less ImageNet's mean, by its deviation
    CAFFE = "caffe"  # blue first, less ImageNet's mean, not divided


# Of red, green, blue. Source: keras.applications.imagenet_utils.preprocess_input.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green, red


def fits(scale: Scale, channels: int) -> bool:
    """Whether ``scale`` can be applied to so many channels."""
    return channels == 3 or scale not in (Scale.IMAGENET, Scale.CAFFE)


def scaled(pixels: "NDArray[Any]", scale: Scale) -> "NDArray[Any]":
    """Pixels [..., channels] of 0..255 as float32, scaled."""
    import numpy as np

    values = pixels.astype(np.float32)
    match scale:
        case Scale.UNIT:
            values /= 255.0
        case Scale.SIGNED:
            values = values / np.float32(127.5) - np.float32(1)
        case Scale.RAW:
            pass
        case Scale.IMAGENET:
            values = (values / 255.0 - np.array(_MEAN, np.float32)) / np.array(
                _DEVIATION, np.float32
            )
        case Scale.CAFFE:
            values = values[..., ::-1] - np.array(_CAFFE_MEAN, np.float32)
    return np.ascontiguousarray(values, np.float32)
