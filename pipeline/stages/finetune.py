"""Train on with the zeros held: accuracy comes back, sparsity stays."""

from typing import Any

from pipeline.keras_compat import copy_of, keras, tf
from pipeline.settings import Finetune
from pipeline.stages.fit import fit
from pipeline.stages.given import Facts, Given, Outcome
from pipeline.stages.prune_weights import prunable, sparsity


def run(settings: Finetune, given: Given) -> Outcome:
    """Train a copy of the model whose zero weights stay zero.

    Facts are the last epoch's numbers with the share of zeros.

    Raises:
        DataError: the training split has no labels.
    """
    trained = copy_of(given.model)
    facts = fit(trained, settings, given, [ZerosHeld(trained)])
    return Outcome(model=copy_of(trained), facts=facts | {"sparsity": sparsity(trained)})


class ZerosHeld(keras.callbacks.Callback):  # type: ignore[misc]  # tf_keras is untyped
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
        """Put the zeros back."""
        self._hold()
