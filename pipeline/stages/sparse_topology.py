"""Make a MobileNet-like network one whose zeros engines skip, then train on.

Engines have sparse kernels for few layouts (pipeline/sparse_path.py). Keras' own MobileNets miss
them by their padding: with stride 2, ``same`` adds pixels at the right and bottom only, where 1 on
every side is needed. Padding otherwise moves the grid by a pixel, so the network must train on.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from pipeline.artifact import MODEL_FILE, NumberFormat
from pipeline.errors import DataError
from pipeline.export import tflite
from pipeline.keras_compat import copy_of, keras, tf
from pipeline.settings import SparseTopology
from pipeline.sparse_path import NO_KERNEL, USED, SparsePath, sparse_path
from pipeline.stages.fit import fit
from pipeline.stages.given import Given, Outcome
from pipeline.tflite_file import read_model

# Of a trial's 1x1 kernels: more than the 2/3 that engines ask for.
_TRIAL_SPARSITY: Final = 0.9
_CONVOLUTIONS: Final = ("Conv2D", "DepthwiseConv2D")
_NAMED: Final = 5
_GREY: Final = (
    "; engines have this kernel for 3 channels only: repeat the one channel three times in "
    "load_data and build the model for 3"
)


def run(settings: SparseTopology, given: Given) -> Outcome:
    """Rewrite and train a copy of the model; every weight is kept.

    Facts are the last epoch's numbers, and which layers were rewritten how.

    Raises:
        DataError: the training split has no labels, or what engines ask for cannot be reached by
            such rewriting; the text names the layers.
    """
    model, changes = rewritten(given.model)
    _check(model)
    facts = fit(model, settings, given)
    return Outcome(model=copy_of(model), facts=facts | {"rewritten": changes})


def rewritten(model: Any) -> tuple[Any, dict[str, str]]:
    """A network of the same weights, padded alike on all sides and with a dense head.

    Returns:
        The network, and what was done to each layer that was changed.
    """
    # A Sequential says nothing of what follows what; as a functional model it does.
    source = keras.Model(model.inputs, model.outputs, name=model.name)
    config = source.get_config()
    entries = {entry["config"]["name"]: entry for entry in config["layers"]}
    changes: dict[str, str] = {}
    for entry in entries.values():
        entry.pop("build_config", None)  # holds the shapes of before
    for name in _head(source):
        _flatten(entries[name], changes)
    padding = [p for e in list(entries.values()) if (p := _pad(e, entries, changes)) is not None]
    config["layers"] = [*entries.values(), *padding]
    made = keras.Model.from_config(config)
    for layer in source.layers:
        kept = made.get_layer(layer.name)
        shapes = (weight.shape for weight in kept.weights)
        weights = zip(layer.get_weights(), shapes, strict=True)
        kept.set_weights([weight.reshape(shape) for weight, shape in weights])
    return made, changes


def _pad(entry: Any, entries: dict[str, Any], changes: dict[str, str]) -> Any | None:
    """Pad a convolution of stride 2 alike on all sides; a layer that must be added, or None."""
    config, before = entry["config"], _before(entry)
    if entry["class_name"] not in _CONVOLUTIONS or len(before) != 1:
        return None
    side, strides = config["kernel_size"][0], tuple(config["strides"])
    if strides != (2, 2) or config["kernel_size"] not in ([side] * 2, (side,) * 2) or side % 2 == 0:
        return None
    around, name = side // 2, config["name"]
    if config["padding"] == "same" and around:
        added = keras.layers.ZeroPadding2D(around, name=f"{name}_padding")
        changes[name] = f"padded by {around} on every side instead of 'same'"
        config["padding"] = "valid"
        made = keras.layers.serialize(added) | {
            "name": added.name, "inbound_nodes": entry["inbound_nodes"],
        }  # fmt: skip
        entry["inbound_nodes"] = [[[added.name, 0, 0, {}]]]
        return made
    padding = entries[before[0]]
    if padding["class_name"] == "ZeroPadding2D" and config["padding"] == "valid":
        alike = ((around, around), (around, around))
        if tuple(map(tuple, padding["config"]["padding"])) != alike and _takers(entries, padding):
            padding["config"]["padding"] = alike
            changes[before[0]] = f"pads by {around} on every side"
    return None


def _takers(entries: dict[str, Any], entry: Any) -> bool:
    """Whether exactly one layer takes what ``entry`` gives."""
    name = entry["config"]["name"]
    return sum(_before(other).count(name) for other in entries.values()) == 1


def _before(entry: Any) -> list[str]:
    """The layers that a layer takes from, when it is called once and as layers are."""
    calls = entry["inbound_nodes"]
    if len(calls) != 1 or not all(isinstance(taken, list | tuple) for taken in calls[0]):
        return []
    return [taken[0] for taken in calls[0]]


def _head(model: Any) -> list[str]:
    """The layers from the last global average on, all of which have one pixel."""
    found: list[str] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.GlobalAveragePooling2D):
            behind = _behind(layer)
            if all(_is_pixel(other) for other in behind):
                found += [layer.name, *(other.name for other in behind)]
    return found


def _behind(layer: Any) -> list[Any]:
    found: dict[str, Any] = {}
    waiting = [layer]
    while waiting:
        for node in waiting.pop().outbound_nodes:
            if node.outbound_layer.name not in found:
                found[node.outbound_layer.name] = node.outbound_layer
                waiting.append(node.outbound_layer)
    return list(found.values())


def _is_pixel(layer: Any) -> bool:
    shape = layer.output_shape
    return isinstance(shape, tuple) and (len(shape) == 2 or shape[1:-1] == (1, 1))


def _flatten(entry: Any, changes: dict[str, str]) -> None:
    """Let a layer of the head work on float32[batch, channels] instead of one-pixel images.

    A 1x1 convolution behind the mean would become part of what is computed channel by channel,
    which then has no right end.
    """
    config, name = entry["config"], entry["config"]["name"]
    match entry["class_name"]:
        case "GlobalAveragePooling2D" if config.get("keepdims"):
            config["keepdims"] = False
            changes[name] = "gives no one-pixel image any more"
        case "Conv2D":
            dense = keras.layers.Dense(
                config["filters"], activation=config["activation"], use_bias=config["use_bias"],
                name=name,
            )  # fmt: skip
            entry.update(keras.layers.serialize(dense))
            entry.pop("build_config", None)
            changes[name] = "Dense instead of a 1x1 Conv2D"
        case "Reshape" if tuple(config["target_shape"][:-1]) == (1, 1):
            config["target_shape"] = config["target_shape"][-1:]
            changes[name] = "makes no one-pixel image any more"
        case "BatchNormalization":
            config["axis"] = -1
        case _:
            pass


def _check(model: Any) -> None:
    """Convert a trial with many zeros, and see whether they would all be used.

    Raises:
        DataError: they would not; the text names the layers.
    """
    path = _trial(model)
    unused = {n: why for n, why in path.layers.items() if why not in (USED, NO_KERNEL)}
    if path.used and not unused and path.breaks is None:
        return
    reasons = _grouped(unused) or path.breaks or "it holds no 1x1 convolution"
    hint = _GREY if "takes 1 channel" in reasons else ""
    message = f"sparse_topology cannot make engines skip this network's zeros: {reasons}{hint}"
    raise DataError(model.name, message)


def _trial(model: Any) -> SparsePath:
    """What would become of the zeros of a pruned copy."""
    pruned = copy_of(model)
    for layer in pruned.layers:
        if type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1):
            kernel = layer.kernel.numpy()
            # By rank, not by size: an untrained layer may hold equal weights.
            least = np.argsort(np.abs(kernel), axis=None)[: int(kernel.size * _TRIAL_SPARSITY)]
            kernel.flat[least] = 0
            layer.kernel.assign(kernel)
    converter = tflite.configured(pruned, NumberFormat.FLOAT32)
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    with TemporaryDirectory() as folder:
        path = Path(folder) / MODEL_FILE
        path.write_bytes(tflite.converted(converter, model.name, NumberFormat.FLOAT32_SPARSE))
        return sparse_path(read_model(path))


def _grouped(unused: dict[str, str]) -> str:
    """Reasons, each with the layers it holds for."""
    layers: dict[str, list[str]] = {}
    for name, reason in unused.items():
        layers.setdefault(reason, []).append(name)
    return "; ".join(f"{_some(names)}: {reason}" for reason, names in layers.items())


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
