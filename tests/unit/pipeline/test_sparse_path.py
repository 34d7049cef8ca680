"""The rules were checked against LiteRT 2.3.0 by tests/benchmarks/sparse_kernels.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact import NumberFormat
from pipeline.errors import BadModelFile
from pipeline.sparse_path import NO_END, NO_KERNEL, NOT_ENCODED, NOT_FLOAT, USED, sparse_path
from pipeline.tflite_file import TfliteModel, read_model
from tests.tiny_models import FLOAT32, INT8, INT32, Sketch

Op = schema.BuiltinOperator
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
SIDE = 8


class Net(Sketch):
    """Layer upon layer; every method takes and gives the index of a tensor."""

    def image(self, channels: int = 3, kind: int = FLOAT32) -> int:
        return self.tensor("image", (1, SIDE, SIDE, channels), kind, **_scales(kind))

    def pad(self, x: int, by: int = 1) -> int:
        _, height, width, channels = self.graph.tensors[x].shape
        amounts = np.array([[0, 0], [by, by], [by, by], [0, 0]], np.int32)
        constant = self.tensor("amounts", (4, 2), INT32, data=amounts)
        given = self._made((1, height + 2 * by, width + 2 * by, channels))
        self.operator(Op.PAD, [x, constant], [given])
        return given

    def conv(
        self, x: int, name: str, side: int = 1, stride: int = 1, padding: int = VALID,
        zeros: float = 0.0, encode: bool = False, channels: int = 12,
    ) -> int:  # fmt: skip
        taken = self.graph.tensors[x]
        weights = np.ones((channels, side, side, taken.shape[3]), np.float32)
        weights.flat[: round(zeros * weights.size)] = 0
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.dilationHFactor = options.dilationWFactor = 1
        kernel = self._kernel(name, weights, taken.type, encode)
        given = self._made((1, *_sizes(taken.shape, side, stride, padding), channels), taken.type)
        self.operator(Op.CONV_2D, [x, kernel], [given], (1, options))
        return given

    def depthwise(
        self, x: int, name: str, side: int = 3, stride: int = 1, padding: int = SAME
    ) -> int:
        taken = self.graph.tensors[x]
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
        weights = np.ones((1, side, side, taken.shape[3]), np.float32)
        kernel = self._kernel(name, weights, taken.type, encode=False)
        given = self._made((1, *_sizes(taken.shape, side, stride, padding), taken.shape[3]))
        self.operator(Op.DEPTHWISE_CONV_2D, [x, kernel], [given], (2, options))
        return given

    def apply(self, code: int, *taken: int) -> int:
        given = self._made(self.graph.tensors[taken[0]].shape)
        self.operator(code, list(taken), [given])
        return given

    def mean(self, x: int, axes: tuple[int, ...] = (1, 2)) -> int:
        constant = self.tensor("axes", (len(axes),), INT32, data=np.array(axes, np.int32))
        given = self._made((1, 1, 1, self.graph.tensors[x].shape[3]))
        self.operator(Op.MEAN, [x, constant], [given])
        return given

    def dense(self, x: int, name: str, rank: int = 2) -> int:
        channels = self.graph.tensors[x].shape[3]
        kernel = self._kernel(name, np.ones((2, channels), np.float32), FLOAT32, encode=False)
        given = self._made((*[1] * (rank - 1), 2))
        self.operator(Op.FULLY_CONNECTED, [x, kernel], [given])
        return given

    def constant(self, shape: tuple[int, ...]) -> int:
        return self.tensor("constant", shape, FLOAT32, data=np.ones(shape, np.float32))

    def _kernel(self, name: str, weights: np.ndarray, kind: int, encode: bool) -> int:
        label, stored = f"net/{name}/Conv2D", weights
        if kind == INT8:
            stored = weights.astype(np.int8)
        found = self.tensor(label, weights.shape, kind, data=stored, **_scales(kind))
        if not encode:
            return found
        whole = self.tensor(f"{label}_dense", weights.shape, kind)
        self.operator(Op.DENSIFY, [found], [whole])
        return whole

    def _made(self, shape: tuple[int, ...], kind: int = FLOAT32) -> int:
        return self.tensor(f"t{len(self.graph.tensors)}", shape, kind, **_scales(kind))


def _scales(kind: int) -> dict[str, list[float]]:
    return {"scales": [0.1], "zero_points": [0]} if kind == INT8 else {}


def _sizes(shape: list[int], side: int, stride: int, padding: int) -> tuple[int, int]:
    less = side - 1 if padding == VALID else 0
    height, width = (-(-(size - less) // stride) for size in shape[1:3])
    return height, width


def stem(net: Net, channels: int = 3) -> int:
    return net.conv(net.pad(net.image(channels)), "stem", side=3, stride=2)


Body = Callable[[Net], int]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Body], TfliteModel]:
    def written(body: Body) -> TfliteModel:
        net = Net()
        output = body(net)
        return read_model(net.write(tmp_path / "m.tflite", [0], [output]))

    return written


def plain(net: Net, zeros: float = 0.75, encode: bool = True) -> int:
    x = net.depthwise(stem(net), "d0")
    x = net.conv(x, "p0", zeros=zeros, encode=encode)
    return net.dense(net.mean(x), "logits")


def sparse(net: Net, x: int, name: str) -> int:
    return net.conv(x, name, zeros=0.8, encode=True)


def test_a_mobile_network_uses_its_zeros(read: Callable[[Body], TfliteModel]) -> None:
    model = read(plain)
    assert model.number_format is NumberFormat.FLOAT32_SPARSE
    assert model.encoded == {"p0"}
    assert model.sparsity_by_layer["p0"] == 0.75
    assert sparse_path(model).as_json() == {
        "used": True,
        "layers": {"stem": NO_KERNEL, "d0": NO_KERNEL, "p0": USED, "logits": NO_KERNEL},
        "breaks": None,
    }


@pytest.mark.parametrize(("zeros", "used"), [(96, False), (97, True)])
def test_more_than_two_thirds_of_the_pointwise_weights(
    read: Callable[[Body], TfliteModel], zeros: int, used: bool
) -> None:
    path = sparse_path(read(lambda net: plain(net, zeros=zeros / 144)))
    assert path.used is used
    if not used:
        assert path.layers["p0"] == "of its part's 1x1 weights 66.7% are zero, not more than 2/3"


def test_zeros_that_are_stored_are_not_looked_for(read: Callable[[Body], TfliteModel]) -> None:
    model = read(lambda net: plain(net, encode=False))
    assert model.number_format is NumberFormat.FLOAT32
    assert set(sparse_path(model).layers.values()) == {NOT_ENCODED}


def test_integers_have_no_sparse_kernels(read: Callable[[Body], TfliteModel]) -> None:
    path = sparse_path(read(lambda net: net.conv(net.image(kind=INT8), "p", zeros=0.75)))
    assert path.as_json() == {"used": False, "layers": {"p": NOT_FLOAT}, "breaks": None}


def grey(net: Net) -> int:
    return net.mean(sparse(net, stem(net, channels=1), "p"))


def same_stem(net: Net) -> int:
    x = net.conv(net.image(), "stem", side=3, stride=2, padding=SAME)
    return net.mean(sparse(net, x, "p"))


def stride_one_stem(net: Net) -> int:
    x = net.conv(net.pad(net.image()), "stem", side=3)
    return net.mean(sparse(net, x, "p"))


def same_depthwise(net: Net) -> int:
    x = net.depthwise(stem(net), "d", stride=2)
    return net.mean(sparse(net, x, "p"))


def seven(net: Net) -> int:
    return net.mean(sparse(net, net.depthwise(stem(net), "d", side=7), "p"))


def padding_taken_twice(net: Net) -> int:
    padded = net.pad(stem(net))
    x = net.depthwise(padded, "d", stride=2, padding=VALID)
    net.apply(Op.ABS, padded)
    return net.mean(sparse(net, x, "p"))


def prelu(net: Net) -> int:
    x = net.apply(Op.PRELU, stem(net), net.constant((12,)))
    return net.mean(sparse(net, x, "p"))


def no_mean(net: Net) -> int:
    return sparse(net, stem(net), "p")


def mean_over_channels(net: Net) -> int:
    return net.mean(sparse(net, stem(net), "p"), axes=(3,))


def taken_outside(net: Net) -> int:
    x = stem(net)
    y = sparse(net, x, "p")
    net.apply(Op.MAX_POOL_2D, x)
    return net.mean(y)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (grey, "behind stem (CONV_2D): it takes 1 channel(s), not 3"),
        (same_stem, "behind stem (CONV_2D): it is not padded by 1 on every side, but 'same'"),
        (
            stride_one_stem,
            "behind stem (CONV_2D): a 3x3 convolution of stride 1 is not 3x3 of stride 2",
        ),
        (
            same_depthwise,
            "behind d (DEPTHWISE_CONV_2D): it is not padded by 1 on every side, but 'same'",
        ),
        (
            seven,
            "behind d (DEPTHWISE_CONV_2D): a 7x7 depthwise convolution is not 3x3 or 5x5",
        ),
        (
            padding_taken_twice,
            "behind d (DEPTHWISE_CONV_2D): it is not padded by 1 on every side",
        ),
        (prelu, "behind PRELU: PRELU cannot be computed channel by channel"),
        (no_mean, NO_END),
        (mean_over_channels, NO_END),
        (taken_outside, "what stem (CONV_2D) gives is also taken outside"),
    ],
)  # fmt: skip
def test_why_zeros_are_not_used(
    read: Callable[[Body], TfliteModel], body: Body, reason: str
) -> None:
    path = sparse_path(read(body))
    assert (path.used, path.breaks, path.layers["p"]) == (False, None, reason)


def residual(net: Net) -> int:
    x = stem(net)
    y = net.depthwise(net.pad(sparse(net, x, "p"), 2), "d", side=5, padding=VALID)
    return net.mean(net.apply(Op.ADD, net.apply(Op.HARD_SWISH, x), y))


def squeezed(net: Net) -> int:
    x = sparse(net, stem(net), "p")
    weight = net.apply(Op.LOGISTIC, sparse(net, net.mean(x), "se"))
    return net.mean(net.apply(Op.MUL, x, weight))


@pytest.mark.parametrize("body", [residual, squeezed])
def test_branches_inside_are_no_obstacle(read: Callable[[Body], TfliteModel], body: Body) -> None:
    path = sparse_path(read(body))
    assert (path.layers["p"], path.breaks) == (USED, None)


def pointwise_head(net: Net) -> int:
    return sparse(net, net.mean(sparse(net, stem(net), "p")), "end")


def dense_head_of_images(net: Net) -> int:
    return net.dense(net.mean(sparse(net, stem(net), "p")), "end", rank=4)


def pooled(net: Net) -> int:
    x = net.depthwise(sparse(net, stem(net), "p"), "end")
    return net.mean(net.depthwise(net.apply(Op.MAX_POOL_2D, x), "d"))


def shifted(net: Net) -> int:
    x = net.depthwise(sparse(net, stem(net), "p"), "end")
    return net.mean(net.depthwise(net.apply(Op.ADD, x, net.constant((12,))), "d"))


@pytest.mark.parametrize("body", [pointwise_head, dense_head_of_images, pooled, shifted])
def test_what_arm_would_compute_wrongly_is_told(
    read: Callable[[Body], TfliteModel], body: Body
) -> None:
    """Each was seen to give wrong numbers, or none, in LiteRT 2.3.0 on arm64."""
    path = sparse_path(read(body))
    assert path.layers["p"] == USED
    assert path.breaks is not None
    assert path.breaks.startswith("the sparse part ends in end (")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_odd_graphs_raise_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """Any operator may take any tensors, in any number."""
    net = Net()
    plain(net)
    last = len(net.graph.tensors) - 1
    for operator in net.graph.operators:
        if data.draw(st.booleans()):
            indices = st.integers(-1, last)
            operator.inputs = data.draw(st.lists(indices, max_size=3))
            operator.outputs = data.draw(st.lists(st.integers(0, last), max_size=2))
    path = net.write(tmp_path / "m.tflite", [0], [last])
    try:
        model = read_model(path)
    except BadModelFile:
        return
    found = sparse_path(model)
    assert set(found.layers) == set(model.layers)
