"""Bounded check of a TFLite file: every offset it holds stays inside the file.

An engine on a phone trusts its file; a cut download then ends in a crash that looks like the
phone's fault. This walks the parts an engine reads and compares each offset in Python integers,
which cannot wrap around as the 32 and 64 bit sums of a C++ reader can.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs (field numbers), and "FlatBuffer
Internals" of the FlatBuffers documentation (tables, vtables, vectors).
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from pipeline.errors import BadModelFile

IDENTIFIER: Final = b"TFL3"
# The root offset and the identifier come first; no model is shorter.
SMALLEST_BYTES: Final = 8
SCHEMA_VERSION: Final = 3

# Bytes of one element by schema.fbs TensorType; types without a fixed size are left out.
_ITEM_BYTES: Final = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8, 12: 8, 15: 4, 16: 2}

_NAMED_STARTS: Final = (
    (b"PK\x03\x04", "a zip archive (unpack it, or it is a Keras .keras file)"),
    (b"\x89HDF", "an HDF5 file (a Keras .h5 model must be converted first)"),
    (b"\x1f\x8b", "a gzip file (unpack it first)"),
    (b"version https://git-lfs", "a Git LFS pointer (run: git lfs pull)"),
    (b"<", "text (an HTML page saved by a failed download?)"),
)


@final
@dataclass(frozen=True, slots=True)
class _Vector:
    """A vector of ``item_bytes`` each: numbers, or the bytes of a string."""

    item_bytes: int


@final
@dataclass(frozen=True, slots=True)
class _Tables:
    """A vector of tables (``many``), or one table, of the named kind."""

    kind: str
    many: bool = True


# Which fields hold offsets, per table: field number -> what it points at.
_SCHEMA: Final[dict[str, dict[int, _Vector | _Tables]]] = {
    "Model": {
        1: _Tables("OperatorCode"), 2: _Tables("SubGraph"), 3: _Vector(1), 4: _Tables("Buffer"),
        5: _Vector(4), 6: _Tables("Metadata"), 7: _Tables("SignatureDef"),
    },
    "OperatorCode": {1: _Vector(1)},
    "SubGraph": {
        0: _Tables("Tensor"), 1: _Vector(4), 2: _Vector(4), 3: _Tables("Operator"), 4: _Vector(1),
    },
    "Tensor": {
        0: _Vector(4), 3: _Vector(1), 4: _Tables("Quantization", many=False),
        6: _Tables("Sparsity", many=False), 7: _Vector(4),
    },
    "Quantization": {0: _Vector(4), 1: _Vector(4), 2: _Vector(4), 3: _Vector(8)},
    "Sparsity": {0: _Vector(4), 1: _Vector(4), 2: _Tables("Dimension")},
    "Dimension": {},
    "Operator": {
        1: _Vector(4), 2: _Vector(4), 4: _Tables("Options", many=False), 5: _Vector(1),
        7: _Vector(1), 8: _Vector(4),
    },
    "Options": {},
    "Buffer": {0: _Vector(1)},
    "Metadata": {0: _Vector(1)},
    "SignatureDef": {0: _Tables("TensorMap"), 1: _Tables("TensorMap"), 2: _Vector(1)},
    "TensorMap": {0: _Vector(1)},
}  # fmt: skip


def check_model_bytes(content: bytes, name: str) -> None:
    """Check that ``content`` is one whole TFLite model.

    Args:
        content: the file's bytes.
        name: what to call the file in an error.

    Raises:
        BadModelFile: empty, truncated, something else, or an offset leaves the file.
    """
    _check_start(content, name)
    reader = _Reader(content, name)
    model = reader.u32(0)
    if (version := reader.scalar(model, 0, "<I")) != SCHEMA_VERSION:
        raise BadModelFile(name, f"has schema version {version}; TFLite models have version 3")
    reader.check_table(model, "Model")
    _check_graph(reader, model)


def _check_start(content: bytes, name: str) -> None:
    if not content:
        raise BadModelFile(name, "is empty")
    for start, what in _NAMED_STARTS:
        if content.startswith(start):
            raise BadModelFile(name, f"is not a TFLite file but {what}")
    if len(content) < SMALLEST_BYTES:
        raise BadModelFile(name, f"is truncated: {len(content)} bytes")
    if content[4:8] != IDENTIFIER:
        raise BadModelFile(name, f"is not a TFLite file (identifier {content[4:8]!r}, not TFL3)")


@final
class _Reader:
    """Flatbuffer reads that refuse to leave the file."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name

    def within(self, start: int, count: int, what: str) -> None:
        if start < 0 or count < 0 or start + count > len(self.content):
            reason = f"{what} at byte {start} of {count} bytes leaves the {len(self.content)} bytes"
            raise BadModelFile(self.name, f"is truncated or damaged: {reason}")

    def number(self, start: int, form: str) -> int:
        self.within(start, struct.calcsize(form), "a number")
        value: int = struct.unpack_from(form, self.content, start)[0]
        return value

    def u32(self, start: int) -> int:
        return self.number(start, "<I")

    def field(self, table: int, index: int) -> int | None:
        """Where field ``index`` of the table lies, or None when the file leaves it out."""
        vtable = table - self.number(table, "<i")
        entry = 4 + 2 * index
        vtable_bytes = self.number(vtable, "<H")
        self.within(vtable, vtable_bytes, "a table's layout")
        offset = self.number(vtable + entry, "<H") if entry + 2 <= vtable_bytes else 0
        return table + offset if offset else None

    def scalar(self, table: int, index: int, form: str, default: int = 0) -> int:
        at = self.field(table, index)
        return default if at is None else self.number(at, form)

    def vector(self, table: int, index: int) -> tuple[int, int]:
        """First byte and length of a vector field; (0, 0) when the file leaves it out."""
        at = self.field(table, index)
        if at is None:
            return 0, 0
        start = at + self.u32(at)
        return start + 4, self.u32(start)

    def numbers(self, table: int, index: int, form: str) -> tuple[int, ...]:
        start, length = self.vector(table, index)
        self.within(start, length * struct.calcsize(form), "a list")
        return struct.unpack_from(f"<{length}{form[-1]}", self.content, start)

    def tables(self, table: int, index: int) -> Iterator[int]:
        start, length = self.vector(table, index)
        self.within(start, 4 * length, "a list of tables")
        for at in range(start, start + 4 * length, 4):
            yield at + self.u32(at)

    def check_table(self, table: int, kind: str) -> None:
        """Check a table and everything it points at; the schema has no cycles."""
        vtable = table - self.number(table, "<i")
        self.within(table, self.number(vtable + 2, "<H"), f"a {kind} table")
        for index, target in _SCHEMA[kind].items():
            match target:
                case _Vector(item_bytes):
                    start, length = self.vector(table, index)
                    self.within(start, length * item_bytes, f"{kind} field {index}")
                case _Tables(inner, many=True):
                    for entry in self.tables(table, index):
                        self.check_table(entry, inner)
                case _Tables(inner):
                    if (at := self.field(table, index)) is not None:
                        self.check_table(at + self.u32(at), inner)


