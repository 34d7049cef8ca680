"""Load a Keras model of the user's own as one flat float32 model with a fixed input."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from pipeline.errors import PipelineError, UnusableInput
from pipeline.keras_compat import keras
from pipeline.own.files import (
    SAVE_AGAIN,
    SAVED_METADATA,
    FileKind,
    hdf5_config,
    keras_config,
    kind_of,
)
from pipeline.own.graph import Keras2, Network, rebuilt
from pipeline.own.trust import check_config

# Rebuilt float32 layers differ from the file's by the order of additions alone; a model that was
# trained in mixed precision was rounded to float16 in between.
_SAME: Final = 1e-4
_SAME_MIXED: Final = 2e-2
_UNKNOWN_CLASS: Final = re.compile(
    r"(?:Unknown layer: |Could not locate class |Could not deserialize class )'?([\w>.]+)'?"
)


class Ending(StrEnum):
    """What the numbers at a model's end are."""

    LOGITS = "logits"
    SOFTMAX = "probabilities by a softmax"
    SIGMOID = "a sigmoid's"
    OTHER = "no scores of classes"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What must be known of a model before data can be laid beside it.

    Attributes:
        shape: of one input sample.
        outputs: shape of one output sample.
        rescales: the layer that scales the input inside the model; None when none does.
    """

    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    ending: Ending
    rescales: str | None

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart; None when it is no classifier that can be trained."""
        ends_well = self.ending in (Ending.LOGITS, Ending.SOFTMAX)
        return self.outputs[0] if ends_well and len(self.outputs) == 1 else None


def load_own_model(
    model_file: str,
    size: Sequence[int] | None = None,
    trust: bool = False,
    custom: Sequence[type] = (),
) -> Any:
    """Load a model of the user's own.

    Args:
        model_file: .keras or .h5 file, or SavedModel folder.
        size: height and width the input is to have; needed where the model leaves them open.
        trust: also load Lambda layers and other code inside the file.
        custom: layer classes of the user's own.

    Returns:
        A flat Keras 2 model, one input float32[batch, ...] of fixed shape, one output.

    Raises:
        UnusableInput: the file is none, brings code, or holds a model that cannot be used.
    """
    path = Path(model_file)
    kind = kind_of(path)
    classes = {c.__name__: c for c in custom}
    if not trust:
        check_config(_config(path, kind), str(path), classes)
    loaded, network = _loaded(path, kind, trust, classes)
    shape = _fixed_shape(loaded, tuple(size or ()), str(path))
    name = re.sub(r"\W+", "_", path.stem) or "model"
    with keras.utils.custom_object_scope(classes):
        model = rebuilt(loaded, network, shape, name, str(path))
    _check_same(loaded, model, shape, str(path))
    return model


def traits_of(model: Any) -> Traits:
    """What a loaded model takes and gives."""
    return Traits(
        shape=tuple(model.inputs[0].shape[1:]),
        outputs=tuple(model.outputs[0].shape[1:]),
        ending=_ending(model),
        rescales=_rescaling(model),
    )


def _config(path: Path, kind: FileKind) -> Any:
    match kind:
        case FileKind.KERAS2 | FileKind.KERAS3:
            return keras_config(path)
        case FileKind.HDF5:
            return hdf5_config(path)
        case FileKind.SAVED_MODEL:
            return _saved_config(path)


def _saved_config(path: Path) -> Any:
    """The metadata of every layer in a SavedModel, as JSON."""
    import json

    messages = import_module("tf_keras.protobuf.saved_metadata_pb2")
    metadata = messages.SavedMetadata()
    try:
        metadata.ParseFromString((path / SAVED_METADATA).read_bytes())
        return [json.loads(node.metadata) for node in metadata.nodes if node.metadata]
    except Exception as exc:  # protobuf and JSON raise errors of their own
        raise UnusableInput(str(path), f"{SAVED_METADATA} is damaged", SAVE_AGAIN) from exc


def _loaded(
    path: Path, kind: FileKind, trust: bool, classes: Mapping[str, type]
) -> tuple[Any, Network]:
    """The model as its Keras reads it, checked for what every use needs."""
    network: Network = Keras2()
    try:
        if kind is FileKind.KERAS3:
            from pipeline.own.keras3 import Keras3, functional, load_keras3

            if classes:
                message = "is a model of Keras 3 with layers of its own"
                raise UnusableInput(str(path), message, f"in Keras 2 (tf_keras), {SAVE_AGAIN}")
            network = Keras3()
            found = load_keras3(path, not trust)
            model = functional(found)
        else:
            # Keras takes its options by name only where the format has them.
            safe = {} if kind is not FileKind.KERAS2 else {"safe_mode": not trust}
            found = keras.models.load_model(path, dict(classes), compile=False, **safe)
            graph = isinstance(found, keras.Model) and getattr(found, "_is_graph_network", False)
            model = found if graph else None
    except PipelineError:
        raise
    except Exception as exc:  # Keras raises whatever it stumbles on
        raise UnusableInput(str(path), *_explained(exc)) from exc
    if model is None or not model.inputs:
        raise UnusableInput(str(path), *_no_graph(found))
    _check_ends(model, str(path))
    return model, network


