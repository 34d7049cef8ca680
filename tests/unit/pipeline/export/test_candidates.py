from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ReferenceFailed
from pipeline.export.candidates import answers_of
from tests.tiny_models import float_convolution, unknown_operator


def test_each_file_answers_every_sample(tmp_path: Path) -> None:
    """More files than are kept at once; the order of answers is the order of files."""
    content = float_convolution(tmp_path / "model.tflite", side=4).read_bytes()
    inputs = np.random.default_rng(0).normal(size=(3, 4, 4, 3)).astype(np.float32)
    made: list[int] = []

    def contents() -> object:
        for index in range(9):
            made.append(index)
            yield content

    answers = answers_of(contents(), inputs)
    first = next(answers)
    assert made == list(range(8))
    assert first.shape == (3, 4 * 4 * 16)
    rest = list(answers)
    assert len(rest) == 8
    assert all((one == first).all() for one in rest)
    # The centre of an image of zeros is the bias alone: 0, 1, 2 ...
    zeros = next(answers_of([content], np.zeros((1, 4, 4, 3), np.float32)))
    assert zeros[0, :16].tolist() == list(range(16))


def test_a_file_that_is_refused_is_told(tmp_path: Path) -> None:
    content = unknown_operator(tmp_path / "model.tflite").read_bytes()
    with pytest.raises(ReferenceFailed, match="NoSuchKernel"):
        next(answers_of([content], np.zeros((1, 8), np.float32)))
