"""Data of the user's own as a recipe wants it: scaled, split, with words about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from pipeline.data import SYNTHETIC, TEST_SPLIT, Data, Split
from pipeline.errors import UnusableInput
from pipeline.own.arrays import read_arrays
from pipeline.own.images import list_images, read_images
from pipeline.own.scale import Scale, scaled

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

# Of what was not split yet; the rest trains.
_SHARES: Final = {"test": 0.2, "validation": 0.2}
# One for each split; with fewer, some class would be judged or learned by nothing.
FEWEST_OF_CLASS: Final = 3
FEWEST_UNLABELLED: Final = 2
_SYNTHETIC_SAMPLES: Final = 48
SEEN_BEFORE: Final = (
    "accuracy is of samples split off at random: where the model was trained on this data, it "
    "has seen them, and the accuracy is too high"
)
_MADE_UP: Final = (
    "SYNTHETIC DATA: int8 was calibrated on generated patterns, so size and latency mean what "
    "they say, but answers of the int8 file mean nothing; give --data"
)
_NO_DATA: Final = "no data were given"
_UNJUDGED: Final = "the model gives no scores of classes, which accuracy is counted from"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples of one split as they were found.

    Attributes:
        inputs: paths of images, or an array; not scaled yet.
        labels: class numbers, or None.
    """

    inputs: "Sequence[Path] | NDArray[Any]"
    labels: "NDArray[Any] | None"

    def __len__(self) -> int:
        return len(self.inputs)

    def chosen(self, indices: "NDArray[Any]") -> "Samples":
        """Those of the indices, in that order."""
        labels = None if self.labels is None else self.labels[indices]
        if isinstance(self.inputs, Sequence):
            return Samples(inputs=[self.inputs[i] for i in indices], labels=labels)
        return Samples(inputs=self.inputs[indices], labels=labels)

    def read(self, shape: tuple[int, ...]) -> "NDArray[Any]":
        """Inputs as they were stored."""
        if isinstance(self.inputs, Sequence):
            return read_images(self.inputs, shape)
        return self.inputs


def load_own_data(
    shape: Sequence[int],
    data_path: str | None = None,
    classes: int = 0,
    scale: str = Scale.UNIT,
    most_samples: int = 5000,
    seed: int = 0,
) -> Data:
    """Load data of the user's own.

    Args:
        shape: of one input sample.
        data_path: folder of images, or .npz file; None: generated patterns.
        classes: how many the model tells apart; 0: it gives no scores of classes.
        scale: how pixels are scaled. Arrays of floats are taken as they are.
        most_samples: of a split, so that it fits into memory; each class alike.
        seed: of the choice and the split.

    Raises:
        UnusableInput: the data cannot be used with the model.
    """
    taken = tuple(shape)
    if data_path is None:
        return _synthetic(taken, Scale(scale), seed)
    found = find_samples(Path(data_path), taken, classes or None)
    splits = _splits(found, data_path, seed)
    split_here = "all" in found and splits["train"].labels is not None and classes
    warnings = [*([SEEN_BEFORE] if split_here else []), *_never_seen(splits["train"], classes)]
    read: dict[str, Split] = {}
    for name, samples in splits.items():
        fewer = few(samples, most_samples, seed)
        if len(fewer) < len(samples):
            warnings.append(f"{name}: {len(fewer)} of {len(samples)} samples, to fit into memory")
        read[name] = Split(
            inputs=ready(fewer.read(taken), Scale(scale)),
            labels=fewer.labels if classes else None,
        )
    return Data(
        train=read["train"], validation=read.get("validation"), test=read["test"],
        origin=TEST_SPLIT, warnings=tuple(warnings),
        accuracy_reason=_unjudged(read["test"], classes, Path(data_path).name),
    )  # fmt: skip


def find_samples(path: Path, shape: tuple[int, ...], classes: int | None) -> dict[str, Samples]:
    """Samples by split; only "all" when the data are not split yet.

    Raises:
        UnusableInput: nothing that can be used is there.
    """
    import numpy as np

    if not path.exists():
        raise UnusableInput(str(path), "does not exist", WHAT_DATA)
    if path.is_file():
        parts = read_arrays(path, shape, classes)
        return {k: Samples(inputs=x, labels=y) for k, (x, y) in parts.items()}
    found = list_images(path, classes)
    return {
        part: Samples(
            inputs=[file for file, _ in samples],
            labels=np.array([n for _, n in samples]) if found.classes else None,
        )
        for part, samples in found.parts.items()
    }


WHAT_DATA: Final = (
    "--data takes a folder with one folder of images per class, a folder of images without "
    "classes, or a .npz file with x and y"
)


