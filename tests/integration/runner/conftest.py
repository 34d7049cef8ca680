"""What the runner's tests share: its bundle, and a model of each kind."""

from pathlib import Path

import pytest

from android_harness.runner.bundle import Bundle, build_bundle, host_abi
from tests import tiny_models


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return build_bundle(host_abi())


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models by name; the hostile one names its tensor as no shell or JSON writer likes it."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "float32": tiny_models.float_convolution(folder / "float32.tflite"),
        "int8": tiny_models.int8_convolution(folder / "int8.tflite"),
        "sum": tiny_models.two_inputs(folder / "sum.tflite"),
        "open batch": tiny_models.open_batch(folder / "open_batch.tflite"),
        "unknown operator": tiny_models.unknown_operator(folder / "unknown_operator.tflite"),
        "hostile": tiny_models.float_convolution(
            folder / "hostile.tflite", b'a"b\\c\nd\x7f\xff\xc3\xa4'
        ),
    }
