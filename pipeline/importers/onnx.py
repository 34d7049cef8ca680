"""ONNX graphs as TensorFlow modules, by onnx-tf.

onnx-tf 1.10 imports tensorflow_addons for one function, ``seq2seq.hardmax``. That package ended
before TensorFlow 2.16; it is installed as a dependency, but importing it raises. The function is
one line; it is given here under the name onnx-tf looks for, and no package is changed.

Source: onnx_tf/handlers/backend/hardmax.py; tensorflow_addons/seq2seq/attention_wrapper.py.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from pipeline.errors import ConversionError, PackageMissing
from pipeline.keras_compat import quiet_stderr, tf

ADDONS: Final = "tensorflow_addons"


def to_tensorflow(model: Any) -> Any:
    """Turn an ``onnx.ModelProto`` into a tf.Module; call it with inputs by name, NCHW as in ONNX.

    Raises:
        PackageMissing: onnx-tf is not installed.
        ConversionError: an operator is not supported.
    """
    provide_hardmax()
    try:
        with quiet_stderr():
            from onnx_tf.backend import prepare
    except ModuleNotFoundError as exc:
        if exc.name not in ("onnx", "onnx_tf"):
            raise
        raise PackageMissing("onnx-tf", "to import ONNX models") from exc
    try:
        return prepare(model).tf_module
    except Exception as exc:  # handlers raise whatever their operator did
        reason = f"cannot be imported from ONNX ({type(exc).__name__}: {exc})"
        raise ConversionError(model.graph.name or "model", reason) from exc


def provide_hardmax() -> None:
    """Register ``tensorflow_addons.seq2seq.hardmax``, unless something has that name already."""
    if ADDONS in sys.modules:
        return
    addons, seq2seq = _module(ADDONS), _module(f"{ADDONS}.seq2seq")
    seq2seq.hardmax = hardmax  # type: ignore[attr-defined]  # a module made while running
    addons.seq2seq = seq2seq  # type: ignore[attr-defined]


def hardmax(logits: Any, name: str | None = None) -> Any:
    """1 where a row of ``logits`` [..., classes] is largest (the first of equals), else 0."""
    classes = tf.shape(logits)[-1]
    return tf.one_hot(tf.argmax(logits, axis=-1), classes, dtype=logits.dtype, name=name)


def _module(name: str) -> ModuleType:
    """A module other code can import and inspect; without a spec find_spec() raises."""
    module = ModuleType(name, "The one function of tensorflow_addons that onnx-tf calls.")
    module.__spec__ = ModuleSpec(name, loader=None, is_package="." not in name)
    module.__path__ = []
    sys.modules[name] = module
    return module
