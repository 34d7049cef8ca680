"""Magnitude pruning: zeros among the weights of each layer, more and more while training.

Zeros do not make a model faster by themselves; they make its compressed file smaller, and some
engines skip them. What they bring on a phone is for the bench to say.

Source: Zhu and Gupta, "To prune, or not to prune", 2017 (the polynomial schedule).
"""

from typing import Any

from pipeline.keras_compat import copy_of, keras, pruning
from pipeline.settings import PruneWeights
from pipeline.stages.fit import fit, training_steps
from pipeline.stages.given import Given, Outcome


def run(settings: PruneWeights, given: Given) -> Outcome:
    """Prune and train a copy of the model; the wrappers are gone from what comes back.

    Every stage takes and gives a plain Keras model, so that stages compose in any order and
    their outputs can be kept on disk. The zeros stay when a ``finetune`` stage follows.

    Facts are the last epoch's numbers with the share of zeros.

    Raises:
        DataError: the training split has no labels.
    """
    steps = training_steps(settings, given.data)
    wrapped = _wrapped(copy_of(given.model), settings, steps)
    updates = pruning().UpdatePruningStep()  # without it tfmot's masks never change
    facts = fit(wrapped, settings, given, [updates])
    stripped = copy_of(pruning().strip_pruning(wrapped))
    return Outcome(model=stripped, facts=facts | {"sparsity": sparsity(stripped)})


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


def _wrapped(model: Any, settings: PruneWeights, steps: int) -> Any:
    schedule = pruning().PolynomialDecay(
        initial_sparsity=settings.initial_sparsity, final_sparsity=settings.sparsity,
        begin_step=0, end_step=max(1, round(steps * settings.ramp)),
        frequency=min(settings.every_steps, max(1, steps // 4)),
    )  # fmt: skip

    def wrap(layer: Any) -> Any:
        return pruning().prune_low_magnitude(layer, schedule) if prunable(layer) else layer

    return keras.models.clone_model(model, clone_function=wrap)
