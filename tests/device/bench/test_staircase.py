"""The staircase command on a phone that runs the runner on this host."""

import json

import pytest

from device_bench.exits import Exit
from device_bench.staircase import WIDTHS

pytestmark = pytest.mark.device


def test_a_staircase_is_measured_and_kept(deploy_bench, tmp_path):
    ended = deploy_bench(
        "staircase", "--format", "int8", "--virtual", "simulated", "--blocks", "2",
        "--min-s", "0.01", "--out", tmp_path / "out",
    )  # fmt: skip
    assert ended.exit_code == Exit.OK, ended.stderr
    (file,) = (tmp_path / "out").glob("*/staircase.json")
    ((phone, (measured,)),) = json.loads(file.read_text()).items()
    assert "host: simulated" in phone
    assert measured["format"] == "int8"
    widths = sorted(width for pair in WIDTHS.values() for width in pair)
    assert sorted(rise["width"] for rise in measured["rises"]) == widths
    assert all(0 < rise["low"] <= rise["value"] <= rise["high"] for rise in measured["rises"])
    assert all(f"{width} ->" in ended.stdout for width in widths)


def test_another_format_is_refused_before_a_phone_is_touched(deploy_bench):
    ended = deploy_bench("staircase", "--format", "int4")
    assert ended.exit_code == Exit.USAGE
    assert "none of float32, int8" in ended.stderr
