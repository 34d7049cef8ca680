"""Every way the runner can fail: the stage it names, and the exit code that belongs to it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from android_harness.parse.runner import RunnerFailure, RunnerReport, Stage, parse_runner
from android_harness.runner.abi import abi_named, host_abi
from android_harness.runner.bundle import Bundle
from android_harness.runner.compiler import zig_caches

pytestmark = pytest.mark.slow

QUICK = ("--warmup-count=0", "--warmup-s=0", "--min-s=0", "--max-runs=2")
Compile = Callable[..., Path]


def _start(
    bundle: Bundle, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*bundle.launcher, *arguments],
        cwd=bundle.directory,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


def _failure(
    bundle: Bundle, *arguments: str, environment: Mapping[str, str] | None = None
) -> RunnerFailure:
    """The document of a run that must fail, with the exit code of its stage."""
    done = _start(bundle, *arguments, environment=environment)
    document = parse_runner(done.stdout)
    assert isinstance(document, RunnerFailure)
    assert done.returncode == document.stage.exit_code
    return document


def _run(bundle: Bundle, model: Path, *arguments: str) -> tuple[str, ...]:
    return (f"--engine={bundle.engine}", f"--model={model}", *QUICK, *arguments)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--fast", "unknown option --fast; known are --model="),
        ("--model", "unknown option --model"),
        ("--threads=0", "between 1 and 256"),
        ("--threads=two", "between 1 and 256"),
        ("--threads=", "between 1 and 256"),
        ("--max-runs=0", "between 1 and 10000000"),
        ("--min-runs=-1", "between 0 and"),
        ("--min-runs=99999999999999999999999", "between 0 and"),
        ("--min-s=nan", "seconds between"),
        ("--warmup-s=inf", "seconds between"),
        ("--max-s=-1", "seconds between"),
        ("--max-s=1s", "seconds between"),
        ("--affinity=0-3", "CPU numbers"),
        ("--affinity=", "CPU numbers"),
        ("--affinity=0,", "CPU numbers"),
        ("--affinity=4096", "CPU numbers"),
        ("--input=", "give a path"),
    ],
)
def test_arguments_that_make_no_sense(bundle: Bundle, argument: str, words: str) -> None:
    failure = _failure(bundle, "--engine=e", "--model=m", argument)
    assert failure.stage is Stage.ARGUMENTS
    assert words in failure.message


def test_a_model_and_an_engine_must_be_named(bundle: Bundle) -> None:
    assert "--model=" in _failure(bundle, "--engine=e").message
    assert "--engine=" in _failure(bundle, "--model=m").message


def test_a_cpu_that_is_not_there_is_refused_even_beside_one_that_is(bundle: Bundle) -> None:
    for cpus in ("1000", "0,1000"):
        failure = _failure(bundle, "--engine=e", "--model=m", f"--affinity={cpus}")
        assert (failure.stage, "--affinity" in failure.message) == (Stage.ARGUMENTS, True)


def test_no_engine(bundle: Bundle, models: dict[str, Path]) -> None:
    failure = _failure(bundle, "--engine=./nowhere.so", f"--model={models['int8']}")
    assert failure.stage is Stage.LIBRARY
    assert "nowhere.so" in failure.message
    assert "android_harness.runner.build" in failure.message


def test_a_library_that_is_not_litert(bundle: Bundle, models: dict[str, Path]) -> None:
    failure = _failure(bundle, "--engine=./libm.so.6", f"--model={models['int8']}")
    assert failure.stage is Stage.LIBRARY
    assert "not the LiteRT runtime" in failure.message


def test_a_file_that_is_no_library(bundle: Bundle, models: dict[str, Path]) -> None:
    failure = _failure(bundle, f"--engine={models['int8']}", f"--model={models['int8']}")
    assert failure.stage is Stage.LIBRARY


def test_no_model(bundle: Bundle, tmp_path: Path) -> None:
    failure = _failure(bundle, *_run(bundle, tmp_path / "none.tflite"))
    assert (failure.stage, failure.status) == (Stage.MODEL, None)
    assert "No such file" in failure.message


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\0" * 4096, bytes(range(256)) * 64])
def test_a_file_that_is_no_tflite_model(bundle: Bundle, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    failure = _failure(bundle, *_run(bundle, tmp_path / "model"))
    assert failure.stage is Stage.MODEL


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_model_never_gives_a_number(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path, share: float
) -> None:
    """The engine trusts offsets inside the file, so a cut may also end it by a signal."""
    whole = models["int8"].read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * share)])
    done = _start(bundle, *_run(bundle, tmp_path / "cut"))
    if done.returncode < 0:
        assert done.stdout == ""
    else:
        assert done.returncode == 4
        assert isinstance(parse_runner(done.stdout), RunnerFailure)


def test_an_operator_without_a_kernel(bundle: Bundle, models: dict[str, Path]) -> None:
    done = _start(bundle, *_run(bundle, models["unknown operator"]))
    failure = parse_runner(done.stdout)
    assert isinstance(failure, RunnerFailure)
    assert (done.returncode, failure.status) == (4, 3)
    assert "NoSuchKernel" in done.stderr


def test_an_input_that_does_not_fit(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path
) -> None:
    for size in (0, 767, 769):
        (tmp_path / "in").write_bytes(b"\1" * size)
        failure = _failure(bundle, *_run(bundle, models["int8"], f"--input={tmp_path / 'in'}"))
        assert failure.stage is Stage.INPUT
        assert f"{size} bytes" in failure.message
        assert "768 bytes" in failure.message


def test_an_input_that_is_not_there(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path
) -> None:
    failure = _failure(bundle, *_run(bundle, models["int8"], f"--input={tmp_path / 'in'}"))
    assert failure.stage is Stage.INPUT


def test_one_file_for_two_inputs(bundle: Bundle, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(32))
    failure = _failure(bundle, *_run(bundle, models["sum"], f"--input={tmp_path / 'in'}"))
    assert failure.stage is Stage.INPUT
    assert "2 inputs, 1 files" in failure.message


def test_input_files_of_different_length(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "one").write_bytes(bytes(32))
    (tmp_path / "two").write_bytes(bytes(64))
    inputs = (f"--input={tmp_path / 'one'}", f"--input={tmp_path / 'two'}")
    assert _failure(bundle, *_run(bundle, models["sum"], *inputs)).stage is Stage.INPUT


def test_two_inputs_in_order(bundle: Bundle, models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(bytes(64))
    inputs = (f"--input={tmp_path / 'one'}", f"--input={tmp_path / 'two'}")
    done = _start(bundle, *_run(bundle, models["sum"], *inputs, f"--output={tmp_path / 'out'}"))
    report = parse_runner(done.stdout)
    assert isinstance(report, RunnerReport)
    assert report.samples == 2
    assert (tmp_path / "out").read_bytes() == bytes(64)


def test_an_output_that_cannot_be_opened(
    bundle: Bundle, models: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "no" / "such" / "folder"
    failure = _failure(bundle, *_run(bundle, models["int8"], f"--output={output}"))
    assert failure.stage is Stage.OUTPUT


def test_a_full_disk_is_told(bundle: Bundle, models: dict[str, Path]) -> None:
    failure = _failure(bundle, *_run(bundle, models["int8"], "--output=/dev/full"))
    assert failure.stage is Stage.OUTPUT
    assert "No space left" in failure.message
    assert Path("/dev/full").is_char_device()


def test_a_document_that_cannot_be_written_is_no_success(
    bundle: Bundle, models: dict[str, Path]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*bundle.launcher, *_run(bundle, models["int8"])],
            cwd=bundle.directory,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot write the document" in done.stderr


@pytest.fixture(scope="session")
def compile_engine(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    folder = tmp_path_factory.mktemp("engines")
    source = Path(__file__).with_name("fake_engine.c")
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", abi_named(host_abi()).zig_target)

    def compiled(*defines: str) -> Path:
        target = folder / f"lib{''.join(defines) or 'fake'}.so"
        flags = ("-O1", "-shared", "-fPIC", *(f"-D{name}" for name in defines))
        argv = (*compiler, *flags, str(source), "-o", str(target))
        subprocess.run(argv, env=zig_caches(), check=True)
        return target

    return compiled


@pytest.fixture(scope="session")
def fake(compile_engine: Compile) -> Path:
    return compile_engine()


@pytest.mark.parametrize(
    ("function", "stage"),
    [
        ("CreateEnvironment", Stage.ENVIRONMENT),
        ("GetAccelerator", Stage.ENVIRONMENT),
        ("CreateModelFromFile", Stage.MODEL),
        ("CreateOpaqueOptions", Stage.COMPILE),
        ("CreateCompiledModel", Stage.COMPILE),
        ("GetModelSignature", Stage.COMPILE),
        ("CreateManagedTensorBufferFromRequirements", Stage.COMPILE),
        ("LockTensorBuffer", Stage.INPUT),
        ("RunCompiledModel", Stage.INVOKE),
    ],
)
def test_every_call_of_the_engine_is_checked(
    bundle: Bundle, models: dict[str, Path], fake: Path, function: str, stage: Stage
) -> None:
    arguments = (f"--engine={fake}", f"--model={models['int8']}", *QUICK)
    failure = _failure(bundle, *arguments, environment={"FAKE_FAILS": function})
    assert (failure.stage, failure.status) == (stage, 3)
    assert f"LiteRt{function}: runtime failure" in failure.message


@pytest.mark.parametrize("defines", [(), ("OLD_MODEL_CALL",)])
def test_both_forms_of_the_model_call(
    bundle: Bundle, models: dict[str, Path], compile_engine: Compile, defines: tuple[str, ...]
) -> None:
    engine = compile_engine(*defines)
    done = _start(bundle, f"--engine={engine}", f"--model={models['int8']}", *QUICK)
    report = parse_runner(done.stdout)
    assert isinstance(report, RunnerReport)
    assert report.accelerators == ("FakeAccelerator",)
    assert report.engine.path == str(engine)


def test_what_the_engine_prints_stays_out_of_the_document(
    bundle: Bundle, models: dict[str, Path], fake: Path
) -> None:
    done = _start(bundle, f"--engine={fake}", f"--model={models['int8']}", *QUICK)
    assert done.stdout.startswith("{")
    assert "the engine talks on standard output" in done.stderr


def test_threads_reach_the_engine(bundle: Bundle, models: dict[str, Path], fake: Path) -> None:
    arguments = (f"--engine={fake}", f"--model={models['int8']}", *QUICK)
    for threads in (1, 4):
        done = _start(bundle, *arguments, f"--threads={threads}")
        assert f"options xnnpack: num_threads = {threads}\n" in done.stderr


def test_an_engine_with_struct_options_is_too_old(
    bundle: Bundle, models: dict[str, Path], compile_engine: Compile
) -> None:
    engine = compile_engine("OLD_OPTIONS")
    failure = _failure(bundle, f"--engine={engine}", f"--model={models['int8']}")
    assert failure.stage is Stage.LIBRARY
    assert "older than 2.1.3" in failure.message


def test_a_crash_leaves_no_document(bundle: Bundle, models: dict[str, Path], fake: Path) -> None:
    arguments = (f"--engine={fake}", f"--model={models['int8']}", *QUICK)
    done = _start(bundle, *arguments, environment={"FAKE_CRASH": "1"})
    assert (done.returncode, done.stdout) == (-6, "")
