"""Which TensorFlow Lite release an engine must be of to run a file, and saying so in the file.

An operator's version grows with what it must be able to do, and an engine refuses versions it
does not know. TensorFlow's converter writes them; ai-edge-quantizer changes the types operators
work on, but leaves the versions (and the release in the metadata) as they were: an engine that is
too old then loads the file and may compute nonsense. ``stated`` sets both right.

Source of versions and releases: op_version.cc and runtime_version.cc in
tensorflow/compiler/mlir/lite/tools/versioning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER: Final = b"TFL3"
_METADATA: Final = "min_runtime_version"
_METADATA_BYTES: Final = 16
# Engines map files into memory and read weights where they lie.
_ALIGNMENT: Final = 16
# Engines that are numbered as TensorFlow is; LiteRT is not, and counts from 1 again.
_TENSORFLOW_NUMBERS: Final = frozenset({"tensorflow", "tflite-runtime"})

_OPERATORS: Final = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_TYPES: Final = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_DATA_INPUT: Final = {"SPLIT": 1, "TRANSPOSE_CONV": 2}  # of others: the first
_WEIGHTED: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})

# Version and release of an operator that takes int8.
_INT8: Final[Mapping[str, tuple[int, str]]] = {
    "ADD": (2, "1.14.0"), "AVERAGE_POOL_2D": (2, "1.14.0"), "BATCH_MATMUL": (2, "2.3.0"),
    "CONCATENATION": (2, "1.14.0"), "CONV_2D": (3, "1.14.0"), "DEPTHWISE_CONV_2D": (3, "1.14.0"),
    "FULLY_CONNECTED": (4, "1.14.0"), "HARD_SWISH": (1, "1.15.0"), "LOGISTIC": (2, "1.14.0"),
    "MAXIMUM": (2, "1.14.0"), "MAX_POOL_2D": (2, "1.14.0"), "MEAN": (2, "1.14.0"),
    "MINIMUM": (2, "1.14.0"), "MIRROR_PAD": (2, "2.3.0"),
    "MUL": (3, "1.15.0"),  # 2 would do where the product is scaled down
    "PACK": (2, "1.14.0"), "PAD": (2, "1.14.0"), "PADV2": (2, "1.14.0"),
    "REDUCE_MIN": (2, "1.14.0"), "RELU": (2, "2.1.0"), "RELU6": (2, "1.14.0"),
    "RESHAPE": (1, "1.5.0"), "RESIZE_BILINEAR": (2, "1.14.0"),
    "RESIZE_NEAREST_NEIGHBOR": (2, "1.14.0"), "RSQRT": (2, "2.5.0"), "SLICE": (2, "1.14.0"),
    "SOFTMAX": (2, "1.14.0"), "SPLIT": (2, "1.14.0"), "STRIDED_SLICE": (2, "1.14.0"),
    "SUB": (2, "1.14.0"), "TANH": (2, "1.14.0"), "TRANSPOSE": (2, "1.14.0"),
    "TRANSPOSE_CONV": (2, "2.2.0"), "UNPACK": (2, "1.14.0"),
}  # fmt: skip
# The same of one that takes float and has int8 weights: one scale for all, one per channel.
_HYBRID: Final[Mapping[str, tuple[tuple[int, str], tuple[int, str]]]] = {
    "CONV_2D": ((2, "1.14.0"), (5, "2.4.0")),
    "DEPTHWISE_CONV_2D": ((4, "2.2.0"), (6, "2.3.0")),
    "FULLY_CONNECTED": ((3, "1.14.0"), (12, "2.17.0")),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A file whose operators say what they need.

    Attributes:
        content: the flatbuffer, all weights inside.
        release: the first that runs it; None when it is not known.
        unknown: operators of which it is not known, with the type they take.
    """

    content: bytes
    release: str | None
    unknown: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        if self.release is not None:
            return {"release": self.release}
        return {"release": None, "reason": f"not known of {', '.join(self.unknown)}"}


