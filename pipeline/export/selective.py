"""Quantize chosen operators of a float32 file, by ai-edge-quantizer.

Works on the flatbuffer, not on the Keras model, and takes a fraction of a second: what
TensorFlow's converter does to all of a network or to nothing, this does operator by operator.
It runs beside TensorFlow in one process.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.errors import ConversionError, PackageMissing
from pipeline.export.ranking import Scope, layers_of
from pipeline.keras_compat import quiet_stderr

_PACKAGE: Final = "ai-edge-quantizer"
_EVERYTHING: Final = ".*"
# What a calibration gives: lowest and highest value of each tensor, by its name.
Ranges = dict[str, Any]


def title() -> str:
    """``ai-edge-quantizer 0.10.0``."""
    return f"{_PACKAGE} {metadata.version(_PACKAGE)}"


def dynamic_convolutions(content: bytes, name: str) -> bytes:
    """Weights of convolutions and dense layers int8, what they take quantized while running.

    Depthwise convolutions stay float: engines have no fast kernel that quantizes their input.

    Raises:
        ConversionError: the quantizer refuses the file.
    """
    aeq = _package()
    recipe = aeq.recipe_manager.RecipeManager()
    recipe.add_dynamic_config(_EVERYTHING, aeq.Operation.CONV_2D, 8)
    # One scale for all rows: with one per row, engines before 2024 compute nonsense without a
    # word (tflite-runtime 2.14 was off by as much as the answers are large).
    one_scale = aeq.qtyping.QuantGranularity.TENSORWISE
    recipe.add_dynamic_config(_EVERYTHING, aeq.Operation.FULLY_CONNECTED, 8, one_scale)
    return _quantized(content, recipe, None, name)


def weights_only(content: bytes, bits: int, name: str) -> bytes:
    """Weights stored in ``bits`` bits, 4 or 8, everything computed in float.

    Depthwise convolutions, for which there are no 4 bits, get 8.

    Raises:
        ConversionError: the quantizer refuses the file.
    """
    aeq = _package()
    recipe = aeq.recipe_manager.RecipeManager()
    recipe.add_weight_only_config(_EVERYTHING, aeq.Operation.ALL_SUPPORTED, bits)
    depthwise = aeq.Operation.DEPTHWISE_CONV_2D
    recipe.add_weight_only_config("(?:)", depthwise, 8)  # another text for "everything"
    return _quantized(content, recipe, None, name)


def ranges_of(content: bytes, inputs: NDArray[np.float32]) -> Ranges:
    """Lowest and highest value of every tensor over ``inputs`` [samples, ...].

    All values count, as with TensorFlow's converter; the quantizer itself would take a moving
    average, which cuts the highest off.
    """
    aeq = _package()
    signature, taken = _signature(content)
    with _quiet():
        calibrator = aeq.calibrator.Calibrator(
            content, num_threads=1, qsv_update_func=aeq.qsv_utils.min_max_update
        )
        shown = [{taken: inputs[index : index + 1]} for index in range(len(inputs))]
        calibrator.calibrate({signature: shown}, _static(aeq, None))
    found: Ranges = calibrator.get_model_qsvs()
    return found


def static(content: bytes, ranges: Ranges, chosen: Sequence[str] | None, name: str) -> bytes:
    """Weights and activations int8 of the ``chosen`` operators; inputs and outputs stay float32.

    Args:
        content: a float32 file.
        ranges: of its tensors.
        chosen: operators by the names of their scopes; None: all.
        name: of the variant, for errors.

    Raises:
        ConversionError: the quantizer refuses the file.
    """
    return _quantized(content, _static(_package(), chosen), ranges, name)


def scopes(content: bytes) -> list[Scope]:
    """The operators the quantizer can make int8, in the file's order."""
    aeq = _package()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    tensors = model.subgraphs[0].tensors
    everything = _static(aeq, None)
    found: list[Scope] = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        kind = aeq.flatbuffer.TFL_OP_CODE_TO_NAME.get(code)
        name = aeq.flatbuffer.get_op_scope(operator, tensors)
        if kind is None or everything.get_quantization_configs(kind, name)[0] == aeq.NOTHING:
            continue
        names = [name, *(tensors[i].name.decode() for i in operator.inputs[1:2] if i >= 0)]
        layers = next(filter(None, map(layers_of, names)), f"#{len(found)}")
        found.append(Scope(kind=str(kind.value), name=name, title=f"{kind.value} {layers}"))
    return found


def _static(aeq: Any, chosen: Sequence[str] | None) -> Any:
    recipe = aeq.recipe_manager.RecipeManager()
    for scope in [_EVERYTHING] if chosen is None else map(_exactly, chosen):
        recipe.add_static_config(scope, aeq.Operation.ALL_SUPPORTED, 8, 8)
    for edge in (aeq.Operation.INPUT, aeq.Operation.OUTPUT):
        recipe.add_quantization_config("(?:)", edge, algorithm_key=aeq.NOTHING)
    return recipe


def _exactly(scope: str) -> str:
    return f"^{re.escape(scope)}$"


def _quantized(content: bytes, recipe: Any, ranges: Ranges | None, name: str) -> bytes:
    aeq = _package()
    try:
        with _quiet():
            quantizer = aeq.quantizer.Quantizer(
                bytearray(content), recipe.get_quantization_recipe()
            )
            made = quantizer.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except (ValueError, RuntimeError, LookupError, NotImplementedError) as exc:
        reason = f"{title()} cannot quantize it ({type(exc).__name__}: {exc})"
        raise ConversionError(name, reason[:2000]) from exc
    return bytes(made.quantized_model)


def _signature(content: bytes) -> tuple[str, str]:
    """The signature's key, and what its input is called there."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    signature = model.signatureDefs[0]
    return signature.signatureKey.decode(), signature.inputs[0].name.decode()


@contextmanager
def _quiet() -> Iterator[None]:
    with quiet_stderr(), warnings.catch_warnings():
        # It keeps all tensors on purpose, and is warned of the memory that takes.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield


class _Aeq:
    """The modules of the package that are used here."""

    def __init__(self) -> None:
        from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils, tfl_flatbuffer_utils

        self.calibrator, self.qtyping, self.quantizer = calibrator, qtyping, quantizer
        self.recipe_manager, self.qsv_utils = recipe_manager, qsv_utils
        self.flatbuffer = tfl_flatbuffer_utils
        self.Operation = qtyping.TFLOperationName
        self.NOTHING = quantizer.AlgorithmName.NO_QUANTIZE


def _package() -> Any:
    try:
        return _Aeq()
    except ModuleNotFoundError as exc:
        raise PackageMissing(_PACKAGE, "to quantize operator by operator") from exc
