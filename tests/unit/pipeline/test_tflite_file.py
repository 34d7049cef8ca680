from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact import NumberFormat
from pipeline.errors import BadModelFile
from pipeline.tflite_file import TfliteModel, read_model

Read = Callable[[Any], TfliteModel]
FLOAT32, FLOAT16, INT8, INT32 = 0, 1, 9, 2


@pytest.fixture
def read(pack: Callable[[Any], bytes], tmp_path: Path) -> Read:
    def written(model: Any) -> TfliteModel:
        path = tmp_path / "m.tflite"
        path.write_bytes(pack(model))
        return read_model(path)

    return written


def tensor(name: str, shape: list[int], buffer: int = 0, dtype: int = FLOAT32) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, dtype
    return made


def add_buffer(model: Any, values: Any) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def quantize(made: Any, scale: float, zero_point: int) -> Any:
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale = np.array([scale], np.float32)
    made.quantization.zeroPoint = np.array([zero_point], np.int64)
    return made


def one_layer(operator: str, tensors: list[Any], inputs: list[int], buffers: list[Any]) -> Any:
    """A model of one operator whose output is the last tensor."""
    model = schema.ModelT()
    model.version, model.buffers = 3, [schema.BufferT()]
    for values in buffers:
        add_buffer(model, values)
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 3
    model.operatorCodes = [code]
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = 0, inputs, [len(tensors) - 1]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [made]
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    model.subgraphs = [graph]
    return model


def test_a_dense_layer(dense_model: Any, read: Read) -> None:
    model = read(dense_model)
    assert (model.parameters, model.macs) == (6, 6)
    assert model.sparsity == pytest.approx(2 / 6)
    assert model.sparsity_by_layer == {"head": pytest.approx(2 / 6)}
    assert model.operator_counts == {"FULLY_CONNECTED v1": 1}
    assert model.number_format is NumberFormat.FLOAT32
    assert model.spec(0).model_dump() == {
        "name": "in", "dtype": "float32", "shape": (1, 3), "scale": None, "zero_point": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("output", "layer"),
    [
        ("net/head/BiasAdd;net/head/MatMul", "head"),
        ("net/r/Relu6;net/b/FusedBatchNormV3;net/stem/Conv2D1", "stem"),
        ("net/p/BiasAdd;net/p/Conv2D;net/p/BiasAdd/ReadVariableOp", "p"),
        ("net/inner/d/depthwise", "d"),
        ("net/depthwise/BiasAdd;net/depthwise/depthwise", "depthwise"),
        ("net/wide/BiasAdd;net/wide/Tensordot/MatMul", "wide"),
        ("StatefulPartitionedCall:0", "weights"),
        ("y", "weights"),
    ],
)
def test_layers_are_called_as_in_keras(
    dense_model: Any, read: Read, output: str, layer: str
) -> None:
    dense_model.subgraphs[0].tensors[1].name = "net/weights/MatMul"
    dense_model.subgraphs[0].tensors[2].name = output
    assert list(read(dense_model).sparsity_by_layer) == [layer]


def test_a_layer_nobody_named_is_called_as_its_output(dense_model: Any, read: Read) -> None:
    dense_model.subgraphs[0].tensors[1].name = "tfl.pseudo_qconst"
    assert list(read(dense_model).sparsity_by_layer) == ["out"]


@pytest.mark.parametrize(
    ("operator", "taken", "weights", "given_", "macs"),
    [
        # 5x5 pixels, 4 channels out, 3x3 kernel over 2 channels
        ("CONV_2D", [1, 5, 5, 2], [4, 3, 3, 2], [1, 5, 5, 4], 5 * 5 * 4 * 3 * 3 * 2),
        # multiplier 2: 6 channels out of 3, each by its own 3x3 kernel
        ("DEPTHWISE_CONV_2D", [1, 8, 8, 3], [1, 3, 3, 6], [1, 4, 4, 6], 4 * 4 * 6 * 3 * 3),
        # rows in the middle are multiplied one by one
        ("FULLY_CONNECTED", [1, 7, 3], [2, 3], [1, 7, 2], 7 * 3 * 2),
        ("BATCH_MATMUL", [2, 5, 3], [2, 3, 4], [2, 5, 4], 2 * 5 * 3 * 4),
        ("ADD", [1, 8], [8], [1, 8], 0),
    ],
)
def test_multiplications(
    operator: str, taken: list[int], weights: list[int], given_: list[int], macs: int, read: Read
) -> None:
    tensors = [tensor("x", taken), tensor("w", weights, 1), tensor("y", given_)]
    model = one_layer(operator, tensors, [0, 1], [np.ones(weights, np.float32)])
    assert read(model).macs == macs