def stated(content: bytes) -> Stated:
    """Write the versions that the operators' types need, and the release that follows."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    releases: list[str | None] = [_release_of(model)]
    unknown: set[str] = set()
    for code, kind, dtype, per_channel in _operators(model):
        needed = version_needed(kind, dtype, per_channel=per_channel)
        if needed is None:
            unknown.add(f"{kind} ({dtype})")
            continue
        code.version = max(int(code.version), needed[0])
        releases.append(needed[1])
    release = None if unknown else max(filter(None, releases), key=numbers, default=None)
    _state(model, release)
    return Stated(content=_packed(model, content), release=release, unknown=tuple(sorted(unknown)))


def version_needed(kind: str, dtype: str, *, per_channel: bool) -> tuple[int, str] | None:
    """Version and release an operator needs for its types; None when it is not known.

    Args:
        kind: the operator, as schema.fbs names it.
        dtype: what decides: FLOAT32, INT8, or for int8 weights under float data HYBRID.
        per_channel: whether weights have one scale per channel.
    """
    match kind, dtype:
        case _, "FLOAT32":
            return 1, "1.5.0"
        case "QUANTIZE", _:
            return (3, "2.7.0") if per_channel else (1, "1.14.0")
        case "DEQUANTIZE", "FLOAT16":
            return 3, "1.15.0"
        case "DEQUANTIZE", "INT4":
            return 6, "2.18.0"
        case "DEQUANTIZE", "INT8":
            return (5, "2.7.0") if per_channel else (2, "1.14.0")
        case _, "HYBRID" if kind in _HYBRID:
            return _HYBRID[kind][per_channel]
        case _, "INT8":
            return _INT8.get(kind)
        case _:
            return None


def engine_too_old(release: str | None, package: str, version: str) -> bool | None:
    """Whether an engine is older than the release a file needs.

    Args:
        release: as the file states it, a TensorFlow release.
        package: of the engine.
        version: of the engine.

    Returns:
        None when that cannot be told: the file states nothing, or the engine is not numbered as
        TensorFlow is. LiteRT is not (2.3 is newer than TensorFlow Lite 2.17), and its builds for
        phones have lagged behind in what they know; only loading the file tells.
    """
    if release is None or package not in _TENSORFLOW_NUMBERS:
        return None
    return numbers(version) < numbers(release)


def numbers(version: str) -> tuple[int, ...]:
    """``1.14.0`` as (1, 14, 0); what is no number ends it."""
    found: list[int] = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)


def _operators(model: Any) -> Iterator[tuple[Any, str, str, bool]]:
    """Operator code, operator, deciding type, and whether scales are per channel."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = _OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
            deciding = graph.tensors[operator.inputs[_DATA_INPUT.get(kind, 0)]]
            dtype = _TYPES[deciding.type]
            if kind in _WEIGHTED:
                deciding = graph.tensors[operator.inputs[1]]
                low = dtype == "FLOAT32" and _TYPES[deciding.type] != "FLOAT32"
                dtype = "HYBRID" if low else dtype
            elif kind == "QUANTIZE":
                deciding = graph.tensors[operator.outputs[0]]
            scales = deciding.quantization and deciding.quantization.scale
            yield code, kind, dtype, scales is not None and len(scales) > 1


def _release_of(model: Any) -> str | None:
    buffer = _metadata_buffer(model)
    if buffer is None or buffer.data is None:
        return None
    return bytes(bytearray(buffer.data)).rstrip(b"\0").decode("ascii", errors="replace") or None


def _metadata_buffer(model: Any) -> Any:
    for entry in model.metadata or ():
        if entry.name in (_METADATA, _METADATA.encode()):
            return model.buffers[entry.buffer]
    return None


def _state(model: Any, release: str | None) -> None:
    buffer = _metadata_buffer(model)
    if buffer is not None:
        text = (release or "").encode().ljust(_METADATA_BYTES, b"\0")
        buffer.data = np.frombuffer(text, np.uint8)


class _Aligned(schema.BufferT):  # type: ignore[misc]  # generated code is untyped
    """A buffer whose bytes lie where SIMD instructions may read them."""

    def Pack(self, builder: Any) -> Any:
        data = None if self.data is None else np.asarray(self.data, np.uint8).tobytes()
        if data is not None:
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            where = builder.EndVector()
        schema.BufferStart(builder)
        if data is not None:
            schema.BufferAddData(builder, where)
        return schema.BufferEnd(builder)


def _packed(model: Any, content: bytes) -> bytes:
    """The flatbuffer; weights that lay behind it, where older engines do not look, are inside."""
    for index, buffer in enumerate(model.buffers):
        held = _Aligned()
        held.data = buffer.data
        if buffer.data is None and buffer.offset > 1:
            held.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        model.buffers[index] = held
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())
