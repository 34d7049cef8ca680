import numpy as np
import pytest

from device_bench.check import check_outputs
from pipeline.artifact import NumberFormat, Reference
from tests.factories import make_artifact


def checked(artifact, values, tmp_path, samples=4, **more):
    path = tmp_path / "phone.bin"
    path.write_bytes(np.asarray(values).tobytes())
    return check_outputs(artifact, path, samples, **more)


def test_equal_outputs_are_bit_identical_and_right(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    found = checked(artifact, np.eye(4, dtype=np.float32), tmp_path)
    assert (found.accuracy.correct, found.accuracy.total) == (4, 4)
    assert found.parity[0].bit_identical
    assert found.parity[0].max_abs_difference == 0.0
    assert found.parity[0].argmax_agreement == 1.0
    assert found.wrong is None


def test_accuracy_comes_from_the_phones_own_answers(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    values = np.eye(4, dtype=np.float32)[[1, 1, 2, 3]]
    found = checked(artifact, values, tmp_path)
    assert found.accuracy.correct == 3
    assert found.parity[0].argmax_agreement == 0.75
    assert found.wrong.startswith("differs from the host")


def test_a_small_float_difference_is_no_fault(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    found = checked(artifact, np.eye(4, dtype=np.float32) + np.float32(1e-6), tmp_path)
    assert not found.parity[0].bit_identical
    assert found.parity[0].max_abs_difference == pytest.approx(1e-6, rel=0.1)
    assert found.wrong is None


@pytest.mark.parametrize(
    ("number_format", "off", "like_host", "wrong"),
    [
        (NumberFormat.FLOAT32, 0.02, False, True), (NumberFormat.FLOAT16, 0.02, False, False),
        (NumberFormat.FLOAT16, 0.02, True, True), (NumberFormat.FLOAT16, 0.2, False, True),
        (NumberFormat.FLOAT16_SPARSE, 0.02, False, True), (NumberFormat.MIXED, 0.02, False, True),
        (NumberFormat.DYNAMIC_CONV, 0.2, True, False),
    ],
)  # fmt: skip
def test_only_float16_sums_may_differ_and_only_elsewhere(
    tmp_path, number_format, off, like_host, wrong
):
    artifact = make_artifact(tmp_path / "a", number_format=number_format)
    values = np.eye(4, dtype=np.float32) + np.float32(off)
    found = checked(artifact, values, tmp_path, like_host=like_host)
    assert (found.wrong is not None) == wrong


def test_int8_must_be_bit_identical(tmp_path):
    outputs = (np.eye(4) * 100).astype(np.int8)
    artifact = make_artifact(
        tmp_path / "a", outputs=outputs, variant="dense_int8", number_format=NumberFormat.INT8
    )
    other = outputs.copy()
    other[0, 1] += 1
    found = checked(artifact, other, tmp_path)
    assert found.accuracy.correct == 4
    assert found.parity[0].max_abs_difference == pytest.approx(0.5)  # one step of scale 0.5
    assert "bit-identical" in found.wrong


def test_nan_is_a_wrong_output(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    values = np.eye(4, dtype=np.float32)
    values[2, 2] = np.nan
    found = checked(artifact, values, tmp_path)
    assert found.wrong == "NaN or infinity on the phone"
    assert found.parity[0].max_abs_difference is None


def test_fewer_samples_are_judged_as_fewer(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    found = checked(artifact, np.eye(4, dtype=np.float32)[:2], tmp_path, samples=2)
    assert (found.samples, found.accuracy.total, found.parity[0].bit_identical) == (2, 2, True)


def test_short_file_is_refused(tmp_path):
    artifact = make_artifact(tmp_path / "a")
    with pytest.raises(ValueError, match="4 outputs"):
        checked(artifact, np.eye(4, dtype=np.float32)[:3], tmp_path)


def test_no_accuracy_keeps_its_reason(tmp_path):
    artifact = make_artifact(tmp_path / "a", accuracy=None, accuracy_reason="random weights")
    found = checked(artifact, np.eye(4, dtype=np.float32), tmp_path)
    assert (found.accuracy, found.accuracy_reason) == (None, "random weights")


def test_a_reference_that_could_not_run_keeps_its_reason(tmp_path):
    artifact = make_artifact(
        tmp_path / "a", references=(Reference(engine="tflite-runtime 2.14.0", reason="too old"),)
    )
    found = checked(artifact, np.eye(4, dtype=np.float32), tmp_path)
    assert found.parity[0].reason == "too old"
    assert found.parity[0].bit_identical is None
