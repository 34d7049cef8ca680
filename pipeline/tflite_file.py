"""What a TFLite file says of itself: tensors, operators, parameters, multiplications, zeros.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, read by the bindings that
ai-edge-litert generates from it.
"""

import math
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast, final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat, TensorSpec
from pipeline.errors import BadModelFile
from pipeline.tflite_check import check_model_bytes


def _names(enumeration: type) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


_OPERATORS: Final = _names(schema.BuiltinOperator)
_TYPES: Final = {v: k.lower() for v, k in _names(schema.TensorType).items()}
_NUMPY_TYPES: Final = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "<i1", "uint8": "<u1",
    "int16": "<i2", "int32": "<i4", "int64": "<i8", "int4": "<u1",
}  # fmt: skip
_FLOATS: Final = ("float16", "float32", "float64")

# Which input of an operator holds its weights.
_WEIGHT_INPUT: Final = {
    "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1,
}  # fmt: skip
# Operators that multiply in a way not counted here; with one of them the count is unknown.
_UNCOUNTED: Final = frozenset({
    "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "CALL", "CONV_3D",
    "CONV_3D_TRANSPOSE", "CUSTOM", "IF", "LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "WHILE",
})  # fmt: skip
# Keras writes model/layer/Operation, and the converter joins what it fused by semicolons.
_KERAS_LAYER: Final = re.compile(
    r"(?:.*/)?(?P<layer>(?!Tensordot/)[^/]+)/(?:Tensordot/)?"
    r"(?:Conv2D|depthwise|MatMul|conv2d_transpose)\w*$"
)
# Operators behind which a constant is still the same constant, stored another way.
_DISGUISES: Final = frozenset({"DEQUANTIZE", "DENSIFY"})


@final
@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the main graph."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None  # None: not quantized, or one scale per channel
    zero_point: int | None
    quantized: bool
    constant: NDArray[Any] | None  # stored values; sparse tensors leave zeros out

    @property
    def elements(self) -> int:
        """Number of values, zeros that are left out included."""
        return math.prod(self.shape)

    @property
    def zeros(self) -> int:
        """How many values of a constant stand for 0.0, those that are left out included."""
        assert self.constant is not None  # asked of weights only
        others = int(np.count_nonzero(self.constant - (self.zero_point or 0)))
        return max(0, self.elements - others)  # a damaged file may store more than fit

    @property
    def unique_values(self) -> int:
        """Distinct values of a constant; zeros that are left out are one of them."""
        values = np.unique(self.constant)  # type: ignore[arg-type]  # asked of weights only
        left_out = self.zeros > 0 and not np.any(values == (self.zero_point or 0))
        return int(values.size) + int(left_out)


