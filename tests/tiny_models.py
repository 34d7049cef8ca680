"""Tiny models written field by field, so that no TensorFlow is needed to test what runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
INT32 = schema.TensorType.INT32


@dataclass
class Sketch:
    """One subgraph in the making."""

    model: schema.ModelT = field(default_factory=schema.ModelT)
    graph: schema.SubGraphT = field(default_factory=schema.SubGraphT)

    def __post_init__(self) -> None:
        self.model.version = 3
        self.model.subgraphs = [self.graph]
        self.model.buffers = [schema.BufferT()]  # the first is the empty one, by convention
        self.model.operatorCodes, self.graph.tensors, self.graph.operators = [], [], []

    def tensor(
        self,
        name: str | bytes,
        shape: Sequence[int],
        kind: int,
        *,
        data: np.ndarray | None = None,
        scales: Sequence[float] = (),
        zero_points: Sequence[int] = (),
        signature: Sequence[int] | None = None,
    ) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kind, 0
        made.shapeSignature = None if signature is None else list(signature)
        if scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(scales)
            made.quantization.zeroPoint = list(zero_points)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: list[int],
        outputs: list[int],
        options: tuple[int, object] | None = None,
        custom: str | None = None,
    ) -> None:
        kind = schema.OperatorCodeT()
        kind.builtinCode, kind.deprecatedBuiltinCode = code, min(code, 127)
        kind.version, kind.customCode = 1, custom
        self.model.operatorCodes.append(kind)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = inputs, outputs
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options
        self.graph.operators.append(made)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._map(i) for i in inputs]
        signature.outputs = [self._map(i) for i in outputs]
        self.model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _map(self, index: int) -> schema.TensorMapT:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = self.graph.tensors[index].name, index
        return made


def _convolution() -> tuple[int, schema.Conv2DOptionsT]:
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    return schema.BuiltinOptions.Conv2DOptions, options


def float_convolution(path: Path, name: str | bytes = "image", side: int = 16) -> Path:
    random, sketch = np.random.default_rng(1), Sketch()
    weights = random.normal(size=(16, 3, 3, 3)).astype(np.float32)
    image = sketch.tensor(name, (1, side, side, 3), FLOAT32)
    kernel = sketch.tensor("kernel", weights.shape, FLOAT32, data=weights)
    bias = sketch.tensor("bias", (16,), FLOAT32, data=np.arange(16, dtype=np.float32))
    output = sketch.tensor("features", (1, side, side, 16), FLOAT32)
    sketch.operator(schema.BuiltinOperator.CONV_2D, [image, kernel, bias], [output], _convolution())
    return sketch.write(path, [image], [output])


def int8_convolution(path: Path) -> Path:
    random, sketch = np.random.default_rng(2), Sketch()
    weights = random.integers(-127, 128, size=(16, 3, 3, 3)).astype(np.int8)
    quantized = {"scales": [0.01] * 16, "zero_points": [0] * 16}
    image = sketch.tensor("image", (1, 16, 16, 3), INT8, scales=[0.02], zero_points=[3])
    kernel = sketch.tensor("kernel", weights.shape, INT8, data=weights, **quantized)
    bias = sketch.tensor(
        "bias",
        (16,),
        INT32,
        data=random.integers(-500, 500, 16).astype(np.int32),
        scales=[0.02 * 0.01] * 16,
        zero_points=[0] * 16,
    )
    output = sketch.tensor("features", (1, 16, 16, 16), INT8, scales=[0.15], zero_points=[-7])
    sketch.operator(schema.BuiltinOperator.CONV_2D, [image, kernel, bias], [output], _convolution())
    return sketch.write(path, [image], [output])


def two_inputs(path: Path) -> Path:
    sketch = Sketch()
    left, right, total = (sketch.tensor(n, (1, 8), FLOAT32) for n in ("left", "right", "total"))
    options = (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
    sketch.operator(schema.BuiltinOperator.ADD, [left, right], [total], options)
    return sketch.write(path, [left, right], [total])


def open_batch(path: Path) -> Path:
    sketch = Sketch()
    x, y = (sketch.tensor(n, (1, 8), FLOAT32, signature=(-1, 8)) for n in ("x", "y"))
    sketch.operator(schema.BuiltinOperator.LOGISTIC, [x], [y])
    return sketch.write(path, [x], [y])


def unknown_operator(path: Path) -> Path:
    sketch = Sketch()
    x, y = (sketch.tensor(n, (1, 8), FLOAT32) for n in ("x", "y"))
    sketch.operator(schema.BuiltinOperator.CUSTOM, [x], [y], custom="NoSuchKernel")
    return sketch.write(path, [x], [y])
