"""A folder of images: what lies in it, and the pixels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from pipeline.errors import UnusableInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_PARTS: Final = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation",
    "validation": "validation", "test": "test",
}  # fmt: skip
_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
_LAYOUT: Final = "--data takes one folder of images per class, images alone, or a .npz file"

Sample = tuple[Path, int | None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFolder:
    """Images found in a folder.

    Attributes:
        parts: files with their classes, by split; only "all" when the folder tells no splits.
        classes: names of the class folders, in the order of their numbers; empty without any.
    """

    parts: dict[str, tuple[Sample, ...]]
    classes: tuple[str, ...]


def list_images(folder: Path, outputs: int | None) -> ImageFolder:
    """Look through a folder of images, or of train/validation/test folders of them.

    Args:
        folder: with one folder of images per class, or images without classes.
        outputs: how many classes the model tells apart; None when it tells none.

    Raises:
        UnusableInput: it holds something else, or other classes than the model.
    """
    inside = _visible(folder)
    folders, images = [p for p in inside if p.is_dir()], [p for p in inside if _is_image(p)]
    if folders and images:
        message = f"holds both images ({images[0].name}) and folders ({folders[0].name})"
        raise UnusableInput(str(folder), message, _LAYOUT)
    if images:
        return ImageFolder(parts={"all": tuple((p, None) for p in images)}, classes=())
    if not folders:
        raise UnusableInput(str(folder), f"holds no images ({', '.join(SUFFIXES)})", _LAYOUT)
    named = {_PARTS.get(p.name.lower()): p for p in folders}
    if None not in named and "train" in named:
        found = {str(part): _of_classes(p, outputs) for part, p in named.items()}
        _check_alike(folder, {part: names for part, (names, _) in found.items()})
    else:
        found = {"all": _of_classes(folder, outputs)}
    classes = next(iter(found.values()))[0]
    return ImageFolder(parts={part: samples for part, (_, samples) in found.items()},
                       classes=classes)  # fmt: skip


def read_images(files: Sequence[Path], shape: tuple[int, ...]) -> "NDArray[Any]":
    """Pixels uint8[files, height, width, channels].

    Stretched to the size, as Keras' image_dataset_from_directory does by default.

    Raises:
        UnusableInput: a file is no image, or the shape is not that of images.
    """
    import numpy as np
    from PIL import Image

    height, width, mode = _image_shape(shape, files[0].parent)
    pixels = np.empty((len(files), *shape), np.uint8)
    for into, file in zip(pixels, files, strict=True):
        try:
            with Image.open(file) as image:
                fitted = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
            message = f"is no image that can be read ({exc})"
            raise UnusableInput(str(file), message, "remove or replace it") from exc
        into[...] = np.asarray(fitted, np.uint8).reshape(shape)
    return pixels


def _image_shape(shape: tuple[int, ...], folder: Path) -> tuple[int, int, str]:
    if len(shape) != 3 or shape[2] not in _MODES:
        text = " x ".join(map(str, shape))
        message = f"holds images, but the model takes {text}"
        raise UnusableInput(str(folder), message, "give the inputs as x in a .npz file")
    return shape[0], shape[1], _MODES[shape[2]]


def _of_classes(
    folder: Path, outputs: int | None
) -> tuple[tuple[str, ...], tuple[tuple[Path, int | None], ...]]:
    """Names of the classes by number, and every image with its class."""
    folders = [p for p in _visible(folder) if p.is_dir()]
    if not folders:
        raise UnusableInput(str(folder), "holds no class folders", _LAYOUT)
    numbers = class_numbers([p.name for p in folders], outputs, str(folder))
    samples: list[Sample] = []
    for inside in folders:
        images = [p for p in sorted(inside.rglob("*")) if _is_image(p)]
        if not images:
            message = f"class {inside.name!r} has no images ({', '.join(SUFFIXES)})"
            raise UnusableInput(str(folder), message, "add some, or remove the folder")
        samples += [(p, numbers[inside.name]) for p in images]
    return tuple(sorted(numbers, key=lambda name: numbers[name])), tuple(samples)


def class_numbers(names: Sequence[str], outputs: int | None, folder: str) -> dict[str, int]:
    """The number of each class, in the order of names, as Keras numbers class folders.

    Fewer folders than the model has outputs must begin with their numbers ("281_tabby").

    Raises:
        UnusableInput: the folders are not the model's classes.
    """
    ordered = {name: index for index, name in enumerate(sorted(names))}
    if outputs is None or len(names) == outputs:
        return ordered
    told = {name: int(m[1]) for name in names if (m := re.match(r"(\d+)(?:_|$)", name))}
    distinct = len(set(told.values())) == len(names)
    if len(names) < outputs and distinct and max(told.values()) < outputs:
        return told
    known = ", ".join(sorted(names)[:8]) + (", ..." if len(names) > 8 else "")
    if len(names) > outputs:
        message = f"has {len(names)} class folders, but the model {outputs} outputs ({known})"
        raise UnusableInput(folder, message, "remove the folders that are no class of the model")
    raise UnusableInput(
        folder,
        f"has {len(names)} class folders, but the model {outputs} outputs: "
        f"{outputs - len(names)} missing ({known})",
        'add a folder for each, or put the class numbers in front of the names ("2_rose")',
    )


def _check_alike(folder: Path, classes: dict[str, tuple[str, ...]]) -> None:
    first, *others = classes
    for part in others:
        if odd := sorted(set(classes[first]) ^ set(classes[part])):
            message = f"{first} and {part} do not hold the same classes ({', '.join(odd[:5])})"
            raise UnusableInput(str(folder), message, "give every split every class")


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")))
    except OSError as exc:
        raise UnusableInput(str(folder), f"cannot be read ({exc.strerror})", _LAYOUT) from exc


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")  # file managers leave "._photo.jpg" behind
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()