@final
@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the main graph; -1 among ``inputs`` is one that is left out."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@final
@dataclass(frozen=True)
class TfliteModel:
    """The main graph of a TFLite file."""

    path: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    min_runtime: str | None  # the first TensorFlow Lite release that knows every operator

    def spec(self, index: int) -> TensorSpec:
        """A tensor as artifacts state it.

        Raises:
            BadModelFile: its shape is not fixed, or its type cannot be fed as numbers.
        """
        tensor = self.tensors[index]
        if min(tensor.shape, default=0) < 1:
            reason = f"has tensor {tensor.name!r} of shape {list(tensor.shape)}, which is not fixed"
            raise BadModelFile(self.path, reason)
        try:
            return TensorSpec(
                name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, scale=tensor.scale,
                zero_point=tensor.zero_point,
            )  # fmt: skip
        except ValueError as exc:
            raise BadModelFile(self.path, f"has {tensor.dtype} input or output") from exc

    @cached_property
    def parameters(self) -> int:
        """Elements of constants that compute: weights, biases, factors; not shapes and axes."""
        constants = {i for op in self.operators for i in op.inputs if i >= 0}
        chosen = (self.tensors[i] for i in sorted(constants))
        return sum(
            t.elements for t in chosen
            if t.constant is not None and (t.dtype in _FLOATS or t.quantized)
        )  # fmt: skip

    @cached_property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference; None when an operator is not counted."""
        counts = [self._macs(operator) for operator in self.operators]
        return None if None in counts else sum(cast(list[int], counts))

    @cached_property
    def layers(self) -> dict[str, Operator]:
        """The operators that multiply by constant weights, by layer."""
        found: dict[str, Operator] = {}
        for operator in self.operators:
            if operator.name in _WEIGHT_INPUT and self.stored(_weights_of(operator)) is not None:
                found[self._layer(operator, found)] = operator
        return found

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Constant weights of the layers that multiply, by layer."""
        stored = {name: self.stored(_weights_of(op)) for name, op in self.layers.items()}
        return {name: tensor for name, tensor in stored.items() if tensor is not None}

    @cached_property
    def encoded(self) -> frozenset[str]:
        """The layers whose zeros are left out of the file."""
        return frozenset(
            name for name, op in self.layers.items()
            if any(self._made_by[i].name == "DENSIFY" for i in self._unpacked(_weights_of(op))[:-1])
        )  # fmt: skip

    @cached_property
    def sparsity_by_layer(self) -> dict[str, float]:
        """Share of zeros among the weights of each layer that multiplies."""
        return {name: t.zeros / t.elements for name, t in self.weights.items()}

    @cached_property
    def sparsity(self) -> float:
        """Share of zeros among all weights of layers that multiply."""
        weights = self.weights.values()
        total = sum(t.elements for t in weights)
        return sum(t.zeros for t in weights) / total if total else 0.0

    @cached_property
    def unique_values_by_layer(self) -> dict[str, int]:
        """Distinct values among the weights of each layer that multiplies, as they are stored."""
        return {name: t.unique_values for name, t in self.weights.items()}

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs, by ``NAME v<version>``."""
        return dict(sorted(Counter(f"{op.name} v{op.version}" for op in self.operators).items()))

    @cached_property
    def number_format(self) -> NumberFormat:
        """The nearest of the formats this project makes."""
        multiplied = [op for op in self.operators if op.name in _WEIGHT_INPUT]
        taken = {self.tensors[op.inputs[_data_input(op)]].dtype for op in multiplied}
        if not taken <= set(_FLOATS):
            if taken & set(_FLOATS):
                return NumberFormat.MIXED
            return NumberFormat.INT16X8 if taken == {"int16"} else NumberFormat.INT8
        kinds = {t.dtype for t in self.weights.values()}
        if kinds & {"int8", "int4", "uint8"}:
            if all(self._is_float(op.inputs[_WEIGHT_INPUT[op.name]]) for op in multiplied):
                return NumberFormat.WEIGHT_INT4 if "int4" in kinds else NumberFormat.WEIGHT_INT8
            return NumberFormat.DYNAMIC
        if kinds == {"float16"}:
            return NumberFormat.FLOAT16_SPARSE if self.encoded else NumberFormat.FLOAT16
        return NumberFormat.FLOAT32_SPARSE if self.encoded else NumberFormat.FLOAT32

    @cached_property
    def _made_by(self) -> dict[int, Operator]:
        return {output: op for op in self.operators for output in op.outputs}

    def _is_float(self, index: int) -> bool:
        return self.tensors[index].dtype in _FLOATS

    def stored(self, index: int) -> Tensor | None:
        """The stored constant behind a tensor, or None when it is computed."""
        constant = self.tensors[self._unpacked(index)[-1]]
        return None if constant.constant is None else constant

    def _unpacked(self, index: int) -> list[int]:
        """A tensor, and those it is unpacked from, the stored one last."""
        passed = [index]
        while self.tensors[passed[-1]].constant is None:
            maker = self._made_by.get(passed[-1])
            # A damaged graph may run in a circle.
            if maker is None or maker.name not in _DISGUISES or len(passed) > len(_DISGUISES):
                break
            passed.append(maker.inputs[0])
        return passed

    def _layer(self, operator: Operator, taken: Collection[str]) -> str:
        """The Keras layer of an operator, or its output's name when that cannot be told."""
        output = self.tensors[operator.outputs[0]].name
        names = (output, *(self.tensors[i].name for i in self._unpacked(_weights_of(operator))))
        found = (_KERAS_LAYER.match(part) for n in names for part in n.split(";"))
        name = next((match["layer"] for match in found if match), output)
        return name if name not in taken else f"{name}#{len(taken)}"

    def _macs(self, operator: Operator) -> int | None:
        if operator.name in _UNCOUNTED:
            return None
        inputs = [self.tensors[i].shape if i >= 0 else () for i in operator.inputs]
        output = self.tensors[operator.outputs[0]].shape if operator.outputs else ()
        multiplies = operator.name in _WEIGHT_INPUT or operator.name == "BATCH_MATMUL"
        if multiplies and min((*output, *inputs[0], *inputs[1]), default=0) < 1:
            return None
        return _multiplications(operator, inputs, output)


