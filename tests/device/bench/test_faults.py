"""What phones do to a bench: every fault through the real command and a simulated phone."""

import re
import signal
from contextlib import ExitStack

import pytest

from android_harness.errors import FailureKind
from android_harness.virtual.simulated.config import SimulatedConfig
from android_harness.virtual.simulated.faults import (
    CorruptPush,
    CutOutput,
    DropConnection,
    During,
    KillCommand,
    NoSpace,
    OldPhone,
    OutputCrlf,
    RebootDuring,
    Unauthorized,
)
from android_harness.virtual.simulated.phone import SimulatedPhone
from device_bench.exits import Exit
from pipeline.artifact import describe, sha256_of

pytestmark = pytest.mark.device

RUNNER = re.escape("--model=")
BLOCK = r"--min-runs=50"  # a timed block, not the check of the outputs


@pytest.fixture
def simulated():
    with ExitStack() as stack:

        def start(*faults, **config):
            phone = SimulatedPhone(SimulatedConfig(**config), faults=faults)
            return stack.enter_context(phone)

        yield start


@pytest.fixture
def bench_on(bench, float_model, int8_model):
    def call(*phones):
        named = [part for p in phones for part in ("--phone", f"{p.host}:{p.port}")]
        return bench(float_model, int8_model, *named)

    return call


def remains(phone) -> list[str]:
    """Session directories left on the phone."""
    root = phone.path("/data/local/tmp/deploy-bench")
    return [path.name for path in root.iterdir() if path.name.startswith("run-")]


def test_a_sound_phone_gives_a_report_of_class_host(bench_on, simulated):
    phone = simulated()
    ended = bench_on(phone)
    assert ended.exit_code == Exit.OK, ended.stderr
    assert "[host: simulated]" in ended.stdout
    assert {run.status for run in ended.runs} == {"ok"}
    assert len(ended.blocks) == 6
    assert all(p.bit_identical for run in ended.runs for p in run.check.parity[:1])
    assert remains(phone) == []


def test_a_second_bench_pushes_no_model_again(bench_on, simulated):
    phone = simulated()
    bench_on(phone)
    ended = bench_on(phone)
    assert ended.exit_code == Exit.OK
    assert all(run.push_skipped for run in ended.runs)


@pytest.mark.parametrize("during", [During.PUSH, During.SHELL])
def test_a_phone_lost_once_goes_on(bench_on, simulated, during):
    phone = simulated(DropConnection(during=during, after_bytes=2000, times=1))
    ended = bench_on(phone)
    assert ended.exit_code == Exit.OK, ended.stderr
    assert {run.status for run in ended.runs} == {"ok"}
    assert remains(phone) == []


def test_a_phone_lost_in_a_run_goes_on_with_that_block(bench_on, simulated):
    phone = simulated(RebootDuring(matching=BLOCK, times=1))
    ended = bench_on(phone)
    assert ended.exit_code == Exit.OK, ended.stderr
    assert len(ended.blocks) == 6
    retried = [f for run in ended.runs for f in run.failures]
    assert [f.retried for f in retried] == [True]
    assert retried[0].kind == FailureKind.DEVICE


def test_a_phone_that_is_lost_for_good_is_a_hole_with_a_reason(bench_on, simulated):
    lost = simulated(DropConnection(during=During.PUSH, after_bytes=100_000), serial="LOST")
    sound = simulated(serial="SOUND")
    ended = bench_on(lost, sound)
    assert ended.exit_code == Exit.DEVICE, ended.stderr
    states = {(run.serial, run.status) for run in ended.runs}
    assert states == {("LOST", "not run"), ("SOUND", "ok")}
    assert len(ended.blocks) == 6
    assert "was lost" in next(r for r in ended.runs if r.serial == "LOST").failures[-1].message


def test_a_full_phone_says_so(bench_on, simulated):
    ended = bench_on(simulated(NoSpace(free_bytes=1_000_000)))
    assert ended.exit_code == Exit.DEVICE
    assert "make room" in ended.runs[0].failures[-1].message
    assert ended.blocks == ()


def test_an_unauthorized_phone_says_what_to_tap(bench_on, simulated):
    ended = bench_on(simulated(Unauthorized()))
    assert ended.exit_code == Exit.NO_PHONE
    assert "Allow USB debugging" in ended.stderr


def test_a_phone_of_another_abi_is_left_out(bench_on, simulated):
    ended = bench_on(simulated(abis=("armeabi-v7a",)))
    assert ended.exit_code == Exit.NO_PHONE
    assert "armeabi-v7a" in ended.stderr
    assert "arm64-v8a" in ended.stderr


def test_a_crash_is_the_models_and_is_not_retried(bench, simulated, slow_model, float_model):
    struck = f"{sha256_of(slow_model)}.*{BLOCK}"
    fault = KillCommand(matching=struck, signal=signal.SIGSEGV, after_s=0.5, times=1)
    phone = simulated(fault)
    endpoint = f"{phone.host}:{phone.port}"
    ended = bench(slow_model, float_model, "--phone", endpoint, "--blocks", 2, "--min-s", 3)
    assert ended.exit_code == Exit.MODEL
    assert [run.status for run in ended.runs] == ["failed", "ok"]
    failure = next(run for run in ended.runs if run.status == "failed").failures[-1]
    assert (failure.kind, failure.retried) == (FailureKind.MODEL, False)
    assert "signal 11" in failure.message


def test_half_a_document_is_never_a_number(bench_on, simulated):
    ended = bench_on(simulated(CutOutput(matching=BLOCK, after_bytes=300, exit_code=0)))
    assert ended.exit_code == Exit.INFRA
    assert ended.blocks == ()
    assert {run.status for run in ended.runs} == {"failed"}
    assert all(run.check is not None for run in ended.runs)


def test_half_a_document_once_is_asked_for_again(bench_on, simulated):
    phone = simulated(CutOutput(matching=BLOCK, after_bytes=300, exit_code=0, times=1))
    ended = bench_on(phone)
    assert ended.exit_code == Exit.OK
    assert len(ended.blocks) == 6


def test_a_corrupted_push_is_pushed_again(bench_on, simulated):
    ended = bench_on(simulated(CorruptPush(times=1)))
    assert ended.exit_code == Exit.OK, ended.stderr


@pytest.mark.parametrize("fault", [OldPhone(), OutputCrlf(doubled=True)])
def test_odd_phones_give_the_same_results(bench_on, simulated, fault):
    ended = bench_on(simulated(fault))
    assert ended.exit_code == Exit.OK, ended.stderr
    assert len(ended.blocks) == 6


def test_outputs_unlike_the_hosts_are_the_models_failure(bench, simulated, int8_model, tmp_path):
    phone, folder = simulated(), tmp_path / "variant"
    artifact = describe(int8_model, folder)
    reference = artifact.path(artifact.references[0].outputs_file)
    expected = bytearray(reference.read_bytes())
    expected[0] ^= 1  # as if the phone had answered one step off
    reference.write_bytes(bytes(expected))
    ended = bench(folder, "--phone", f"{phone.host}:{phone.port}")
    assert ended.exit_code == Exit.MODEL, ended.stderr
    assert "bit-identical" in ended.runs[0].check.wrong
    assert "ship" not in ended.stdout
