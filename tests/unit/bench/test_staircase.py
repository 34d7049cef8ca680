"""Synthetic phones with known tiles; the arithmetic must find them, and find nothing elsewhere."""

import json
import math
from pathlib import Path

import pytest

from device_bench.staircase import WIDTHS, as_json, read_staircase, told
from pipeline.artifact import NumberFormat
from pipeline.ladder import LAYERS, SIDE_PIXELS, rung_name, write_rung
from pipeline.tflite_file import read_model

ROUNDS = (0, 1, 2, 3, 4)


def times(tile: int, noise: float = 0.01):
    """p50 of a phone whose kernels compute whole tiles of output channels."""

    def medians_us(name: str) -> dict[int, float]:
        width = int(name.rpartition("w")[2])
        channels = math.ceil(width / tile) * tile
        return {n: width * channels * (1 + noise * math.sin(7 * n)) for n in ROUNDS}

    return medians_us


@pytest.mark.parametrize("tile", [4, 8, 16, 32])
def test_the_tile_of_a_phone_is_found(tile: int) -> None:
    found = read_staircase(NumberFormat.INT8, times(tile))
    assert found.tile == tile
    assert f"write multiple = {tile}" in told(found)


def test_a_phone_without_steps_needs_no_rounding() -> None:
    found = read_staircase(NumberFormat.FLOAT32, times(1))
    assert found.tile is None
    assert "need not be rounded" in told(found)
    assert all(abs(rise.price.value - 1) < 0.05 for rise in found.rises)


def test_a_step_at_one_multiple_only_is_no_tile() -> None:
    steady = times(1)

    def medians_us(name: str) -> dict[int, float]:
        return {n: v * (1.3 if name.endswith("081") else 1.0) for n, v in steady(name).items()}

    assert read_staircase(NumberFormat.INT8, medians_us).tile is None


def test_rounds_that_only_one_width_finished_are_left_out() -> None:
    whole = times(16)

    def medians_us(name: str) -> dict[int, float]:
        found = whole(name)
        return {n: v for n, v in found.items() if n} if name.endswith("97") else found

    rises = read_staircase(NumberFormat.INT8, medians_us).rises
    assert len(rises) == sum(map(len, WIDTHS.values()))


def test_the_document_holds_every_rise() -> None:
    staircase = read_staircase(NumberFormat.INT8, times(16))
    document = json.loads(as_json({"Pixel": [staircase]}))
    assert document["Pixel"][0]["tile"] == 16
    assert {r["width"] for r in document["Pixel"][0]["rises"]} == {
        w for pair in WIDTHS.values() for w in pair
    }


@pytest.mark.parametrize("number_format", [NumberFormat.FLOAT32, NumberFormat.INT8])
def test_a_rung_is_a_model_of_the_width_asked_for(
    tmp_path: Path, number_format: NumberFormat
) -> None:
    model = read_model(write_rung(97, number_format, tmp_path))
    assert model.macs == LAYERS * SIDE_PIXELS**2 * 97 * 97
    assert model.number_format is number_format
    assert (tmp_path / f"{rung_name(97, number_format)}.tflite").is_file()
    again = write_rung(97, number_format, tmp_path / "again").read_bytes()
    assert again == (tmp_path / f"{rung_name(97, number_format)}.tflite").read_bytes()


def test_other_formats_have_no_staircase(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not float16"):
        write_rung(64, NumberFormat.FLOAT16, tmp_path)
