"""What kind of model file was given, told from its first bytes and members; loads no TensorFlow."""

import json
import zipfile
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pipeline.errors import UnusableInput

SAVE_AGAIN: Final = "save it with model.save('my_model.keras')"
_WANTED: Final = "--model takes a .keras or .h5 file, or a SavedModel folder, of Keras"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK\x03\x04"
CONFIG: Final = "config.json"
METADATA: Final = "metadata.json"
SAVED_MODEL: Final = "saved_model.pb"
SAVED_METADATA: Final = "keras_metadata.pb"


class FileKind(StrEnum):
    """How a Keras model was saved."""

    KERAS2 = "Keras 2 .keras file"
    KERAS3 = "Keras 3 .keras file"
    HDF5 = "HDF5 file"
    SAVED_MODEL = "SavedModel folder"


def kind_of(path: Path) -> FileKind:
    """Tell how the model at ``path`` was saved.

    Raises:
        UnusableInput: it is none that can be used; the message says what to do with what it is.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as exc:
        raise UnusableInput(str(path), f"cannot be read ({exc.strerror})", _WANTED) from exc
    if not head:
        raise UnusableInput(str(path), "is empty", f"{SAVE_AGAIN} again, and copy the whole file")
    if head.startswith(_HDF5):
        return FileKind.HDF5
    if head.startswith(_ZIP):
        return _kind_of_zip(path)
    raise UnusableInput(str(path), *_foreign(path, head))


def keras_config(path: Path) -> Any:
    """The model's configuration in a .keras file, as JSON.

    Raises:
        UnusableInput: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        return _member(archive, path, CONFIG)


def hdf5_config(path: Path) -> Any:
    """The model's configuration in an HDF5 file, as JSON.

    Raises:
        UnusableInput: it holds weights only, or is damaged.
    """
    # It has no types; what comes of it is JSON.
    hdf5: Any = import_module("h5py")
    try:
        with hdf5.File(path, "r") as file:
            text = file.attrs.get("model_config")
    except OSError as exc:
        damaged = f"is damaged ({str(exc).splitlines()[0]})"
        raise UnusableInput(str(path), damaged, "copy the whole file") from exc
    if text is None:
        raise UnusableInput(
            str(path), "holds weights only, not the model they belong to",
            f"build the model, load_weights() into it, and {SAVE_AGAIN}",
        )  # fmt: skip
    return _parsed(text, path, "model_config")


def _kind_of_folder(path: Path) -> FileKind:
    if not (path / SAVED_MODEL).is_file():
        raise UnusableInput(str(path), f"is a folder without {SAVED_MODEL}", _WANTED)
    if not (path / SAVED_METADATA).is_file():
        # TensorFlow's own and Keras 3's export() write functions only, from which no layer comes.
        raise UnusableInput(
            str(path), f"has no {SAVED_METADATA}, so it holds functions but no Keras layers",
            f"load the model in the program that made it and {SAVE_AGAIN}",
        )  # fmt: skip
    return FileKind.SAVED_MODEL


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if any(name.endswith("data.pkl") for name in names):
                raise UnusableInput(str(path), *_PYTORCH)
            if CONFIG not in names or METADATA not in names:
                message = "is a zip archive, but not one that Keras wrote"
                raise UnusableInput(str(path), message, _WANTED)
            if damaged := archive.testzip():
                message = f"is damaged ({damaged} does not fit its checksum)"
                raise UnusableInput(str(path), message, "copy the whole file")
            metadata = _member(archive, path, METADATA)
    except (zipfile.BadZipFile, OSError, EOFError) as exc:
        raise UnusableInput(str(path), f"is damaged ({exc})", "copy the whole file") from exc
    major = str(metadata.get("keras_version", "")).partition(".")[0]
    if major not in ("2", "3"):
        message = f"was saved by Keras {metadata.get('keras_version')}, which is not known"
        raise UnusableInput(str(path), message, "save it with Keras 2 or 3")
    return FileKind.KERAS2 if major == "2" else FileKind.KERAS3


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> Any:
    return _parsed(archive.read(name), path, name)


def _parsed(text: str | bytes, path: Path, name: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError as exc:
        message = f"is damaged ({name} is not JSON: {exc})"
        raise UnusableInput(str(path), message, f"{SAVE_AGAIN} again") from exc
    if not isinstance(found, dict):
        raise UnusableInput(str(path), f"is damaged ({name} is no object)", f"{SAVE_AGAIN} again")
    return found


_PYTORCH: Final = (
    "is a PyTorch file",
    "only Keras models can be compressed; convert it to .tflite and measure that with: "
    "deploy-bench bench MODEL.tflite",
)


def _foreign(path: Path, head: bytes) -> tuple[str, str]:
    """What else the file may be, and what can be done with it."""
    if head[4:8] == b"TFL3":
        return "is a finished TFLite model", f"measure it with: deploy-bench bench {path}"
    if head[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05"):
        return "is a pickle, which runs whatever is in it when it is read", SAVE_AGAIN
    match path.suffix.lower():
        case ".pt" | ".pth" | ".ckpt":
            return _PYTORCH
        case ".onnx":
            return "is an ONNX model", "only Keras models can be compressed"
        case ".pb":
            return "is part of a SavedModel", "give the folder it lies in"
        case _:
            return "is no model that Keras saved", _WANTED
