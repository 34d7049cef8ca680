"""Weight sharing: the weights of each layer take a few values only, and learn together.

Batch normalisation is folded first, as it would part the values again. What is won is a smaller
download; no engine computes faster with shared values.

tensorflow_model_optimization's own wrapper is not used: it leaves depthwise layers out without a
word, and what keeps shared values in its training for int8 does nothing for a convolution that a
ReLU layer follows. Here the weights are put together after every step, in plain Keras layers, and
both stages do it alike.

Source: Han, Mao and Dally, "Deep Compression", 2016, section 3 (k-means, then one gradient for
each shared value; which weights share is decided once).
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageFailed
from pipeline.folding import KERNELS, Folded, fold
from pipeline.keras_compat import copy_of, keras, tf
from pipeline.settings import Cluster
from pipeline.stages.fit import fit
from pipeline.stages.given import Facts, Given, Outcome

Start = Literal["linear", "random", "density", "kmeans"]
# From this share of exact zeros on, a layer was pruned: training alone leaves next to none.
PRUNED: Final = 0.05
# Above it, values are not shared, whatever made them equal.
MOST_SHARED: Final = 256
# As many weights show where the values lie; more only take longer.
_SEEN: Final = 65536
# Lloyd's algorithm ends by itself when nothing moves; in one dimension that is after some tens.
_ROUNDS: Final = 300


def run(settings: Cluster, given: Given) -> Outcome:
    """Fold, share and train a copy of the model; a plain Keras model comes back.

    Facts are the last epoch's numbers with the distinct values of each layer before and after,
    what was folded, and which layers were left as they are.

    Raises:
        DataError: the training split has no labels, or the model is a subclass of Model.
        StageFailed: ``layers`` names a layer that is not there or holds no kernel.
    """
    folded = fold(given.model)
    model, held = folded.model, kernels(folded.model)
    check_names(given.model.name, "cluster", "layers", settings.layers, held)
    before = {name: distinct(kernel.numpy()) for name, kernel in held.items()}
    random = np.random.default_rng(given.seed)
    for name, kernel in held.items():
        count = settings.layers.get(name, settings.clusters)
        kernel.assign(shared(kernel.numpy(), count, settings.initialisation, random))
    facts = fit(model, settings, given, [WeightsHeld(held.values())])
    values = {
        name: {"before": before[name], "after": distinct(kernel.numpy())}
        for name, kernel in held.items()
    }
    return Outcome(
        model=copy_of(model),
        facts=facts | {"unique_values": values, "left": _left(model)} | folding_facts(folded),
    )


def kernels(model: Any) -> dict[str, Any]:
    """The variables whose values are shared, by layer."""
    chosen = [layer for layer in model.layers if type(layer) in KERNELS]
    return {layer.name: getattr(layer, KERNELS[type(layer)]) for layer in chosen}


def is_pruned(kernel: NDArray[Any]) -> bool:
    """Whether there are so many zeros that somebody put them there."""
    return float(np.mean(kernel == 0)) > PRUNED


def is_shared(kernel: NDArray[Any]) -> bool:
    """Whether the weights other than zero take few values, each of them several times."""
    values = kernel[kernel != 0]
    return (
        values.size > 0 and 2 * distinct(values) <= values.size and distinct(kernel) <= MOST_SHARED
    )


def distinct(values: NDArray[Any]) -> int:
    """How many different values there are."""
    return int(np.unique(values).size)


def folding_facts(folded: Folded) -> Facts:
    """What folding did, as both stages that fold say it."""
    return {"folded": folded.folded, "batch_norm_kept": folded.kept}


def check_names(
    model: str, stage: str, key: str, asked: Iterable[str], known: Iterable[str]
) -> None:
    """Check the layers a recipe names.

    Raises:
        StageFailed: one that is not known; the text says which come close.
    """
    known = list(known)
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known) or known[:5]
            reason = f"{key} names {name!r}, which is none of the layers it can be"
            raise StageFailed(model, stage, f"{reason}; close to it: {', '.join(near)}")


def shared(
    kernel: NDArray[Any], count: int, start: Start, random: np.random.Generator
) -> NDArray[Any]:
    """The nearest weights that take at most ``count`` values; zeros of a pruned layer stay."""
    pruned = is_pruned(kernel)
    values = kernel[kernel != 0] if pruned else kernel.ravel()
    count = count - 1 if pruned else count
    if distinct(values) <= count:
        return kernel
    centres = _settled(values, _STARTS[start](values.astype(np.float64), count, random))
    nearest = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, kernel)]
    return np.where(kernel == 0, 0, nearest) if pruned else nearest


class WeightsHeld(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    """After every step, sets what was zero to zero and what was equal to its mean.

    The mean of equal weights moves as one weight would that all their gradients act on.
    """

    def __init__(self, variables: Iterable[Any]) -> None:
        super().__init__()
        rules = [(kernel, rule) for kernel in variables if (rule := _rule(kernel.numpy()))]

        # One call for all layers; a Python loop would cost as much as the step itself.
        @tf.function  # type: ignore[untyped-decorator]
        def hold() -> None:
            for kernel, rule in rules:
                kernel.assign(rule(kernel))

        self._hold = hold

    def on_train_batch_end(self, batch: int, logs: Facts | None = None) -> None:
        """Put the weights back together."""
        self._hold()


def _rule(kernel: NDArray[Any]) -> Callable[[Any], Any] | None:
    if is_shared(kernel):
        return _mean_rule(kernel)
    if is_pruned(kernel):
        mask = tf.constant(kernel != 0, kernel.dtype)
        return lambda weights: weights * mask
    return None


def _mean_rule(kernel: NDArray[Any]) -> Callable[[Any], Any]:
    values, groups, sizes = np.unique(kernel, return_inverse=True, return_counts=True)
    # Zeros have no share in the mean: where there are many, they are kept.
    weight = np.where((values == 0) & is_pruned(kernel), 0, 1 / sizes).astype(kernel.dtype)
    index = tf.constant(groups.reshape(-1), tf.int32)

    def together(weights: Any) -> Any:
        flat = tf.reshape(weights, [-1])
        means = tf.math.unsorted_segment_sum(flat, index, len(values)) * weight
        return tf.reshape(tf.gather(means, index), kernel.shape)

    return together


def _left(model: Any) -> dict[str, str]:
    """Layers with weights that multiply, but not by a kernel this stage knows."""
    return {
        layer.name: f"{type(layer).__name__} is no layer whose weights can be shared"
        for layer in model.layers
        if type(layer) not in KERNELS and any(len(w.shape) > 1 for w in layer.weights)
    }


def _linear(values: NDArray[Any], count: int, _: np.random.Generator) -> NDArray[Any]:
    return np.linspace(float(values.min()), float(values.max()), count)


def _random(values: NDArray[Any], count: int, random: np.random.Generator) -> NDArray[Any]:
    low, high = float(values.min()), float(values.max())
    return np.array(random.uniform(low, high, count))


def _density(values: NDArray[Any], count: int, _: np.random.Generator) -> NDArray[Any]:
    return np.array(np.quantile(values, (np.arange(count) + 0.5) / count))


def _kmeans(values: NDArray[Any], count: int, random: np.random.Generator) -> NDArray[Any]:
    """k-means++ (Arthur and Vassilvitskii, 2007): far from all chosen is likely next."""
    some = random.choice(values, min(values.size, _SEEN), replace=False)
    chosen = [random.choice(some)]
    far = np.square(some - chosen[0])
    while len(chosen) < count and far.any():
        chosen.append(random.choice(some, p=far / far.sum()))
        far = np.minimum(far, np.square(some - chosen[-1]))
    return np.array(chosen)


_STARTS: Final[Mapping[Start, Callable[..., NDArray[Any]]]] = {
    "linear": _linear, "random": _random, "density": _density, "kmeans": _kmeans,
}  # fmt: skip


def _settled(values: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """Lloyd's algorithm in one dimension, where a cluster is a stretch of the sorted values."""
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.unique(centres)
    for _ in range(_ROUNDS):
        cuts = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], cuts, [ordered.size]])
        full = np.diff(bounds) > 0  # a start far from all weights may get none
        moved = np.diff(sums[bounds])[full] / np.diff(bounds)[full]
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres.astype(values.dtype)
