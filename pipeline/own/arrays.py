"""Inputs and labels in a .npz file."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline.errors import UnusableInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOLDS: Final = "a .npz file holds x and y, or x_train, y_train, x_test, y_test"
_NAMES: Final = {
    "": "all", "_train": "train", "_val": "validation", "_valid": "validation",
    "_validation": "validation", "_test": "test",
}  # fmt: skip

Part = tuple["NDArray[Any]", "NDArray[Any] | None"]


def read_arrays(path: Path, shape: tuple[int, ...], outputs: int | None) -> dict[str, Part]:
    """Inputs as they are stored, with labels int64[samples], by split ("all": not split yet).

    Raises:
        UnusableInput: the arrays are missing, of other shapes, or labels are no classes.
    """
    arrays = _arrays(path)
    parts: dict[str, Part] = {}
    for suffix, part in _NAMES.items():
        if (inputs := arrays.get(f"x{suffix}")) is None:
            continue
        inputs = _inputs(inputs, shape, f"{path}: x{suffix}")
        labels = arrays.get(f"y{suffix}")
        if labels is not None:
            labels = _labels(labels, len(inputs), outputs, f"{path}: y{suffix}")
        parts[part] = inputs, labels
    if "all" not in parts and "train" not in parts:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise UnusableInput(str(path), f"holds {names}, but no x", _HOLDS)
    if "all" in parts and "train" in parts:
        raise UnusableInput(str(path), "holds both x and x_train", _HOLDS)
    return {("train" if k == "all" and "test" in parts else k): v for k, v in parts.items()}


def _arrays(path: Path) -> dict[str, Any]:
    import numpy as np

    try:
        # Objects are pickles, which run what is in them.
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise UnusableInput(str(path), "is a single array (.npy)", _HOLDS)
        with loaded as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise UnusableInput(str(path), f"is no .npz file that can be read ({exc})", _HOLDS) from exc


def _inputs(inputs: Any, shape: tuple[int, ...], where: str) -> Any:
    import numpy as np

    if inputs.dtype.kind not in "uif" or not len(np.atleast_1d(inputs)):
        raise UnusableInput(where, f"is {inputs.dtype}{list(inputs.shape)}, not numbers")
    if shape[-1] == 1 and inputs.shape[1:] == shape[:-1]:
        inputs = inputs[..., np.newaxis]
    if inputs.shape[1:] != shape:
        found, wanted = (" x ".join(map(str, s)) for s in (inputs.shape[1:], shape))
        message = f"has samples of {found}, but the model takes {wanted}"
        raise UnusableInput(where, message, "bring them to the model's size, or give --size")
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise UnusableInput(where, "holds values that are no numbers (NaN or infinite)")
    return inputs


def _labels(labels: Any, samples: int, outputs: int | None, where: str) -> Any:
    """Class numbers; one-hot rows and columns of one are understood."""
    import numpy as np

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all():
        if outputs is not None and labels.shape[1] != outputs:
            message = f"has {labels.shape[1]} classes, but the model {outputs} outputs"
            raise UnusableInput(where, message)
        labels = labels.argmax(1)
    if labels.shape != (samples,):
        raise UnusableInput(where, f"is {list(labels.shape)} for {samples} samples of x")
    if outputs is None:
        return labels
    if labels.dtype.kind not in "uif" or (labels != np.floor(labels)).any():
        raise UnusableInput(where, f"holds {labels.dtype} values, not class numbers")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= outputs:
        message = f"holds classes {least} to {most}, but the model has {outputs} outputs"
        raise UnusableInput(where, message, f"number the classes from 0 to {outputs - 1}")
    return labels.astype(np.int64)
