from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact import check_model_file
from pipeline.errors import BadModelFile
from pipeline.tflite_check import check_model_bytes

Pack = Callable[[Any], bytes]


def test_a_whole_model_passes(dense_model: Any, pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(pack(dense_model))
    check_model_file(path)


def test_every_truncation_is_refused(dense_model: Any, pack: Pack) -> None:
    content = pack(dense_model)
    for length in range(1, len(content)):
        with pytest.raises(BadModelFile, match=r"truncated|damaged|not a TFLite"):
            check_model_bytes(content[:length], "m")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"TFL", "is truncated: 3 bytes"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"PK\x03\x04 and so on", "zip"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x1c\x00\x00\x00ABCD" + bytes(64), "identifier b'ABCD'"),
    ],
)
def test_other_files_are_named(content: bytes, said: str) -> None:
    with pytest.raises(BadModelFile, match=said.replace("(", r"\(")):
        check_model_bytes(content, "m")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match="No such file"):
        check_model_file(tmp_path / "none.tflite")


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (2**64 - 8, 64),  # a 64 bit sum wraps to 56
        (2**32 + 8, 8),  # a 32 bit offset wraps to 8
        (8, 2**64 - 4),
        (10**6, 8),
    ],
)
def test_weights_outside_the_file_are_refused(
    dense_model: Any, pack: Pack, offset: int, size: int
) -> None:
    dense_model.buffers[1].data = None
    dense_model.buffers[1].offset, dense_model.buffers[1].size = offset, size
    with pytest.raises(BadModelFile, match="weights at byte"):
        check_model_bytes(pack(dense_model), "m")


def test_weights_behind_the_graph_are_accepted(dense_model: Any, pack: Pack) -> None:
    weights = bytes(dense_model.buffers[1].data)
    dense_model.buffers[1].data = None
    dense_model.buffers[1].size = len(weights)
    dense_model.buffers[1].offset = 1 << 20  # any value of full width fixes the graph's length
    start = len(pack(dense_model))
    dense_model.buffers[1].offset = start
    content = pack(dense_model)
    assert len(content) == start
    check_model_bytes(content + weights, "m")
    with pytest.raises(BadModelFile, match="weights at byte"):
        check_model_bytes(content + weights[:-1], "m")


def test_a_first_offset_that_wraps_is_refused(dense_model: Any, pack: Pack) -> None:
    content = bytearray(pack(dense_model))
    content[:4] = b"\xff\xff\xff\xff"
    with pytest.raises(BadModelFile, match="truncated or damaged"):
        check_model_bytes(bytes(content), "m")


def _too_few_weights(model: Any) -> None:
    model.buffers[1].data = model.buffers[1].data[:-4]


def _unknown_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[1].buffer = 2


def _unknown_tensor(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [0, 3]


def _unknown_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 1


def _no_graph(model: Any) -> None:
    model.subgraphs = []


def _other_version(model: Any) -> None:
    model.version = 4


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_too_few_weights, r"shape \(2, 3\) over 20 bytes"),
        (_unknown_buffer, "buffer 2 of 2"),
        (_unknown_tensor, "tensor beyond 3"),
        (_unknown_code, "operator code 1 of 1"),
        (_no_graph, "holds no graph"),
        (_other_version, "schema version 4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    dense_model: Any, pack: Pack, damage: Callable[[Any], None], said: str
) -> None:
    damage(dense_model)
    with pytest.raises(BadModelFile, match=said):
        check_model_bytes(pack(dense_model), "m")


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_else(content: bytes) -> None:
    with pytest.raises(BadModelFile):
        check_model_bytes(b"\x08\x00\x00\x00TFL3" + content, "m")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_raise_nothing_else(
    dense_model: Any, pack: Pack, data: st.DataObject
) -> None:
    content = bytearray(pack(dense_model))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadModelFile):  # a model that passes is right, too; any other error is not
        check_model_bytes(bytes(content), "m")