def _weights_of(operator: Operator) -> int:
    """The tensor that holds the weights of an operator that multiplies."""
    return operator.inputs[_WEIGHT_INPUT[operator.name]]


def _data_input(operator: Operator) -> int:
    """Which input holds activations: TRANSPOSE_CONV takes its output shape first."""
    return 2 if operator.name == "TRANSPOSE_CONV" else 0


def _multiplications(
    operator: Operator, inputs: list[tuple[int, ...]], output: tuple[int, ...]
) -> int:
    """Source: the weights' layouts in tensorflow/lite/kernels (conv: [out, h, w, in])."""
    match operator.name:
        case "CONV_2D":
            return math.prod(output) * math.prod(inputs[1][1:])
        case "DEPTHWISE_CONV_2D":
            return math.prod(output) * math.prod(inputs[1][1:3])
        case "FULLY_CONNECTED":
            return math.prod(output) * inputs[1][-1]
        case "TRANSPOSE_CONV":
            return math.prod(inputs[2][:3]) * math.prod(inputs[1])
        case "BATCH_MATMUL":
            transposed = bool(operator.options is not None and operator.options.adjX)
            return math.prod(output) * inputs[0][-2 if transposed else -1]
        case _:
            return 0


# What the generated reader and arithmetic raise for contents that do not follow the schema.
_MISREADS: Final = (
    struct.error, LookupError, ArithmeticError, ValueError, TypeError, AttributeError,
)  # fmt: skip


def read_model(path: Path) -> TfliteModel:
    """Read a TFLite file, and all that follows from it.

    Raises:
        BadModelFile: it is not whole, not as the schema says, or its shapes fit no operator.
    """
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise BadModelFile(str(path), exc.strerror or str(exc)) from exc
    check_model_bytes(content, str(path))
    try:
        model = _main_graph(content, str(path))
        _ = model.macs, model.parameters, model.sparsity, model.number_format
        return model
    except _MISREADS as exc:
        raise BadModelFile(str(path), f"is damaged ({type(exc).__name__}: {exc})") from exc


def _main_graph(content: bytes, path: str) -> TfliteModel:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    return TfliteModel(
        path=path,
        tensors=tuple(_tensor(t, model.buffers, content) for t in graph.tensors),
        operators=tuple(_operators(graph.operators or (), model.operatorCodes)),
        inputs=_integers(graph.inputs),
        outputs=_integers(graph.outputs),
        min_runtime=_min_runtime(model),
    )


def _tensor(raw: Any, buffers: Any, content: bytes) -> Tensor:
    dtype = _TYPES.get(raw.type, f"type {raw.type}")
    scales = _numbers(raw.quantization and raw.quantization.scale)
    zero_points = _numbers(raw.quantization and raw.quantization.zeroPoint)
    one = len(scales) == 1
    return Tensor(
        name=_text(raw.name),
        dtype=dtype,
        shape=_integers(raw.shape),
        scale=float(scales[0]) if one else None,
        zero_point=int(zero_points[0]) if one and zero_points else None,
        quantized=bool(scales),
        constant=_constant(buffers[raw.buffer], dtype, content),
    )


def _constant(buffer: Any, dtype: str, content: bytes) -> NDArray[Any] | None:
    data = buffer.data
    if data is None and buffer.offset > 1:  # a model beyond 2 GB keeps its weights behind
        data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    if data is None or len(data) == 0 or dtype not in _NUMPY_TYPES:
        return None
    values = np.asarray(data, np.uint8).view(_NUMPY_TYPES[dtype])
    # int4 keeps two values in a byte, the first in the low half.
    return np.stack([values & 15, values >> 4], axis=-1) if dtype == "int4" else values


def _operators(raw: Any, codes: Any) -> Iterator[Operator]:
    for operator in raw:
        code = codes[operator.opcodeIndex]
        # Files from before 2020 hold the number in the older, one-byte field.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        yield Operator(
            name=_OPERATORS.get(number, f"OPERATOR_{number}"),
            version=int(code.version),
            inputs=_integers(operator.inputs),
            outputs=_integers(operator.outputs),
            options=operator.builtinOptions,
        )


def _min_runtime(model: Any) -> str | None:
    for entry in model.metadata or ():
        if _text(entry.name) == "min_runtime_version":
            data = bytes(bytearray(model.buffers[entry.buffer].data))
            return data.rstrip(b"\0").decode("ascii", errors="replace") or None
    return None


def _integers(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in _numbers(values))


def _numbers(values: Any) -> list[Any]:
    return [] if values is None else list(values)


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value or "")