def test_a_transposed_convolution_multiplies_once_per_input_pixel(read: Read) -> None:
    tensors = [
        tensor("x", [1, 4, 4, 3]), tensor("shape", [4], 1, INT32), tensor("w", [2, 3, 3, 3], 2),
        tensor("y", [1, 8, 8, 2]),
    ]  # fmt: skip
    shape, weights = np.array([1, 8, 8, 2], "<i4"), np.ones((2, 3, 3, 3), np.float32)
    model = read(one_layer("TRANSPOSE_CONV", tensors, [1, 2, 0], [shape, weights]))
    assert model.macs == 4 * 4 * 3 * 3 * 3 * 2
    assert model.parameters == 54  # the output's shape is no parameter


def test_multiplications_nobody_counts_are_unknown(read: Read) -> None:
    tensors = [tensor("x", [1, 4]), tensor("y", [1, 4])]
    assert read(one_layer("SVDF", tensors, [0], [])).macs is None


def test_an_open_shape_has_no_count_and_cannot_be_fed(dense_model: Any, read: Read) -> None:
    dense_model.subgraphs[0].tensors[0].shape = [-1, 3]
    dense_model.subgraphs[0].tensors[2].shape = [-1, 2]
    model = read(dense_model)
    assert model.macs is None
    with pytest.raises(BadModelFile, match="not fixed"):
        model.spec(0)


def test_zeros_of_quantized_weights_are_their_zero_point(read: Read) -> None:
    weights = quantize(tensor("w", [2, 2], 1, INT8), 0.5, 3)
    taken = quantize(tensor("x", [1, 2], 0, INT8), 0.1, -4)
    tensors = [taken, weights, quantize(tensor("y", [1, 2], 0, INT8), 0.2, 0)]
    values = np.array([3, 3, 3, 0], np.int8)
    model = read(one_layer("FULLY_CONNECTED", tensors, [0, 1], [values]))
    assert model.sparsity == 0.75
    assert model.number_format is NumberFormat.INT8
    spec = model.spec(0)
    assert (spec.dtype, spec.scale, spec.zero_point) == ("int8", pytest.approx(0.1), -4)


def test_int8_weights_under_float_inputs_are_dynamic(read: Read) -> None:
    weights = quantize(tensor("w", [2, 2], 1, INT8), 0.5, 0)
    tensors = [tensor("x", [1, 2]), weights, tensor("y", [1, 2])]
    model = one_layer("FULLY_CONNECTED", tensors, [0, 1], [np.ones(4, np.int8)])
    assert read(model).number_format is NumberFormat.DYNAMIC


def test_float16_weights_are_found_behind_their_dequantize(read: Read) -> None:
    values = np.array([1, 0, 0, 0], np.float16)
    tensors = [
        tensor("x", [1, 2]), tensor("half", [2, 2], 1, FLOAT16), tensor("w", [2, 2]),
        tensor("y", [1, 2]),
    ]  # fmt: skip
    model = one_layer("FULLY_CONNECTED", tensors, [0, 2], [values])
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(code)
    widen = schema.OperatorT()
    widen.opcodeIndex, widen.inputs, widen.outputs = 1, [1], [2]
    model.subgraphs[0].operators.insert(0, widen)
    found = read(model)
    assert (found.sparsity, found.parameters) == (0.75, 4)
    assert found.number_format is NumberFormat.FLOAT16


def test_weights_that_a_circle_of_operators_makes_are_none(read: Read) -> None:
    tensors = [tensor("x", [1, 2]), tensor("w", [2, 2]), tensor("y", [1, 2])]
    model = one_layer("FULLY_CONNECTED", tensors, [0, 1], [])
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    model.operatorCodes.append(code)
    circle = schema.OperatorT()
    circle.opcodeIndex, circle.inputs, circle.outputs = 1, [1], [1]
    model.subgraphs[0].operators.append(circle)
    found = read(model)
    assert (found.weights, found.sparsity) == ({}, 0.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_nothing_else(
    dense_model: Any, pack: Callable[[Any], bytes], tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(pack(dense_model))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with suppress(BadModelFile):
        model = read_model(path)
        assert model.parameters >= 0
        assert model.macs is None or model.macs >= 0
        assert 0 <= model.sparsity <= 1
        assert model.number_format in NumberFormat
