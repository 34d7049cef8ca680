"""TFLite models of 1x1 convolutions, all of one width: the rungs of a phone's channel staircase.

Kernels work in tiles of channels, so a layer that is one channel wider may cost a whole tile
more. Where the steps lie depends on the processor and the number format; only measuring tells.
No TensorFlow is needed: the files are written field by field.

Source of the layout: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from pipeline.artifact import NumberFormat

# As many as make one inference long against the clock's and the start's cost.
LAYERS: Final = 12
SIDE_PIXELS: Final = 14
SEED: Final = 5
_IDENTIFIER: Final = b"TFL3"
# Real values of -1..1 for inputs; outputs of a layer with weights of variance 1/width stay there.
_INPUT_SCALE: Final = 1 / 64
_WEIGHT_SCALE: Final = 1 / 127


@final
@dataclass(slots=True)
class _Rungs:
    """One graph in the making."""

    number_format: NumberFormat
    model: Any = field(default_factory=schema.ModelT)
    graph: Any = field(default_factory=schema.SubGraphT)

    def __post_init__(self) -> None:
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.buffers = [schema.BufferT()]  # the first is the empty one, by convention
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
        code.version = 3 if self.quantized else 1
        self.model.operatorCodes = [code]
        self.graph.tensors, self.graph.operators = [], []

    @property
    def quantized(self) -> bool:
        return self.number_format is NumberFormat.INT8

    def activations(self, name: str, width: int) -> int:
        shape = [1, SIDE_PIXELS, SIDE_PIXELS, width]
        kind = schema.TensorType.INT8 if self.quantized else schema.TensorType.FLOAT32
        return self._tensor(name, shape, kind, [_INPUT_SCALE] if self.quantized else [])

    def convolution(self, taken: int, width: int, number: int, random: Any) -> int:
        weights = random.normal(0, width**-0.5, (width, 1, 1, width)).astype(np.float32)
        kernel = self._weights(f"kernel{number}", weights)
        bias = self._bias(f"bias{number}", width)
        given = self.activations(f"features{number}", width)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [taken, kernel, bias], [given]
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        operator.builtinOptions = options
        self.graph.operators.append(operator)
        return given

    def packed(self, taken: int, given: int) -> bytes:
        self.graph.inputs, self.graph.outputs = [taken], [given]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _weights(self, name: str, weights: NDArray[np.float32]) -> int:
        width = len(weights)
        if not self.quantized:
            return self._tensor(name, weights.shape, schema.TensorType.FLOAT32, [], weights)
        stored = np.clip(np.round(weights / _WEIGHT_SCALE), -127, 127).astype(np.int8)
        scales = [_WEIGHT_SCALE] * width
        return self._tensor(name, weights.shape, schema.TensorType.INT8, scales, stored)

    def _bias(self, name: str, width: int) -> int:
        if not self.quantized:
            zeros = np.zeros(width, np.float32)
            return self._tensor(name, (width,), schema.TensorType.FLOAT32, [], zeros)
        scales = [_INPUT_SCALE * _WEIGHT_SCALE] * width
        zeros = np.zeros(width, np.int32)
        return self._tensor(name, (width,), schema.TensorType.INT32, scales, zeros)

    def _tensor(
        self, name: str, shape: Any, kind: int, scales: list[float], data: Any = None
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
        if scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = scales, [0] * len(scales)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1


def rung_name(width: int, number_format: NumberFormat) -> str:
    """``float32_w97``: what the model file and its variant are called."""
    return f"{number_format}_w{width:03d}"


def write_rung(width: int, number_format: NumberFormat, folder: Path) -> Path:
    """Write the model of one width; the same arguments give the same bytes.

    Args:
        width: channels in and out of every layer.
        number_format: float32 or int8.
        folder: where ``<rung_name>.tflite`` is written; made when it is not there.

    Raises:
        ValueError: another number format.
    """
    if number_format not in (NumberFormat.FLOAT32, NumberFormat.INT8):
        raise ValueError(f"a staircase is measured in float32 or int8, not {number_format}")
    rungs, random = _Rungs(number_format), np.random.default_rng((SEED, width))
    taken = given = rungs.activations("image", width)
    for number in range(LAYERS):
        given = rungs.convolution(given, width, number, random)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{rung_name(width, number_format)}.tflite"
    path.write_bytes(rungs.packed(taken, given))
    return path