def _explained(exc: Exception) -> tuple[str, str]:
    """What Keras stumbled on, and what to do."""
    text = str(exc).strip()
    if found := _UNKNOWN_CLASS.search(text):
        name = found[1].rpartition(">")[2]
        return f"has a layer of a class of its own, {name}", f"name it: --custom my_module:{name}"
    first = (text.splitlines() or [""])[0][:300]
    return f"Keras cannot read it ({type(exc).__name__}: {first})", f"{SAVE_AGAIN} again"


def _no_graph(found: Any) -> tuple[str, str]:
    if type(found).__name__ == "Sequential":
        return "is a Sequential model without an input shape", (
            f"start it with keras.Input(shape), and {SAVE_AGAIN}"
        )
    return (
        f"is a subclass of Model ({type(found).__name__}), whose layers form no graph to work on",
        "write it with the functional API or as a Sequential, copy the weights, and save that",
    )


def _check_ends(model: Any, path: str) -> None:
    inputs, outputs = len(model.inputs), len(model.outputs)
    if (inputs, outputs) != (1, 1):
        message = f"has {inputs} inputs and {outputs} outputs; one of each is supported"
        hint = "make one from the tensors that matter: keras.Model(inputs, outputs), and save it"
        raise UnusableInput(path, message, hint)
    kind = model.inputs[0].dtype
    kind = getattr(kind, "name", str(kind))
    if not kind.startswith(("float", "bfloat")) and len(model.inputs[0].shape) != 4:
        raise UnusableInput(path, f"takes {kind}; only float inputs and images are supported")


def _fixed_shape(model: Any, size: tuple[int, ...], path: str) -> tuple[int, ...]:
    shape = tuple(model.inputs[0].shape[1:])
    if size and len(shape) != 3:
        raise UnusableInput(path, f"takes {_words(shape)}, which has no height and width to size")
    if size:
        shape = (*size, shape[2])
    if None not in shape:
        return shape
    if len(shape) == 3 and shape[2] is not None:
        message = f"leaves its input's size open ({_words(shape)})"
        raise UnusableInput(path, message, "fix it, for instance: --size 224, or --size 192x256")
    message = f"leaves its input's shape open ({_words(shape)})"
    raise UnusableInput(path, message, f"give it a fixed keras.Input(shape), and {SAVE_AGAIN}")


def _words(shape: Sequence[int | None]) -> str:
    return " x ".join("?" if n is None else str(n) for n in shape)


def _check_same(loaded: Any, model: Any, shape: tuple[int, ...], path: str) -> None:
    """Whoever rebuilds a network may get another; only its answers can tell."""
    if any(n not in (None, m) for n, m in zip(loaded.inputs[0].shape[1:], shape, strict=True)):
        return  # the file's model does not take this size
    inputs = np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)
    try:
        expected = np.asarray(loaded(inputs, training=False), np.float32)
    except ValueError:  # a model inside it does not, though its own input is open
        return
    found = np.asarray(model(inputs, training=False), np.float32)
    scale = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
    far = float(np.sqrt(np.mean(np.square(found - expected)))) / scale
    mixed = any("float16" in str(getattr(m, "compute_dtype", "")) for m in loaded.layers)
    if not far <= (_SAME_MIXED if mixed else _SAME):
        message = f"gives other answers when its layers are called anew ({far:.1%} rms)"
        raise UnusableInput(path, message, "save it as a plain functional model of Keras 2")


def _ending(model: Any) -> Ending:
    last = model.layers[-1]
    if len(model.outputs[0].shape) != 2:
        return Ending.OTHER
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return Ending.SOFTMAX
    if activation is keras.activations.sigmoid:
        return Ending.SIGMOID
    linear = activation in (None, keras.activations.linear)
    return Ending.LOGITS if linear and model.outputs[0].shape[1] > 1 else Ending.OTHER


def _rescaling(model: Any) -> str | None:
    """The layer in front of everything with weights to learn that scales or shifts the input."""
    tensor = model.inputs[0]
    while len(layers := tensor.node.layer._outbound_nodes) == 1:
        layer = layers[0].layer
        if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            return str(layer.name)
        if type(layer).__name__ == "TFOpLambda" and re.search("div|mul|sub", layer.name):
            return str(layer.name)
        if layer.trainable_weights or isinstance(layer.output, list):
            return None
        tensor = layer.output
    return None
