import math
from typing import Any

import pytest

from android_harness.runner.options import RunnerOptions


def test_defaults_as_arguments() -> None:
    assert RunnerOptions().arguments("model.tflite", "./libLiteRt.so") == (
        "--model=model.tflite",
        "--engine=./libLiteRt.so",
        "--threads=1",
        "--warmup-count=10",
        "--warmup-s=0.300000",
        "--min-runs=50",
        "--min-s=1.000000",
        "--max-runs=20000",
        "--max-s=60.000000",
    )


def test_choices_appear_only_when_made() -> None:
    options = RunnerOptions(
        affinity=(4, 7), input_path="in put.bin", output_path="out.bin", pss=False
    )
    assert options.arguments("m", "e")[9:] == (
        "--affinity=4,7",
        "--input=in put.bin",
        "--output=out.bin",
        "--no-pss",
    )


def test_seconds_never_use_an_exponent() -> None:
    assert "--min-s=0.000010" in RunnerOptions(min_s=1e-5).arguments("m", "e")


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 0},
        {"threads": 257},
        {"max_runs": 0},
        {"max_runs": 10_000_001},
        {"min_runs": -1},
        {"warmup_count": -1},
        {"min_s": -0.1},
        {"warmup_s": math.nan},
        {"max_s": math.inf},
        {"affinity": (0, -1)},
    ],
)
def test_what_the_runner_would_refuse_is_refused_here(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|holds"):
        RunnerOptions(**wrong)
