"""The runner with the real engine: what it computes, and that it does what it was asked."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from android_harness.parse.runner import RunnerReport
from android_harness.runner.bundle import Bundle
from android_harness.runner.host import run_on_host
from android_harness.runner.options import RunnerOptions

pytestmark = pytest.mark.slow

SHORT = RunnerOptions(warmup_count=0, warmup_s=0.0, min_runs=1, min_s=0.0, max_runs=3)
SAMPLES = 5


def _samples(model: Path) -> np.ndarray:
    details = Interpreter(str(model)).get_input_details()[0]
    random, shape = np.random.default_rng(7), (SAMPLES, *details["shape"])
    if details["dtype"] is np.int8:
        return random.integers(-128, 128, shape).astype(np.int8)
    return random.normal(size=shape).astype(np.float32)


def _reference(model: Path, samples: np.ndarray, threads: int) -> bytes:
    interpreter = Interpreter(str(model), num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    outputs = []
    for sample in samples:
        interpreter.set_tensor(source, sample)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target).tobytes())
    return b"".join(outputs)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["float32", "int8", "open batch"])
def test_outputs_equal_the_python_interpreters_bit_for_bit(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path, name: str, threads: int
) -> None:
    samples = _samples(models[name])
    (tmp_path / "in").write_bytes(samples.tobytes())
    options = replace(
        SHORT,
        threads=threads,
        input_path=str(tmp_path / "in"),
        output_path=str(tmp_path / "out"),
    )
    report = run_on_host(bundle, models[name], options)
    found = (tmp_path / "out").read_bytes()
    assert found == _reference(models[name], samples, threads)
    assert len({found[i :: len(found) // SAMPLES] for i in range(8)}) > 1  # not all one value
    assert (report.samples, report.threads) == (SAMPLES, threads)
    assert len(found) == SAMPLES * report.outputs[0].bytes


@pytest.fixture(scope="module")
def report(bundle: Bundle, models: dict[str, Path]) -> RunnerReport:
    return run_on_host(bundle, models["float32"], replace(SHORT, max_runs=50, min_runs=50))


def test_the_engine_is_proven_by_its_digest(bundle: Bundle, report: RunnerReport) -> None:
    library = next(file.path for file in bundle.files if file.name == "libLiteRt.so")
    assert report.engine.sha256 == hashlib.sha256(library.read_bytes()).hexdigest()
    assert report.engine.sha256 == bundle.engine_sha256
    assert report.engine.bytes == library.stat().st_size


def test_only_the_cpu_is_registered(report: RunnerReport) -> None:
    assert report.accelerators == ("CpuAccelerator",)
    assert report.fully_accelerated


def test_tensors_are_described(report: RunnerReport) -> None:
    image, features = report.inputs[0], report.outputs[0]
    assert (image.name, image.type, image.shape, image.bytes) == (
        "image",
        "float32",
        (1, 16, 16, 3),
        3072,
    )
    assert (features.name, features.shape) == ("features", (1, 16, 16, 16))
    assert report.signature == "serving_default"


def test_an_open_batch_is_one(bundle: Bundle, models: dict[str, Path]) -> None:
    report = run_on_host(bundle, models["open batch"], SHORT)
    assert report.inputs[0].shape == report.outputs[0].shape == (1, 8)


def test_memory_only_grows_until_the_model_ran(report: RunnerReport) -> None:
    before, ready, after = (
        report.memory.before_load,
        report.memory.after_init,
        report.memory.after_run,
    )
    assert before.hwm_kb < ready.hwm_kb <= after.hwm_kb
    assert before.rss_kb < ready.rss_kb
    assert before.pss_kb is not None
    assert ready.pss_kb is not None
    assert before.pss_kb < ready.pss_kb


def test_pss_is_left_out_when_not_asked_for(bundle: Bundle, models: dict[str, Path]) -> None:
    memory = run_on_host(bundle, models["int8"], replace(SHORT, pss=False)).memory
    assert (memory.before_load.pss_kb, memory.after_run.pss_kb) == (None, None)


@pytest.mark.parametrize(
    ("limits", "runs"),
    [
        ({"max_runs": 7, "min_runs": 100, "min_s": 5.0}, 7),
        ({"max_runs": 1000, "min_runs": 23}, 23),
        ({"max_runs": 1000, "min_runs": 100, "max_s": 0.0}, 1),
    ],
)
def test_counts_bound_the_timed_loop(
    bundle: Bundle, models: dict[str, Path], limits: dict[str, float], runs: int
) -> None:
    report = run_on_host(bundle, models["int8"], replace(SHORT, **limits))
    assert len(report.latency_ns) == runs


def test_the_timed_loop_lasts_as_long_as_asked(bundle: Bundle, models: dict[str, Path]) -> None:
    options = replace(SHORT, min_s=0.2, max_runs=1_000_000)
    report = run_on_host(bundle, models["int8"], options)
    assert report.timed.wall_ns >= 200_000_000
    assert len(report.latency_ns) > 1


def test_warm_up_takes_both_its_count_and_its_time(bundle: Bundle, models: dict[str, Path]) -> None:
    counted = run_on_host(bundle, models["int8"], replace(SHORT, warmup_count=17)).warmup
    timed = run_on_host(bundle, models["int8"], replace(SHORT, warmup_s=0.1)).warmup
    none = run_on_host(bundle, models["int8"], SHORT).warmup
    assert counted.count == 17
    assert timed.wall_ns >= 100_000_000
    assert timed.count > 17
    assert (none.count, none.wall_ns) == (0, 0)


def test_affinity_is_kept(bundle: Bundle, models: dict[str, Path]) -> None:
    allowed = run_on_host(bundle, models["int8"], SHORT).cpus_allowed
    for cpu in (allowed[0], allowed[-1]):
        report = run_on_host(bundle, models["int8"], replace(SHORT, affinity=(cpu,)))
        assert report.cpus_allowed == (cpu,)


def test_several_inputs_get_random_data(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path
) -> None:
    first, again = (
        _sum_outputs(bundle, models["sum"], tmp_path / name) for name in ("first", "again")
    )
    assert first == again  # seeded
    assert len(set(np.frombuffer(first, np.float32))) == 8


def _sum_outputs(bundle: Bundle, model: Path, output: Path) -> bytes:
    report = run_on_host(bundle, model, replace(SHORT, output_path=str(output)))
    assert [tensor.name for tensor in report.inputs] == ["left", "right"]
    assert report.samples is None
    return output.read_bytes()


def test_any_tensor_name_survives(bundle: Bundle, models: dict[str, Path]) -> None:
    report = run_on_host(bundle, models["hostile"], SHORT)
    assert report.inputs[0].name == 'a"b\\c\nd\x7f\ufffdä'
