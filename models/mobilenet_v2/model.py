"""MobileNetV2 of tf_keras.applications, with the best weights and images at hand.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

import re
import socket
from pathlib import Path
from typing import Any

from pipeline.recipe import Built, Data, Split

CLASSES = 1000
KEPT_BY_KERAS = "~/.keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}.h5"
DOWNLOAD_SILENCE_S = 30.0
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
RANDOM_WEIGHTS = (
    "RANDOM WEIGHTS: size, latency and parity mean what they say, the answers mean nothing"
)
NO_ACCURACY = (
    "the weights are random, because no ImageNet weights are on this computer; set [model] "
    'weights_file, or weights = "imagenet" to download them'
)
NO_IMAGES = "no images were given; set [data] folder to a folder of images per class"


def build_model(weights: str = "auto", weights_file: str | None = None, size: int = 224) -> Built:
    """Build the network with the weights asked for.

    Args:
        weights: "auto", "imagenet" or "random".
        weights_file: an .h5 or .keras file of weights for this network; goes before ``weights``.
        size: height and width of the input in pixels.

    Returns:
        float32[batch, size, size, 3] in -1..1 to logits float32[batch, 1000].

    Raises:
        ValueError: ``weights`` is none of the three.
        RuntimeError: the download failed.
    """
    if weights not in ("auto", "imagenet", "random"):
        raise ValueError(f'weights = {weights!r} is none of "auto", "imagenet", "random"')
    kept = Path(KEPT_BY_KERAS.format(size=size)).expanduser()
    file = weights_file or (str(kept) if weights == "auto" and kept.is_file() else None)
    if file is None and weights != "imagenet":
        model = _network(None, size)
        _settle(model, size)
        return Built(model=model, accuracy_reason=NO_ACCURACY, warnings=(RANDOM_WEIGHTS,))
    if file is None:
        return Built(model=_downloaded(size))
    model = _network(None, size)
    model.load_weights(file)
    return Built(model=model)


def load_data(
    folder: str | None = None,
    size: int = 224,
    calibration_samples: int = 128,
    test_samples: int = 256,
    seed: int = 0,
) -> Data:
    """Images of a folder, or synthetic ones.

    Args:
        folder: one folder of images per class.
        size: height and width in pixels.
        calibration_samples: images int8 is calibrated on; none of them is tested on.
        test_samples: most images to test on.
        seed: of the choice, and of synthetic images.

    Returns:
        Inputs float32[n, size, size, 3] in -1..1.

    Raises:
        ValueError: the folder holds too few images.
    """
    if folder is None:
        return _synthetic(size, seed)
    return _of_folder(Path(folder), size, calibration_samples, test_samples, seed)


def _network(weights: str | None, size: int) -> Any:
    import tf_keras

    # No softmax: it changes no ranking, and saturates int8 outputs.
    return tf_keras.applications.MobileNetV2(
        input_shape=(size, size, 3), weights=weights, classes=CLASSES, classifier_activation=None
    )


def _downloaded(size: int) -> Any:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SILENCE_S)  # Keras sets none, and would wait for ever
    try:
        return _network("imagenet", size)
    except Exception as exc:
        raise RuntimeError(
            f"the ImageNet weights could not be downloaded ({exc}); set weights_file to a copy, "
            'or weights = "random"'
        ) from exc
    finally:
        socket.setdefaulttimeout(before)


def _settle(model: Any, size: int) -> None:
    """Give BatchNorm the statistics its random layers really have.

    With Keras' start (mean 0, variance 1) signals fade layer by layer, and every image gets the
    same answer; nothing could be told from comparing two engines then.
    """
    import tf_keras

    layers = [m for m in model.layers if isinstance(m, tf_keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics become those of the one batch that follows
    model(_images(16, size, seed=0), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _synthetic(size: int, seed: int) -> Data:
    images = _images(48, size, seed)
    return Data(
        train=Split(inputs=images[:32]),
        test=Split(inputs=images[32:]),
        origin="synthetic",
        accuracy_reason=NO_IMAGES,
        warnings=("SYNTHETIC IMAGES: calibrated and compared on generated patterns, not photos",),
    )


def _images(count: int, size: int, seed: int) -> Any:
    """Patterns float32[count, size, size, 3] in -1..1: waves of many widths, and some grain.

    Photos hold most of their energy in wide structures; plain noise would leave most of the
    network's channels alike.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    down, right = np.meshgrid(*2 * [np.linspace(0, 1, size)], indexing="ij")
    images = np.empty((count, size, size, 3), np.float32)
    for image in images:
        total = random.normal(0, 0.05, image.shape)
        for cycles in 2.0 ** random.uniform(-1, 5, 8):
            angle, phase = random.uniform(0, 2 * np.pi, 2)
            wave = np.sin(
                2 * np.pi * cycles * (down * np.sin(angle) + right * np.cos(angle)) + phase
            )
            total += wave[..., np.newaxis] * random.uniform(-1, 1, 3) / np.sqrt(cycles + 1)
        image[...] = np.clip(total + random.uniform(-0.5, 0.5, 3), -1, 1)
    return images


def _of_folder(folder: Path, size: int, calibration: int, tested: int, seed: int) -> Data:
    import numpy as np

    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    files = [(f, c) for c in classes for f in sorted(c.iterdir()) if f.suffix.lower() in IMAGES]
    if len(files) < calibration + 1:
        raise ValueError(f"{folder} holds {len(files)} images, {calibration + 1} are needed")
    order = np.random.default_rng(seed).permutation(len(files))[: calibration + tested]
    inputs = np.stack([_image(files[i][0], size) for i in order])
    numbers = _class_numbers(classes)
    labels = None if numbers is None else np.array([numbers[files[i][1]] for i in order])
    learn, judge = slice(None, calibration), slice(calibration, None)
    reason = None if labels is not None else f"the folders of {folder} do not tell class numbers"
    return Data(
        train=Split(inputs=inputs[learn], labels=None if labels is None else labels[learn]),
        test=Split(inputs=inputs[judge], labels=None if labels is None else labels[judge]),
        accuracy_reason=reason,
    )


def _class_numbers(classes: list[Path]) -> dict[Path, int] | None:
    numbered = {c: re.match(r"(\d+)(_|$)", c.name) for c in classes}
    if all(numbered.values()):
        return {c: int(found[1]) for c, found in numbered.items() if found}
    return {c: i for i, c in enumerate(classes)} if len(classes) == CLASSES else None


def _image(path: Path, size: int) -> Any:
    """The middle of a photo, as ImageNet is usually judged: shorter side at 8/7 of the input."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(path) as photo:
        side = round(size * 8 / 7)
        fitted = ImageOps.fit(photo.convert("RGB"), (side, side), Image.Resampling.BILINEAR)
    margin = (side - size) // 2
    middle = fitted.crop((margin, margin, margin + size, margin + size))
    return np.asarray(middle, np.float32) / 127.5 - 1
