"""Call a functional model's layers anew: nested models opened, the input's size as asked.

A model that others trained may hold models inside models, mixed precision, frozen layers and an
input of open size. What stages and engines handle well is one flat network of float32 layers with
a fixed input; so the model's layers are copied and called in the order in which it calls them.
"""

from typing import Any, Protocol, final

from pipeline.errors import UnusableInput
from pipeline.keras_compat import keras, tf


class Network(Protocol):
    """How one generation of Keras tells what a functional model calls."""

    def nodes(self, model: Any) -> list[Any]:
        """The calls of ``model`` but for its inputs, each behind what it reads."""

    def layer(self, node: Any) -> Any:
        """What is called."""

    def arguments(self, node: Any) -> tuple[Any, Any]:
        """Positional and named arguments."""

    def results(self, node: Any) -> list[Any]:
        """The tensors it gives."""

    def inside(self, layer: Any) -> Any | None:
        """The functional model a layer is; None when it is no model."""

    def copied(self, layer: Any, name: str) -> Any:
        """A Keras 2 layer that does the same, without its weights yet."""

    def weights(self, layer: Any) -> list[Any]:
        """Weights as arrays, in the order the copy has them."""


@final
class Keras2:
    """Networks of tf_keras."""

    def nodes(self, model: Any) -> list[Any]:
        """The calls of a model, in order."""
        by_depth = model._nodes_by_depth
        return [n for depth in sorted(by_depth, reverse=True) for n in by_depth[depth]
                if not n.is_input]  # fmt: skip

    def layer(self, node: Any) -> Any:
        """What is called."""
        return node.layer

    def arguments(self, node: Any) -> tuple[Any, Any]:
        """Positional and named arguments."""
        return node.call_args, node.call_kwargs

    def results(self, node: Any) -> list[Any]:
        """The tensors it gives."""
        return list(tf.nest.flatten(node.outputs))

    def inside(self, layer: Any) -> Any | None:
        """The layer itself when it is a model."""
        if not isinstance(layer, keras.Model):
            return None
        if not layer._is_graph_network:
            raise ValueError(f"the model {layer.name!r} inside is a subclass without a graph")
        return layer

    def copied(self, layer: Any, name: str) -> Any:
        """A layer of the same class and settings, in float32 and trainable."""
        config = {**layer.get_config(), "name": name, "dtype": "float32"}
        copy = type(layer).from_config(config)
        # Pruned channels are missed in every layer, so every layer must be free to learn.
        copy.trainable = True
        return copy

    def weights(self, layer: Any) -> list[Any]:
        """Weights as arrays."""
        return list(layer.get_weights())


def rebuilt(model: Any, network: Network, shape: tuple[int, ...], name: str, path: str) -> Any:
    """A flat Keras 2 model with the layers and weights of ``model``.

    Args:
        model: functional, one input, one output.
        network: how its Keras tells its calls.
        shape: of one input sample.
        name: of the new model.
        path: of its file, for errors.

    Raises:
        UnusableInput: a layer cannot be copied, or does not fit ``shape``.
    """
    inputs = keras.Input(shape, name="input")
    replay = _Replay(network)
    try:
        (outputs,) = replay.run(model, [inputs], None)
        made = keras.Model(inputs, outputs, name=name)
        replay.fill()
    except Exception as exc:  # layers raise whatever they like
        message = f"cannot be rebuilt for an input of {_times(shape)}"
        raise UnusableInput(path, f"{message} ({_first_line(exc)})") from exc
    return made


@final
class _Replay:
    """One rebuilding: copies by the layer they are of, and the names that are taken."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._names = {"input"}

    def run(self, model: Any, inputs: list[Any], training: bool | None) -> list[Any]:
        """Call everything ``model`` calls; ``training`` is what it was itself called with."""
        known = {id(t): new for t, new in zip(model.inputs, inputs, strict=True)}
        for node in self._network.nodes(model):
            layer = self._network.layer(node)
            args, kwargs = (_replaced(a, known) for a in self._network.arguments(node))
            if (inside := self._network.inside(layer)) is not None:
                told = kwargs.get("training")
                mode = training if told is None else told
                results = self.run(inside, tf.nest.flatten(args[0]), mode)
            else:
                results = tf.nest.flatten(self._called(layer, model.name, args, kwargs, training))
            known |= {
                id(t): new for t, new in zip(self._network.results(node), results, strict=True)
            }
        return [known[id(t)] for t in model.outputs]

    def fill(self) -> None:
        """Give every copy its weights, now that the calls have made them."""
        for layer, copy in self._copies.values():
            if weights := self._network.weights(layer):
                copy.set_weights(weights)

    def _called(
        self, layer: Any, owner: str, args: Any, kwargs: dict[str, Any], training: bool | None
    ) -> Any:
        if id(layer) not in self._copies:
            copy = self._network.copied(layer, self._free(layer.name, owner))
            self._copies[id(layer)] = layer, copy
        copy = self._copies[id(layer)][1]
        # A base called with training=False stays so: its BatchNorm must not move while it learns.
        if training is not None and copy._call_spec.expects_training_arg:
            kwargs = {**kwargs, "training": training}
        return copy(*args, **kwargs)

    def _free(self, name: str, owner: str) -> str:
        """``name``, or with the nested model's in front when two models use it."""
        free, number = name, 1
        while free in self._names:
            free = f"{owner}_{name}" if number == 1 else f"{owner}_{name}_{number}"
            number += 1
        self._names.add(free)
        return free


def _replaced(value: Any, known: dict[int, Any]) -> Any:
    """Arguments of a call with the model's tensors replaced by the new ones."""
    if id(value) in known:
        return known[id(value)]
    match value:
        case list():
            return [_replaced(item, known) for item in value]
        case tuple():
            return tuple(_replaced(item, known) for item in value)
        case dict():
            return {key: _replaced(item, known) for key, item in value.items()}
        case _:
            return value


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _first_line(exc: Exception) -> str:
    # Keras tells the whole configuration first, and the cause last.
    text = str(exc).rpartition("Exception encountered:")[2]
    lines = text.strip().splitlines() or [""]
    return f"{type(exc).__name__}: {lines[0][:300]}"