def few(samples: Samples, most: int, seed: int) -> Samples:
    """At most so many samples, each class alike, in a fixed random order."""
    import numpy as np

    random = np.random.default_rng(seed)
    if len(samples) <= most:
        return samples
    order = random.permutation(len(samples))
    if samples.labels is None:
        return samples.chosen(order[:most])
    # Round by round, one of each class that still has some.
    rounds = np.empty(len(order), int)
    labels = samples.labels[order]
    for number in np.unique(labels):
        rounds[labels == number] = np.arange((labels == number).sum())
    return samples.chosen(order[np.argsort(rounds, kind="stable")[:most]])


def _splits(found: dict[str, Samples], path: str, seed: int) -> dict[str, Samples]:
    """Train, validation and test; what is missing is split off the training samples."""
    import numpy as np

    splits = {name: samples for name, samples in found.items() if name != "all"}
    rest = found.get("all", found.get("train"))
    if rest is None:
        raise UnusableInput(path, "holds no training samples", WHAT_DATA)
    _check_enough(rest, path)
    random = np.random.default_rng(seed)
    for name, share in _SHARES.items():
        if name not in splits:
            # A share of what was there at first, not of what is left of it.
            of_rest = share / (1 - sum(_SHARES.values()) + share) if name == "validation" else share
            off, on = _divided(rest, of_rest, random)
            if len(off):
                splits[name], rest = off, on
    return {**splits, "train": rest}


def _divided(samples: Samples, share: float, random: "Generator") -> tuple[Samples, Samples]:
    """A share of each class, at least one sample, and the rest."""
    import numpy as np

    whole = np.zeros(len(samples), int) if samples.labels is None else samples.labels
    off, on = [], []
    for number in np.unique(whole):
        order = random.permutation(np.flatnonzero(whole == number))
        count = min(max(1, round(share * len(order))), len(order) - 1)
        off.append(order[:count])
        on.append(order[count:])
    return samples.chosen(np.concatenate(off)), samples.chosen(np.concatenate(on))


def _check_enough(samples: Samples, path: str) -> None:
    import numpy as np

    if samples.labels is None:
        if len(samples) < FEWEST_UNLABELLED:
            message = f"holds {len(samples)} image or sample"
            raise UnusableInput(path, message, f"give {FEWEST_UNLABELLED} or more")
        return
    numbers, counts = np.unique(samples.labels, return_counts=True)
    if counts.min() < FEWEST_OF_CLASS:
        number = numbers[counts.argmin()]
        message = f"class {number} has {counts.min()} samples, too few for three splits"
        raise UnusableInput(path, message, f"give {FEWEST_OF_CLASS} or more of each class")


def ready(inputs: "NDArray[Any]", scale: Scale) -> "NDArray[Any]":
    """Inputs as the model wants them: integers are pixels of 0..255, floats are scaled already."""
    import numpy as np

    if inputs.dtype.kind == "f":
        return np.ascontiguousarray(inputs, np.float32)
    return scaled(inputs, scale)


def _unjudged(test: Split, classes: int, name: str) -> str | None:
    if not classes:
        return _UNJUDGED
    return None if test.labels is not None else f"{name} does not tell the classes of its samples"


def _never_seen(train: Samples, classes: int) -> list[str]:
    """A warning when the data lack classes of the model."""
    if train.labels is None or not classes:
        return []
    missing = sorted(set(range(classes)) - {int(n) for n in set(train.labels)})
    if not missing:
        return []
    some = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return [f"{len(missing)} of the model's {classes} classes have no samples ({some})"]


def _synthetic(shape: tuple[int, ...], scale: Scale, seed: int) -> Data:
    """Blocks of colour of many sizes, for want of photos; plain noise is less like them."""
    import numpy as np

    random = np.random.default_rng(seed)
    samples = np.zeros((_SYNTHETIC_SAMPLES, *shape), np.float32)
    if len(shape) == 3:
        for cells in (2, 4, 8, 16):
            rows, columns = (np.arange(n) * cells // n for n in shape[:2])
            blocks = random.uniform(0, 1, (_SYNTHETIC_SAMPLES, cells, cells, shape[2]))
            samples += blocks[:, rows][:, :, columns].astype(np.float32) / 4
        samples = scaled(samples * 255, scale)
    else:
        samples = random.normal(0, 1, samples.shape).astype(np.float32)
    learn, judge = slice(32), slice(32, None)
    return Data(
        train=Split(inputs=samples[learn]), test=Split(inputs=samples[judge]), origin=SYNTHETIC,
        accuracy_reason=_NO_DATA, warnings=(_MADE_UP,),
    )  # fmt: skip
