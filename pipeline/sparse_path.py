"""Whether the zeros of a TFLite file are skipped when it runs, layer by layer; pure.

XNNPACK, the CPU engine of LiteRT, multiplies by sparse weights only on Arm processors, in float,
when some of the weights are sparse-encoded, and only inside a part of the network that

- begins with a 3x3 convolution of stride 2 on 3 channels, padded by 1 on every side,
- holds nothing but 1x1 convolutions, 3x3 and 5x5 depthwise convolutions padded alike on all sides,
  ADD, MUL and functions of single values,
- ends in means over height and width, and
- has more than 2/3 zeros over all its 1x1 convolutions.

A file that lets engines compute in float16 (reduced_precision_support) is computed by dense kernels
on processors that can; float16_sparse therefore does not.

Between beginning and end the engine keeps images channel by channel. LiteRT 2.3.0 does not check
that such a part ends where the order is changed back: with anything but a mean there, it computes
wrong numbers without a word, or refuses to run. Only an Arm processor shows that.

Source: xnn_subgraph_rewrite_for_nchw() in XNNPACK's src/subgraph.c, checked by instruction counts
and answers of LiteRT 2.3.0 on an emulated arm64 phone (tests/benchmarks/sparse_kernels.py).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline.tflite_file import Operator, TfliteModel

USED: Final = "used"
NOT_FLOAT: Final = "sparse kernels exist for float weights only"
NOT_ENCODED: Final = "its zeros are stored like other weights, so no engine looks for them"
NO_KERNEL: Final = "only 1x1 convolutions have sparse kernels"
NO_END: Final = "no mean over height and width ends its part of the network"

_FLOATS: Final = ("float16", "float32")
# Functions of single values.
_UNARY: Final = frozenset({
    "ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG",
    "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE",
    "TANH",
})  # fmt: skip
_IMAGE_RANK: Final = 4
# What following a graph that makes no sense raises.
_ODD: Final = (LookupError, ArithmeticError, ValueError, TypeError, AttributeError)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SparsePath:
    """What becomes of a file's zeros on an Arm processor.

    Attributes:
        used: whether any are skipped.
        layers: for each layer that multiplies, ``"used"`` or why not.
        breaks: why LiteRT 2.3.0 does not compute this file rightly on Arm; None: it does.
    """

    used: bool
    layers: dict[str, str] = field(default_factory=dict)
    breaks: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def sparse_path(model: TfliteModel) -> SparsePath:
    """Tell for each layer whether engines will skip its zeros; never raises."""
    try:
        return _Graph(model).judged()
    except _ODD as exc:
        reason = f"the graph cannot be followed ({type(exc).__name__}: {exc})"
        return SparsePath(used=False, layers=dict.fromkeys(model.sparsity_by_layer, reason))


class _Role(Enum):
    """What an operator may be in a part that is computed channel by channel."""

    BEGIN = auto()
    INSIDE = auto()
    INSIDE_OR_END = auto()
    END = auto()
    OUTSIDE = auto()


_JOINABLE: Final = (_Role.BEGIN, _Role.INSIDE, _Role.INSIDE_OR_END)
_MEMBERS: Final = (_Role.INSIDE, _Role.INSIDE_OR_END, _Role.END)
_ENDS: Final = (_Role.INSIDE_OR_END, _Role.END)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """An operator as the engine sees it: constants unpacked, padding drawn in."""

    operator: Operator
    inputs: tuple[int, ...]  # computed ones only
    role: _Role
    why: str = ""  # it is OUTSIDE


@final
class _Graph:
    """One model's operators, and the parts of them that may be computed channel by channel."""

    def __init__(self, model: TfliteModel) -> None:
        self._model = model
        self._names = {op.outputs[0]: name for name, op in model.layers.items()}
        self._takers = Counter(i for op in model.operators for i in op.inputs)
        self._pads = {op.outputs[0]: op for op in model.operators if self._is_drawn_in(op)}
        self._nodes = tuple(self._seen())
        self._made_by = {o: n for n, node in enumerate(self._nodes) for o in node.operator.outputs}
        self._leader = list(range(len(self._nodes)))
        self._barred: dict[int, str] = {}  # nodes that cannot be in a part, with the reason
        for number in range(len(self._nodes)):
            self._join(number)

    def judged(self) -> SparsePath:
        """What becomes of each layer's zeros."""
        layers = {name: self._judge(name, op) for name, op in self._model.layers.items()}
        used = USED in layers.values()
        return SparsePath(used=used, layers=layers, breaks=self._broken() if used else None)

    def _judge(self, name: str, operator: Operator) -> str:
        model = self._model
        if model.weights[name].dtype not in _FLOATS or not self._is_float(operator):
            return NOT_FLOAT
        if not model.encoded:
            return NOT_ENCODED
        number = self._made_by[operator.outputs[0]]
        if not self._is_pointwise(operator):
            return NO_KERNEL
        node, leader = self._nodes[number], self._find(number)
        if node.role is _Role.OUTSIDE:
            return node.why
        return self._barred.get(number) or self._refused.get(leader) or USED

    @cached_property
    def _refused(self) -> dict[int, str]:
        """The parts that are not computed channel by channel, by leader, with the reason."""
        reasons: dict[int, str] = {}
        for number, reason in self._barred.items():
            reasons.setdefault(self._find(number), reason)
        for leader, reason in self._shared(reasons):
            reasons.setdefault(leader, reason)
        for leader in {self._find(number) for number in range(len(self._nodes))} - set(reasons):
            zeros, weights = self._counted(leader)
            if not self._has_end:
                reasons[leader] = NO_END
            elif 3 * zeros <= 2 * weights:
                share = f"{zeros / weights:.1%}" if weights else "none"
                reasons[leader] = f"of its part's 1x1 weights {share} are zero, not more than 2/3"
        return reasons

    @property
    def _has_end(self) -> bool:
        """The engine asks this of the whole graph, not of each part."""
        return any(
            node.role in _ENDS and any(
                t in self._made_by and self._nodes[self._made_by[t]].role in _JOINABLE
                for t in node.inputs
            ) for node in self._nodes
        )  # fmt: skip

    def _shared(self, reasons: dict[int, str]) -> Iterator[tuple[int, str]]:
        """Parts one of whose tensors is also taken by an operator that stays outside."""
        everyone = Counter(t for node in self._nodes for t in node.inputs)
        everyone.update(self._model.outputs)
        members = [
            (number, node) for number, node in enumerate(self._nodes)
            if node.role in _MEMBERS and self._find(number) not in reasons
        ]  # fmt: skip
        inside = Counter(t for _, node in members for t in node.inputs)
        for number, node in members:
            for tensor in node.inputs:
                if inside[tensor] != everyone[tensor]:
                    taken = f"what {self._label(self._made_by[tensor])} gives is also taken outside"
                    yield self._find(number), taken

    def _counted(self, leader: int) -> tuple[int, int]:
        """Zeros and weights of a part's 1x1 convolutions."""
        found = [
            self._model.stored(node.operator.inputs[1])
            for number, node in enumerate(self._nodes)
            if self._find(number) == leader and self._is_pointwise(node.operator)
        ]
        weights = [tensor for tensor in found if tensor is not None]
        return sum(t.zeros for t in weights), sum(t.elements for t in weights)

    def _broken(self) -> str | None:
        """Where a part that is used ends without a mean, if anywhere."""
        used = {
            number: node for number, node in enumerate(self._nodes)
            if self._find(number) not in self._refused and number not in self._barred
        }  # fmt: skip
        taken = {t for node in used.values() if node.role in _MEMBERS for t in node.inputs}
        for number, node in used.items():
            ends = node.role not in _ENDS and taken.isdisjoint(node.operator.outputs)
            if ends and node.role in _JOINABLE:
                return (
                    f"the sparse part ends in {self._label(number)}; LiteRT up to 2.3.0 computes "
                    "that wrongly on Arm, or not at all, unless a mean over height and width is "
                    "the end"
                )
        return None

    def _join(self, number: int) -> None:
        """Make a node one part with those it takes from, or say why it can be in none."""
        node = self._nodes[number]
        for tensor in node.inputs if node.role in _MEMBERS else ():
            maker = self._made_by.get(tensor, number)
            if maker == number:
                self._barred.setdefault(number, "it takes the model's input itself")
            elif self._nodes[maker].role not in _JOINABLE:
                why = self._nodes[maker].why or "it ends a part"
                self._barred.setdefault(number, f"behind {self._label(maker)}: {why}")
            elif maker in self._barred:
                self._barred.setdefault(number, self._barred[maker])
            else:
                self._leader[self._find(maker)] = self._find(number)

    def _find(self, number: int) -> int:
        while self._leader[number] != number:
            number = self._leader[number]
        return number

    def _label(self, number: int) -> str:
        operator = self._nodes[number].operator
        layer = self._names.get(operator.outputs[0])
        return operator.name if layer is None else f"{layer} ({operator.name})"

    def _seen(self) -> Iterator[_Node]:
        for operator in self._model.operators:
            output = operator.outputs[0]
            if output in self._pads or self._model.stored(output) is not None:
                continue
            role, why = self._role(operator)
            inputs = tuple(self._computed(operator))
            yield _Node(operator=operator, inputs=inputs, role=role, why=why)

    def _computed(self, operator: Operator) -> Iterator[int]:
        """The inputs that are no constants, those of drawn-in padding in their stead."""
        for index in operator.inputs:
            if index >= 0 and self._model.stored(index) is None:
                yield self._pads[index].inputs[0] if index in self._pads else index

    def _role(self, operator: Operator) -> tuple[_Role, str]:
        if not self._is_float(operator):
            return _Role.OUTSIDE, NOT_FLOAT
        match operator.name:
            case "CONV_2D":
                return self._of_convolution(operator)
            case "DEPTHWISE_CONV_2D":
                return self._of_depthwise(operator)
            case "FULLY_CONNECTED" if self._is_pointwise(operator):
                return _Role.INSIDE, ""
            case "ADD" | "MUL":
                images = all(len(self._shape(i)) == _IMAGE_RANK for i in operator.inputs)
                why = f"{operator.name} of something that is no image"
                return (_Role.INSIDE, "") if images else (_Role.OUTSIDE, why)
            case "MEAN" | "SUM" if self._is_over_pixels(operator):
                return _Role.INSIDE_OR_END, ""
            case "DEPTH_TO_SPACE":
                return _Role.END, ""
            case name if name in _UNARY and len(self._shape(operator.inputs[0])) == _IMAGE_RANK:
                return _Role.INSIDE, ""
            case name:
                return _Role.OUTSIDE, f"{name} cannot be computed channel by channel"

    def _of_convolution(self, operator: Operator) -> tuple[_Role, str]:
        (_, height, width, channels), options = self._shape(operator.inputs[1]), operator.options
        stride, padding = (options.strideH, options.strideW), self._padding(operator)
        if max(options.dilationHFactor, options.dilationWFactor) > 1:
            return _Role.OUTSIDE, "it is dilated"
        if channels != self._shape(operator.inputs[0])[-1]:
            return _Role.OUTSIDE, "it works in groups of channels"
        if (height, width) == (1, 1):
            plain = stride == (1, 1) and padding == 0
            return (_Role.INSIDE, "") if plain else (_Role.OUTSIDE, "1x1 with stride or padding")
        if (height, width) != (3, 3) or stride != (2, 2):
            why = f"a {height}x{width} convolution of stride {stride[0]} is not 3x3 of stride 2"
            return _Role.OUTSIDE, why
        if padding != 1:
            return _Role.OUTSIDE, self._unpadded(operator, 1)
        if channels != 3:
            return _Role.OUTSIDE, f"it takes {channels} channel(s), not 3"
        return _Role.BEGIN, ""

    def _of_depthwise(self, operator: Operator) -> tuple[_Role, str]:
        (_, height, width, channels), options = self._shape(operator.inputs[1]), operator.options
        if max(options.dilationHFactor, options.dilationWFactor) > 1:
            return _Role.OUTSIDE, "it is dilated"
        if channels != self._shape(operator.inputs[0])[-1]:
            return _Role.OUTSIDE, "it makes several channels of one"
        if height != width or height not in (3, 5):
            return _Role.OUTSIDE, f"a {height}x{width} depthwise convolution is not 3x3 or 5x5"
        if options.strideH != options.strideW or options.strideH not in (1, 2):
            return _Role.OUTSIDE, f"stride {options.strideH} is neither 1 nor 2"
        if self._padding(operator) != height // 2:
            return _Role.OUTSIDE, self._unpadded(operator, height // 2)
        return _Role.INSIDE, ""

    def _unpadded(self, operator: Operator, around: int) -> str:
        why = f"it is not padded by {around} on every side"
        if operator.options.padding != schema.Padding.SAME:
            return why
        # Here 'same' would add as much, and converters write it in place of explicit padding;
        # engines go by the word.
        odd = all(size % 2 for size in self._shape(operator.inputs[0])[1:3])
        return f"{why}, but 'same'" + (" (as any padding of an odd size becomes)" if odd else "")

    def _padding(self, operator: Operator) -> int | None:
        """Pixels added on every side of a convolution's input; None: not alike on every side."""
        side, options = self._shape(operator.inputs[1])[1], operator.options
        drawn_in = self._pads.get(operator.inputs[0])
        if drawn_in is not None:
            return int(self._amounts(drawn_in)[1][0])
        if options.padding == schema.Padding.VALID or side == 1:
            return 0
        return side // 2 if side % 2 and max(options.strideH, options.strideW) == 1 else None

    def _is_drawn_in(self, operator: Operator) -> bool:
        """Whether a PAD is no operator of its own but the padding of the one convolution behind."""
        if operator.name != "PAD" or self._takers[operator.outputs[0]] != 1:
            return False
        behind = next(op for op in self._model.operators if operator.outputs[0] in op.inputs)
        if behind.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return False
        amounts = self._amounts(operator)
        alike = len(set(amounts[1:3].flat)) == 1 and not amounts[[0, 3]].any()
        return alike and bool(behind.options.padding == schema.Padding.VALID)

    def _amounts(self, operator: Operator) -> Any:
        """Of a PAD: int[4, 2], before and behind each axis."""
        amounts = self._model.stored(operator.inputs[1])
        assert amounts is not None
        return np.asarray(amounts.constant).reshape(_IMAGE_RANK, 2)

    def _is_over_pixels(self, operator: Operator) -> bool:
        axes = self._model.stored(operator.inputs[1])
        if axes is None or len(self._shape(operator.inputs[0])) != _IMAGE_RANK:
            return False
        return {int(axis) % _IMAGE_RANK for axis in np.asarray(axes.constant).flat} == {1, 2}

    def _is_pointwise(self, operator: Operator) -> bool:
        """Whether the engine multiplies each pixel's channels alone."""
        if operator.name == "FULLY_CONNECTED":
            return len(self._shape(operator.outputs[0])) == _IMAGE_RANK
        return operator.name == "CONV_2D" and self._shape(operator.inputs[1])[1:3] == (1, 1)

    def _is_float(self, operator: Operator) -> bool:
        data = (*operator.inputs[:1], *operator.outputs)
        return all(self._model.tensors[i].dtype in _FLOATS for i in data)

    def _shape(self, index: int) -> tuple[int, ...]:
        return self._model.tensors[index].shape