def _check_graph(reader: _Reader, model: int) -> None:
    """Check the numbers by which the parts of a model refer to each other."""
    codes = sum(1 for _ in reader.tables(model, 1))
    subgraphs = tuple(reader.tables(model, 2))
    sizes = tuple(_buffer_bytes(reader, buffer) for buffer in reader.tables(model, 4))
    if not subgraphs:
        raise BadModelFile(reader.name, "holds no graph")
    for subgraph in subgraphs:
        tensors = tuple(reader.tables(subgraph, 0))
        for tensor in tensors:
            _check_tensor(reader, tensor, sizes)
        _check_operators(reader, subgraph, len(tensors), codes)


def _buffer_bytes(reader: _Reader, buffer: int) -> int:
    """Bytes of one buffer, which lies inside the flatbuffer or, for big models, behind it."""
    _, inside = reader.vector(buffer, 0)
    offset, size = reader.scalar(buffer, 1, "<Q"), reader.scalar(buffer, 2, "<Q")
    # Offsets 0 and 1 are schema.fbs's "no data outside".
    if offset > 1:
        reader.within(offset, size, "weights")
        return size
    return inside


def _check_tensor(reader: _Reader, tensor: int, sizes: tuple[int, ...]) -> None:
    buffer = reader.scalar(tensor, 2, "<I")
    if buffer >= len(sizes):
        raise BadModelFile(reader.name, f"is damaged: buffer {buffer} of {len(sizes)} buffers")
    shape = reader.numbers(tensor, 0, "<i")
    item_bytes = _ITEM_BYTES.get(reader.scalar(tensor, 1, "<b"))
    sparse = reader.field(tensor, 6) is not None
    if not sizes[buffer] or sparse or item_bytes is None:
        return
    if min(shape, default=0) < 0 or math.prod(shape) * item_bytes != sizes[buffer]:
        reason = f"a tensor of shape {shape} over {sizes[buffer]} bytes of weights"
        raise BadModelFile(reader.name, f"is damaged: {reason}")


def _check_operators(reader: _Reader, subgraph: int, tensors: int, codes: int) -> None:
    named = [*reader.numbers(subgraph, 1, "<i"), *reader.numbers(subgraph, 2, "<i")]
    for operator in reader.tables(subgraph, 3):
        if (code := reader.scalar(operator, 0, "<I")) >= codes:
            raise BadModelFile(reader.name, f"is damaged: operator code {code} of {codes}")
        named += [*reader.numbers(operator, 1, "<i"), *reader.numbers(operator, 2, "<i")]
    # -1 stands for an optional input that is not given.
    if named and not -1 <= min(named) <= max(named) < tensors:
        raise BadModelFile(reader.name, f"is damaged: an operator names a tensor beyond {tensors}")
