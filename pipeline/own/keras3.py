"""Models of Keras 3 as models of Keras 2, which the compression stages need.

Both may live in one process. Layer by layer the Keras 2 class of the same name is made from the
settings it knows; whether that gives the same function, loading checks by its answers.
"""

import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import Any, final

from pipeline.errors import PackageMissing
from pipeline.keras_compat import keras, quiet_stderr


def load_keras3(path: Path, safe: bool) -> Any:
    """Read a .keras file of Keras 3 by Keras 3.

    Raises:
        PackageMissing: Keras 3 is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet_stderr():
            keras3 = import_module("keras")
    except ModuleNotFoundError as exc:
        raise PackageMissing("keras", "to read models of Keras 3") from exc
    return keras3.models.load_model(path, compile=False, safe_mode=safe)


@final
class Keras3:
    """Networks of Keras 3."""

    def nodes(self, model: Any) -> list[Any]:
        """The calls of a model, in order."""
        by_depth = model._nodes_by_depth
        return [n for depth in sorted(by_depth, reverse=True) for n in by_depth[depth]
                if not n.is_input]  # fmt: skip

    def layer(self, node: Any) -> Any:
        """What is called."""
        return node.operation

    def arguments(self, node: Any) -> tuple[Any, Any]:
        """Positional and named arguments."""
        return node.arguments.args, node.arguments.kwargs

    def results(self, node: Any) -> list[Any]:
        """The tensors it gives."""
        return list(node.outputs)

    def inside(self, layer: Any) -> Any | None:
        """The functional model of a layer that is one."""
        if not hasattr(layer, "layers") or not hasattr(layer, "summary"):
            return None
        found = functional(layer)
        if found is None:
            raise ValueError(f"the model {layer.name!r} inside is a subclass without a graph")
        return found

    def copied(self, layer: Any, name: str) -> Any:
        """The Keras 2 layer of the same name, from the settings both know."""
        kind = getattr(keras.layers, type(layer).__name__, None)
        if kind is None or not type(layer).__module__.startswith("keras."):
            raise ValueError(f"Keras 2 has no layer {type(layer).__name__}")
        known = {p for c in kind.__mro__ for p in inspect.signature(c.__init__).parameters}
        told = layer.get_config().items()
        # How weights started is nothing to a trained model, and Keras 3 says it in other words.
        config = {k: v for k, v in told if k in known and not k.endswith("_initializer")}
        return kind.from_config({**config, "name": name, "dtype": "float32", "trainable": True})

    def weights(self, layer: Any) -> list[Any]:
        """Weights as arrays; Keras 2's Normalization also counts its samples."""
        found = [weight.numpy() for weight in layer.weights]
        if type(layer).__name__ == "Normalization" and len(found) == 2:
            found.append(0)
        return found


def functional(model: Any) -> Any | None:
    """The graph of a Keras 3 model; None when it has none."""
    inner = getattr(model, "_functional", None)  # a Sequential keeps its graph beside itself
    found = model if inner is None else inner
    return found if hasattr(found, "_nodes_by_depth") else None
