"""A small ONNX graph through onnx-tf, beside TensorFlow 2.21."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
helper, TensorProto, numpy_helper = onnx.helper, onnx.TensorProto, onnx.numpy_helper

pytestmark = [
    pytest.mark.slow,
    # tensorflow_probability's and onnx-tf's own imports.
    pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated"),
    pytest.mark.filterwarnings("ignore:`mapping.TENSOR_TYPE_TO_NP_TYPE` is now deprecated"),
]

INPUT, LOGITS = [1, 3, 8, 8], [1, 5]


def graph() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    dense = random.normal(size=(4, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
        helper.make_node("Hardmax", ["logits"], ["answer"], axis=1),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, LOGITS)
        for name in ("logits", "answer")
    ]
    weights = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(dense, "dense")]
    taken = [helper.make_tensor_value_info("x", TensorProto.FLOAT, INPUT)]
    made = helper.make_graph(nodes, "tiny", taken, outputs, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def expected(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits, by ONNX' own reference implementation."""
    from onnx.reference import ReferenceEvaluator

    logits: NDArray[np.float32] = ReferenceEvaluator(graph()).run(["logits"], {"x": inputs})[0]
    return logits


def test_a_graph_gives_the_same_numbers_in_tensorflow() -> None:
    from pipeline.importers.onnx import to_tensorflow

    inputs = np.random.default_rng(1).normal(size=INPUT).astype(np.float32)
    found = to_tensorflow(graph())(x=inputs)
    logits = expected(inputs)
    np.testing.assert_allclose(found["logits"].numpy(), logits, rtol=1e-4, atol=1e-5)
    assert found["answer"].numpy().tolist() == [[float(i == logits.argmax()) for i in range(5)]]


def test_hardmax_marks_the_first_of_equals() -> None:
    from pipeline.importers.onnx import hardmax
    from pipeline.keras_compat import tf

    logits = tf.constant([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    assert hardmax(logits).numpy().tolist() == [[0, 1, 0], [1, 0, 0]]


def test_the_module_can_be_imported_and_inspected() -> None:
    from importlib.util import find_spec

    from pipeline.importers.onnx import ADDONS, provide_hardmax

    provide_hardmax()
    addons = sys.modules[ADDONS]
    provide_hardmax()
    assert sys.modules[ADDONS] is addons
    assert find_spec(f"{ADDONS}.seq2seq") is not None
    assert addons.seq2seq is sys.modules[f"{ADDONS}.seq2seq"]


def test_an_operator_nobody_knows_is_named() -> None:
    from pipeline.errors import ConversionError
    from pipeline.importers.onnx import to_tensorflow

    model = graph()
    model.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(ConversionError, match="NoSuchOperator"):
        to_tensorflow(model)(x=np.zeros(INPUT, np.float32))
