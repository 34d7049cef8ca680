"""Magnitude pruning: zeros among the weights of each layer, more and more while training.

Zeros do not make a model faster by themselves; they make its compressed file smaller, and some
engines skip them (see pipeline/sparse_path.py). What they bring on a phone is for the bench to
say.

Source: Zhu and Gupta, "To prune, or not to prune", 2017 (the polynomial schedule).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pipeline.keras_compat import copy_of, keras, pruning, tf
from pipeline.settings import PruneWeights
from pipeline.stages.fit import fit, training_steps
from pipeline.stages.given import Facts, Given, Outcome

# A mask is a whole number of weights or blocks, so the share asked for is missed by a little.
_ROUNDING: Final = 0.01
_KERNEL_RANK: Final = 2
_SCHEDULE_POWER: Final = 3


def run(settings: PruneWeights, given: Given) -> Outcome:
    """Prune and train a copy of the model; the wrappers are gone from what comes back.

    Every stage takes and gives a plain Keras model, so that stages compose in any order and
    their outputs can be kept on disk. The zeros stay when a ``finetune`` stage follows.

    Facts are the last epoch's numbers with the share of zeros, the same by layer, and the layers
    that were left alone, with the reason.

    Raises:
        DataError: the training split has no labels.
    """
    ramp = Ramp.of(settings, training_steps(settings, given.data))
    left_out = _left_out(given.model, settings)
    model = copy_of(given.model)
    if settings.pattern == "block":
        kernels = [layer.kernel for layer in model.layers if _takes(layer, settings)]
        facts = fit(model, settings, given, [BlocksZeroed(kernels, settings, ramp)])
    else:
        model = _wrapped(model, settings, ramp)
        # Without this callback tfmot's masks never change.
        facts = fit(model, settings, given, [pruning().UpdatePruningStep()])
        model = pruning().strip_pruning(model)
    pruned = copy_of(model)
    by_layer = {
        layer.name: _zeros(layer.kernel) for layer in pruned.layers if _takes(layer, settings)
    }
    told = {"sparsity": sparsity(pruned), "sparsity_by_layer": by_layer, "left_out": left_out}
    warnings = _shortfall(pruned, settings)
    return Outcome(model=pruned, facts=facts | told, warnings=warnings)


def prunable(layer: Any) -> bool:
    """Whether the layer's kernel is pruned.

    A depthwise kernel holds few weights, each of which a whole channel hangs on.
    """
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    return isinstance(layer, kinds) and not isinstance(layer, keras.layers.DepthwiseConv2D)


def sparsity(model: Any) -> float:
    """Share of zeros in the kernels of the layers that can be pruned."""
    kernels = [layer.kernel.numpy() for layer in model.layers if prunable(layer)]
    weights = sum(kernel.size for kernel in kernels)
    return sum(int((kernel == 0).sum()) for kernel in kernels) / weights if weights else 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """The steps in which zeros grow; the last one, too, is a step that training reaches."""

    initial: float
    final: float
    end_step: int
    every_steps: int

    @classmethod
    def of(cls, settings: PruneWeights, steps: int) -> "Ramp":
        """The ramp of a training of ``steps`` steps."""
        every = min(settings.every_steps, max(1, steps // 4))
        last = min(max(1, round(steps * settings.ramp)), max(1, steps - 1))
        # Zeros change at multiples of ``every`` only: a ramp that ends between two of them would
        # stop short of the share asked for.
        return cls(
            initial=settings.initial_sparsity, final=settings.sparsity,
            end_step=max(every, last // every * every), every_steps=every,
        )  # fmt: skip

    def changes_at(self, step: int) -> bool:
        """Whether zeros are chosen anew in this step, the first of which is 0."""
        return step <= self.end_step and step % self.every_steps == 0

    def share(self, step: int) -> float:
        """Share of zeros from this step on."""
        left = 1 - min(1.0, step / self.end_step)
        return self.final + (self.initial - self.final) * left**_SCHEDULE_POWER


@final
class BlocksZeroed(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    """Holds the blocks of least magnitude at zero, more of them along the ramp.

    tfmot knows blocks in dense layers only.
    """

    def __init__(self, kernels: Iterable[Any], settings: PruneWeights, ramp: Ramp) -> None:
        super().__init__()
        self._kernels, self._block, self._ramp = list(kernels), settings.block, ramp
        self._masks = [tf.Variable(tf.ones_like(kernel)) for kernel in self._kernels]
        self._step = 0

        # One call for all layers; a Python loop would cost as much as the step itself.
        @tf.function  # type: ignore[untyped-decorator]
        def hold() -> None:
            for kernel, mask in zip(self._kernels, self._masks, strict=True):
                kernel.assign(kernel * mask)

        self._hold = hold

    def on_train_batch_end(self, batch: int, logs: Facts | None = None) -> None:
        """Choose the blocks anew when it is time, and put their zeros back."""
        if self._ramp.changes_at(self._step):
            share = self._ramp.share(self._step)
            for kernel, mask in zip(self._kernels, self._masks, strict=True):
                mask.assign(block_mask(kernel.numpy(), self._block, share))
        self._step += 1
        self._hold()


def block_mask(
    kernel: NDArray[np.float32], block: tuple[int, int], share: float
) -> NDArray[np.float32]:
    """1 where weights stay, 0 in the blocks whose weights are smallest on average.

    Args:
        kernel: float32[..., inputs, outputs].
        block: inputs x outputs; at the edges, what is left of a block is one of its own.
        share: of the blocks that become zero.

    Returns:
        As ``kernel``.
    """
    inputs, outputs = kernel.shape[-2:]
    down, right = -(-inputs // block[0]), -(-outputs // block[1])
    margins = ((0, 0), (0, down * block[0] - inputs), (0, right * block[1] - outputs))

    def totals(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.pad(values.reshape(-1, inputs, outputs), margins)
        sums: NDArray[Any] = whole.reshape(-1, down, block[0], right, block[1]).sum((2, 4))
        return sums

    means = totals(np.abs(kernel)) / totals(np.ones_like(kernel))
    stay = np.ones(means.size, np.float32)
    stay[np.argsort(means, axis=None, kind="stable")[: round(share * means.size)]] = 0
    each = stay.reshape(means.shape).repeat(block[0], 1).repeat(block[1], 2)
    mask: NDArray[np.float32] = each[:, :inputs, :outputs].reshape(kernel.shape)
    return mask


def _wrapped(model: Any, settings: PruneWeights, ramp: Ramp) -> Any:
    schedule = pruning().PolynomialDecay(
        initial_sparsity=ramp.initial, final_sparsity=ramp.final, begin_step=0,
        end_step=ramp.end_step, frequency=ramp.every_steps, power=_SCHEDULE_POWER,
    )  # fmt: skip
    # With it, tfmot zeroes once, in the second step, whatever the schedule says.
    pattern = {"sparsity_m_by_n": settings.n_of_m} if settings.pattern == "n_of_m" else {}

    def wrap(layer: Any) -> Any:
        if not _takes(layer, settings):
            return layer
        return pruning().prune_low_magnitude(layer, schedule, **pattern)

    return keras.models.clone_model(model, clone_function=wrap)


def _takes(layer: Any, settings: PruneWeights) -> bool:
    return prunable(layer) and not _obstacle(layer, settings)


def _obstacle(layer: Any, settings: PruneWeights) -> str:
    """Why the pattern does not fit a layer that could be pruned otherwise; "" when it does."""
    turned = isinstance(layer, keras.layers.Conv2DTranspose)
    if turned and settings.pattern != "unstructured":
        return f"the pattern {settings.pattern} is not made in transposed convolutions"
    many = settings.n_of_m[1]
    if settings.pattern == "n_of_m" and layer.kernel.shape[-2] < many:
        return f"its {layer.kernel.shape[-2]} inputs are fewer than the pattern's {many}"
    return ""


def _left_out(model: Any, settings: PruneWeights) -> dict[str, str]:
    """Layers with kernels that get no zeros, with the reason."""
    reasons = {}
    for layer in model.layers:
        if prunable(layer):
            reasons[layer.name] = _obstacle(layer, settings)
        elif isinstance(layer, keras.Model):
            reasons[layer.name] = "it is a model of its own inside the model"
        elif any(len(weight.shape) >= _KERNEL_RANK for weight in layer.weights):
            kind = type(layer).__name__
            reasons[layer.name] = f"{kind}: only kernels of Conv2D and Dense layers are pruned"
    return {name: reason for name, reason in reasons.items() if reason}


def _zeros(kernel: Any) -> float:
    return float((kernel.numpy() == 0).mean())


def _shortfall(model: Any, settings: PruneWeights) -> tuple[str, ...]:
    """A word about layers that hold fewer zeros than were asked for."""
    kernels = [layer.kernel for layer in model.layers if _takes(layer, settings)]
    if not kernels:
        return (f"no layer was pruned: none fits the pattern {settings.pattern}",)
    zeros = sum(int((kernel.numpy() == 0).sum()) for kernel in kernels)
    reached = zeros / sum(kernel.numpy().size for kernel in kernels)
    if reached >= settings.sparsity - _ROUNDING:
        return ()
    why = "more epochs or smaller batches give the zeros steps to grow in"
    if settings.pattern == "n_of_m":
        why = f"inputs beyond a multiple of {settings.n_of_m[1]} form no group and stay"
    return (
        f"of the pruned layers' weights {reached:.1%} are zero, not {settings.sparsity:.1%}; {why}",
    )
