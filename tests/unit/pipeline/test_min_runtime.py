from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline.min_runtime import engine_too_old, numbers, stated, version_needed
from pipeline.tflite_file import read_model
from tests.tiny_models import INT8, Sketch, float_convolution, int8_convolution


def test_versions_follow_the_types(tmp_path: Path) -> None:
    path = int8_convolution(tmp_path / "model.tflite")
    assert read_model(path).operator_counts == {"CONV_2D v1": 1}
    found = stated(path.read_bytes())
    path.write_bytes(found.content)
    assert read_model(path).operator_counts == {"CONV_2D v3": 1}
    assert (found.release, found.unknown) == ("1.14.0", ())
    assert found.facts == {"release": "1.14.0"}
    assert stated(found.content).content == found.content


def test_float_needs_nothing_and_keeps_its_weights(tmp_path: Path) -> None:
    path = float_convolution(tmp_path / "model.tflite")
    before = read_model(path)
    found = stated(path.read_bytes())
    path.write_bytes(found.content)
    after = read_model(path)
    assert found.release == "1.5.0"
    assert after.operator_counts == before.operator_counts == {"CONV_2D v1": 1}
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert (old.constant is None) == (new.constant is None)
        assert old.constant is None or (old.constant == new.constant).all()


def test_weights_lie_where_simd_reads_them(tmp_path: Path) -> None:
    content = stated(float_convolution(tmp_path / "model.tflite").read_bytes()).content
    model = schema.Model.GetRootAs(content, 0)
    starts = [
        buffer._tab.Vector(buffer._tab.Offset(4))
        for buffer in map(model.Buffers, range(model.BuffersLength())) if buffer.DataLength()
    ]  # fmt: skip
    assert len(starts) == 2
    assert [start % 16 for start in starts] == [0, 0]


def test_weights_behind_the_flatbuffer_come_inside(tmp_path: Path) -> None:
    """As ai-edge-quantizer writes files with more than 256 KiB of them."""
    path = float_convolution(tmp_path / "model.tflite")
    expected = read_model(path).tensors[1].constant
    assert expected is not None
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    kernel = model.buffers[model.subgraphs[0].tensors[1].buffer]
    kernel.data, kernel.offset, kernel.size = None, 1, 1
    size = len(packed(model))
    kernel.offset, kernel.size = size + -size % 16, expected.nbytes
    content = packed(model).ljust(kernel.offset, b"\0") + expected.tobytes()
    path.write_bytes(stated(content).content)
    assert (read_model(path).tensors[1].constant == expected).all()
    assert len(path.read_bytes()) > expected.nbytes


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_stale_release_is_overwritten(tmp_path: Path) -> None:
    path = int8_convolution(tmp_path / "model.tflite")
    path.write_bytes(with_release(path, "1.5.0"))
    assert read_model(path).min_runtime == "1.5.0"
    path.write_bytes(stated(path.read_bytes()).content)
    assert read_model(path).min_runtime == "1.14.0"
    path.write_bytes(with_release(path, "2.9.0"))
    assert stated(path.read_bytes()).release == "2.9.0"


def with_release(path: Path, release: str) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = "min_runtime_version", len(model.buffers)
    buffer.data = np.frombuffer(release.encode().ljust(16, b"\0"), np.uint8)
    model.metadata, model.buffers = [entry], [*model.buffers, buffer]
    return packed(model)


def test_what_is_not_known_is_not_stated(tmp_path: Path) -> None:
    sketch = Sketch()
    x, y = (sketch.tensor(n, (1, 8), INT8, scales=[0.1], zero_points=[0]) for n in ("x", "y"))
    sketch.operator(schema.BuiltinOperator.ATAN2, [x, x], [y])
    path = sketch.write(tmp_path / "model.tflite", [x], [y])
    path.write_bytes(with_release(path, "1.5.0"))
    found = stated(path.read_bytes())
    assert found.facts == {"release": None, "reason": "not known of ATAN2 (INT8)"}
    path.write_bytes(found.content)
    assert read_model(path).min_runtime is None


@pytest.mark.parametrize(
    ("kind", "dtype", "per_channel", "needed"),
    [
        ("CONV_2D", "HYBRID", True, (5, "2.4.0")),
        ("CONV_2D", "HYBRID", False, (2, "1.14.0")),
        ("FULLY_CONNECTED", "HYBRID", True, (12, "2.17.0")),
        ("DEPTHWISE_CONV_2D", "INT8", True, (3, "1.14.0")),
        ("DEQUANTIZE", "INT8", True, (5, "2.7.0")),
        ("DEQUANTIZE", "INT4", True, (6, "2.18.0")),
        ("QUANTIZE", "INT8", False, (1, "1.14.0")),
        ("GELU", "FLOAT32", False, (1, "1.5.0")),
        ("GELU", "INT8", False, None),
        ("TRANSPOSE_CONV", "HYBRID", True, None),
    ],
)
def test_versions(kind: str, dtype: str, per_channel: bool, needed: tuple[int, str] | None) -> None:
    assert version_needed(kind, dtype, per_channel=per_channel) == needed


@pytest.mark.parametrize(
    ("release", "package", "version", "too_old"),
    [
        ("2.17.0", "tflite-runtime", "2.14.0", True),
        ("2.7.0", "tflite-runtime", "2.14.0", False),
        ("1.14.0", "tensorflow", "2.21.0", False),
        ("2.14.4", "tflite-runtime", "2.14.0", True),
        ("2.17.0", "ai-edge-litert", "2.3.0", None),
        (None, "tflite-runtime", "2.14.0", None),
    ],
)
def test_engines_are_compared_where_their_numbers_can_be(
    release: str | None, package: str, version: str, too_old: bool | None
) -> None:
    assert engine_too_old(release, package, version) is too_old


def test_numbers_end_where_digits_do() -> None:
    assert numbers("2.14.0rc1") == (2, 14)
    assert numbers("1.14.0") == (1, 14, 0)
