"""Which training samples the ranges of activations are taken from."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.data import Data
from pipeline.errors import ConversionError
from pipeline.stages.evaluate import spread

# A warning names this many classes; a reader needs no list of nine hundred.
_NAMED: Final = 10


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Samples to take ranges from.

    Attributes:
        inputs: float32[samples, ...], in the training split's order.
        facts: size, classes and sha256 of ``inputs``, as JSON.
        warnings: classes that are not among them.
    """

    inputs: NDArray[np.float32]
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def choose(data: Data, samples: int, name: str) -> Calibration:
    """Choose ``samples`` training samples, each class alike; evenly spread when none is labelled.

    Args:
        data: only its training split is shown to the converter; the labels of all splits tell
            which classes there are.
        samples: how many are wanted; fewer when the split holds no more.
        name: of the variant, for the error.

    Raises:
        ConversionError: the training split is empty.
    """
    inputs, labels = data.train.inputs, data.train.labels
    if not len(inputs):
        raise ConversionError(
            name,
            "the training split holds no sample to take ranges from; let load_data() in model.py "
            "return some, or ask for float32, float16 or dynamic",
        )
    chosen = spread(len(inputs), samples) if labels is None else balanced(labels, samples)
    taken = np.ascontiguousarray(inputs[chosen], np.float32)
    facts = {"samples": len(taken), "asked": samples, "sha256": _sha256(taken)}
    if labels is None:
        reason = "the training split has no labels, so the samples are spread evenly over it"
        return Calibration(inputs=taken, facts={**facts, "classes": None, "reason": reason})
    counts = {str(c): n for c, n in sorted(Counter(np.ravel(labels[chosen]).tolist()).items())}
    return Calibration(
        inputs=taken,
        facts={**facts, "classes": counts},
        warnings=_missing(_classes(data), counts, samples),
    )


def balanced(labels: NDArray[Any], samples: int) -> NDArray[Any]:
    """Indices of ``samples`` samples, ascending, as many of each class as can be.

    A class with too few samples gives all it has; the others share what it leaves.
    """
    rows = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    shares = _shares([len(row) for row in rows], samples)
    chosen = (row[spread(len(row), share)] for row, share in zip(rows, shares, strict=True))
    return np.sort(np.concatenate(list(chosen))).astype(int)


def _shares(sizes: list[int], wanted: int) -> list[int]:
    """How many of ``wanted`` each class gives, that holds so many; the smallest is asked first."""
    shares, left = [0] * len(sizes), wanted
    waiting = len(sizes)
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        shares[index] = min(sizes[index], left // waiting)
        left, waiting = left - shares[index], waiting - 1
    return shares


def _classes(data: Data) -> list[int]:
    splits = (data.train, data.validation, data.test)
    labels = [s.labels for s in splits if s is not None and s.labels is not None]
    return [int(c) for c in np.unique(np.concatenate([np.ravel(one) for one in labels]))]


def _missing(classes: Iterable[int], counts: dict[str, int], samples: int) -> tuple[str, ...]:
    missing = [str(c) for c in classes if str(c) not in counts]
    if not missing:
        return ()
    names = ", ".join(missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"no calibration sample shows class {names}{more} ({samples} samples asked for); ranges "
        "may be too narrow for it: raise calibration_samples, or add such samples to the "
        "training split",
    )


def _sha256(inputs: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(f"{inputs.dtype} {inputs.shape}\n".encode())
    digest.update(inputs.tobytes())
    return digest.hexdigest()
