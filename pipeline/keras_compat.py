"""The one import of TensorFlow, tf_keras and tensorflow_model_optimization.

tensorflow_model_optimization works on Keras 2 only, which TensorFlow takes as its Keras when
TF_USE_LEGACY_KERAS is set before it is imported; so nothing else may import it first.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pipeline.errors import PackageMissing

_log = logging.getLogger(__name__)

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# 3 is "fatal only"; what a user must know, Python raises.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet_stderr() -> Iterator[Callable[[], str]]:
    """Keep what native code writes to stderr, and log it at debug level.

    TensorFlow writes a dozen lines before its log level is read. They go to the file descriptor,
    past Python. Yields a function that gives the text so far.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept, os.fdopen(os.dup(2), "wb") as before:
        os.dup2(kept.fileno(), 2)
        try:
            yield lambda: _text(kept)
        finally:
            sys.stderr.flush()
            os.dup2(before.fileno(), 2)
            if text := _text(kept):
                _log.debug("native code wrote: %s", text)


def _text(file: Any) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode("utf-8", errors="replace").strip()


def _imported(module: str, package: str) -> Any:
    try:
        with quiet_stderr():
            return import_module(module)
    except ModuleNotFoundError as exc:
        raise PackageMissing(package, "to compress models") from exc


tf: Any = _imported("tensorflow", "tensorflow")
keras: Any = _imported("tf_keras", "tf-keras")
# Its warnings speak to whoever writes TensorFlow code: retracing, deprecations of its own calls.
logging.getLogger("tensorflow").setLevel(logging.ERROR)


def pruning() -> Any:
    """tensorflow_model_optimization's pruning module; it takes seconds to import."""
    module = _imported("tensorflow_model_optimization", "tensorflow-model-optimization")
    return module.sparsity.keras


def copy_of(model: Any) -> Any:
    """A copy with weights of its own, not compiled.

    Wrappers of tensorflow_model_optimization change the model they are given; every stage works
    on a copy, so that a failed stage leaves nothing half done.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy
