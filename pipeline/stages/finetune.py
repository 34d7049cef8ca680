"""Train on with the zeros held: accuracy comes back, sparsity stays."""

from typing import Any

from pipeline.data import Data
from pipeline.keras_compat import copy_of, keras, tf
from pipeline.recipe import Finetune
from pipeline.stages.fit import Facts, Report, fit
from pipeline.stages.prune_weights import prunable, sparsity


def run(model: Any, settings: Finetune, data: Data, seed: int, report: Report) -> tuple[Any, Facts]:
    """Train a copy of ``model`` whose zero weights stay zero.

    Returns:
        The trained copy, not compiled, and the last epoch's numbers with the share of zeros.

    Raises:
        DataError: the training split has no labels.
    """
    trained = copy_of(model)
    facts = fit(trained, settings, data, seed, report, [_ZerosHeld(trained)])
    return copy_of(trained), facts | {"sparsity": sparsity(trained)}


class _ZerosHeld(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
    """Sets the weights that were zero at the start to zero again after every step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        kernels = [layer.kernel for layer in model.layers if prunable(layer)]
        masks = [tf.cast(tf.not_equal(kernel, 0), kernel.dtype) for kernel in kernels]

        # One call for all layers; a Python loop would cost as much as the step itself.
        @tf.function  # type: ignore[untyped-decorator]
        def hold() -> None:
            for kernel, mask in zip(kernels, masks, strict=True):
                kernel.assign(kernel * mask)

        self._hold = hold

    def on_train_batch_end(self, batch: int, logs: Facts | None = None) -> None:
        self._hold()
