"""A Keras model as a flat list of layer calls; nested models are opened up, once for each call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from pipeline.errors import NotPrunable
from pipeline.keras_compat import keras, tf

Shape = tuple[int | None, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """What one call gives and others take; equal only to itself.

    Attributes:
        shape: with the batch axis, which is None.
    """

    shape: Shape

    @property
    def width(self) -> int | None:
        """Length of the last axis, which holds the channels."""
        return self.shape[-1] if len(self.shape) > 1 else None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One use of a layer.

    Attributes:
        path: of the layer, nested models joined by ``/``.
        arguments: positional ones, tensors among them.
        named: keyword arguments.
    """

    path: str
    layer: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The layer's class, or the function it wraps."""
        return str(getattr(self.layer, "symbol", None) or type(self.layer).__name__)

    @property
    def constants(self) -> list[Any]:
        """Arguments that no layer computes, as they were given; None and names are left out."""
        named = [value for key, value in self.named.items() if key != "name"]
        given = [a for a in (*self.arguments, *named) if a is not None]
        return [a for a in given if not any(map(is_tensor, tf.nest.flatten(a)))]


@final
@dataclass(frozen=True, slots=True)
class Network:
    """All layer calls of a model, in an order in which they can be computed."""

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def flatten(model: Any) -> Network:
    """Open up a model.

    Raises:
        NotPrunable: the model has no graph of layers.
    """
    _check(model)
    inputs = [Tensor(_shape(t)) for t in model.inputs]
    calls: list[Call] = []
    outputs = _expand(model, "", inputs, calls)
    return Network(tuple(calls), tuple(inputs), tuple(outputs))


def layers_by_path(model: Any) -> dict[str, Any]:
    """All layers that hold no others, by the path of each use."""
    return {call.path: call.layer for call in flatten(model).calls}


def is_tensor(value: Any) -> bool:
    """Whether a layer computes it."""
    return hasattr(value, "_keras_history")


def has_graph(layer: Any) -> bool:
    """Whether a layer is a model whose layers are known, called as Keras calls them."""
    if not getattr(layer, "_is_graph_network", False):
        return False
    definer = next(base for base in type(layer).__mro__ if "call" in vars(base))
    return is_keras(definer)


def is_keras(kind: type) -> bool:
    """Whether a class is Keras's own, so that its name tells what it does."""
    return kind.__module__.split(".")[0] in ("tf_keras", "keras")


def _check(model: Any) -> None:
    if isinstance(model, keras.Sequential) and not model.built:
        raise NotPrunable(model.name, "its input shape is not known; add a keras.Input first")
    if not isinstance(model, keras.Model) or not has_graph(model):
        raise NotPrunable(
            getattr(model, "name", type(model).__name__),
            "it is no functional or Sequential model, so which layer reads which is not known; "
            "build it with keras.Model(inputs, outputs)",
        )


def _expand(model: Any, prefix: str, given: Sequence[Tensor], calls: list[Call]) -> list[Tensor]:
    """Append the calls of ``model`` on ``given``; its outputs."""
    known = {id(t): tensor for t, tensor in zip(model.inputs, given, strict=True)}
    if prefix:  # a nested model's inputs state their shapes
        for tensor in model.inputs:
            layer, outside = tensor._keras_history.layer, known[id(tensor)]
            known[id(tensor)] = inside = Tensor(outside.shape)
            calls.append(Call(prefix + layer.name, layer, (outside,), (inside,)))
    for node in _nodes(model):
        inputs = [known[id(t)] for t in node.keras_inputs]
        path = prefix + node.layer.name
        if has_graph(node.layer) and (order := _order(node)) is not None:
            inner = [known[id(t)] for t in order]
            outputs = _expand(node.layer, path + "/", inner, calls)
        else:
            outputs = [Tensor(shape) for shape in _output_shapes(node, inputs)]
            calls.append(
                Call(
                    path=path,
                    layer=node.layer,
                    inputs=tuple(inputs),
                    outputs=tuple(outputs),
                    arguments=tuple(node.call_args),
                    named=node.call_kwargs,
                )
            )
        known |= {id(t): o for t, o in zip(tf.nest.flatten(node.outputs), outputs, strict=True)}
    return [known[id(t)] for t in model.outputs]


def _nodes(model: Any) -> Iterator[Any]:
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _order(node: Any) -> list[Any] | None:
    """The tensors a nested model is called on, in the order of its inputs; None: not only them."""
    if not node.call_args:
        return None
    order = list(node.layer._flatten_to_reference_inputs(node.call_args[0]))
    return order if {id(t) for t in order} == {id(t) for t in node.keras_inputs} else None


def _output_shapes(node: Any, inputs: Sequence[Tensor]) -> list[Shape]:
    """As recorded, unless a nested model is called on another size than it was built for."""
    recorded = [_shape(t) for t in tf.nest.flatten(node.outputs)]
    if [t.shape for t in inputs] == [_shape(t) for t in node.keras_inputs]:
        return recorded
    shapes: Any = [tf.TensorShape(t.shape) for t in inputs]
    given = node.layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    return [tuple(s.as_list()) for s in tf.nest.flatten(given)] or recorded


def _shape(tensor: Any) -> Shape:
    return tuple(tensor.shape.as_list()) if tensor.shape.rank is not None else ()
