"""Refuse model files that bring code of their own, before Keras reads them; pure.

Keras' own guard (``safe_mode``) does not cover HDF5 files and SavedModel folders, and follows a
``module`` in a .keras file to any module that is installed. So every object a configuration names
is looked at here: it must be Keras', or a class the user named.
"""

from collections.abc import Collection, Iterator
from typing import Any, Final

from pipeline.errors import UnusableInput

_LAMBDAS: Final = frozenset({"Lambda", "__lambda__"})
_CALLS: Final = frozenset({
    "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty",
    "TensorFlowOpLayer",
})  # fmt: skip
# TensorFlow functions that only compute; others read and write files, or call Python.
_PURE: Final = (
    "__operators__.", "math.", "nn.", "image.", "linalg.", "cast", "clip_by_value", "concat",
    "expand_dims", "identity", "pad", "reshape", "split", "squeeze", "stack", "tile", "transpose",
    "unstack", "strided_slice", "compat.v1.nn.", "compat.v1.transpose", "convert_to_tensor",
)  # fmt: skip
_FUNCTION_HOMES: Final = ("builtins", "keras.activations", "keras.src.activations")
_KERAS: Final = ("keras", "tf_keras")
_ANYWAY: Final = "if you know who made the file, give --trust"


def check_config(config: Any, path: str, custom: Collection[str]) -> None:
    """Check that a model's configuration brings no code.

    Args:
        config: JSON of a .keras or .h5 file, or of a SavedModel's Keras metadata.
        path: of the file, for the error.
        custom: names of the classes the user gave.

    Raises:
        UnusableInput: it holds a Lambda layer, marshalled code, or names foreign code.
    """
    for found in _objects(config):
        name = str(found["class_name"])
        inside = found.get("config")
        inside = inside if isinstance(inside, dict) else {}
        if name in _LAMBDAS:
            layer = inside.get("name", name)
            raise UnusableInput(
                path, f"layer {layer!r} is a Lambda: Python code inside the file, not run unasked",
                f"write it as a layer class for --custom; {_ANYWAY}",
            )  # fmt: skip
        if name in _CALLS:
            _check_call(name, str(inside.get("function", inside.get("method_name", ""))), path)
        _check_home(found, name, path, custom)


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object in a configuration, whatever it is nested in."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if "class_name" in found:
                yield found
            # How it was compiled is never read.
            waiting += [v for k, v in found.items() if k not in ("compile_config", "build_config")]
        elif isinstance(found, list):
            waiting += found


def _check_call(name: str, function: str, path: str) -> None:
    if name not in ("TFOpLambda", "SlicingOpLambda") or not function.startswith(_PURE):
        message = f"calls TensorFlow's {function or name!r}, which is not known to only compute"
        raise UnusableInput(path, message, _ANYWAY)


def _check_home(found: dict[str, Any], name: str, path: str, custom: Collection[str]) -> None:
    module = found.get("module")
    if not isinstance(module, str) or name in custom or found.get("registered_name") in custom:
        return
    package = module.partition(".")[0]
    if name == "function":
        if not module.startswith(_FUNCTION_HOMES):
            message = f"names the function {found.get('config')!r} of {module}"
            raise UnusableInput(path, f"{message}, which is no activation of Keras", _ANYWAY)
    elif package not in _KERAS and module != "builtins":
        raise UnusableInput(
            path, f"has a layer of a class of its own, {name} of {module}",
            f"name the class: --custom {module}:{name}",
        )  # fmt: skip
