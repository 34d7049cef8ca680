"""A session on a phone: what it brings, runs and takes away, also when things go wrong."""

import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness import remote_cache
from android_harness.errors import (
    CommandFailed,
    CommandTimeout,
    CorruptTransfer,
    HarnessError,
    ModelRejected,
    NoSpace,
    PhoneLost,
    RemoteFileError,
    RunnerCrash,
    RunnerOutputError,
    RunnerRefused,
)
from android_harness.phone import Phone
from android_harness.places import REMOTE_ROOT
from android_harness.runner.bundle import Bundle, build_bundle, host_abi
from android_harness.runner.options import RunnerOptions
from android_harness.session import RemoteFile, Session, quoted
from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.virtual.chaos import Chaos
from android_harness.virtual.phones import VirtualPhone
from android_harness.virtual.simulated.faults import (
    CorruptPush,
    CutOutput,
    DropConnection,
    During,
    KillCommand,
    RebootDuring,
)
from android_harness.virtual.simulated.faults import NoSpace as NoSpaceLeft
from android_harness.virtual.simulated.phone import SimulatedPhone
from tests import tiny_models

pytestmark = pytest.mark.device

S = 20.0
SHORT = RunnerOptions(warmup_count=1, warmup_s=0.0, min_runs=5, min_s=0.0, max_runs=5)
ENDLESS = RunnerOptions(min_s=600.0, max_s=600.0, max_runs=10_000_000)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    try:
        return build_bundle(host_abi())
    except HarnessError as error:
        pytest.skip(f"no runner: {error}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return tiny_models.float_convolution(folder / "-rf;ls $(x) Hold'em 電.tflite")


@pytest.fixture(params=["container", "simulated"])
def phone(request: pytest.FixtureRequest) -> Iterator[Phone]:
    where: VirtualPhone | SimulatedPhone = request.getfixturevalue(f"{request.param}_phone")
    with AdbShellTcp(where.host, where.port) as transport:
        yield Phone(transport)


@pytest.fixture
def simulated(simulated_phone: SimulatedPhone) -> Iterator[Phone]:
    with AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport:
        yield Phone(transport)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put(session: Session, path: Path) -> RemoteFile:
    return session.put(path, sha(path))


def run_folders(phone: Phone) -> list[str]:
    listed = phone.transport.shell(f"ls {REMOTE_ROOT}", timeout_s=S).text.split()
    return [name for name in listed if name.startswith("run-")]


def running(phone: Phone, word: str) -> bool:
    found = phone.transport.shell(
        f"cat /proc/[0-9]*/cmdline 2>/dev/null | grep -a -c '[{word[0]}]{word[1:]}'", timeout_s=S
    )
    return found.text.strip() != "0"


def some_file(folder: Path, size: int, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_model_runs_and_reports(phone: Phone, bundle: Bundle, model: Path) -> None:
    with Session(phone, "one") as session:
        session.install(bundle)
        ran = session.run(put(session, model), SHORT, timeout_s=60)
    assert len(ran.report.latency_ns) == 5
    assert ran.report.engine.sha256 == bundle.engine_sha256
    assert run_folders(phone) == []


def test_outputs_come_back(phone: Phone, bundle: Bundle, model: Path, tmp_path: Path) -> None:
    inputs = some_file(tmp_path, 3 * 16 * 16 * 3 * 4)
    with Session(phone, "one") as session:
        session.install(bundle)
        options = replace(
            SHORT, input_path=put(session, inputs).path, output_path=session.remote("outputs.bin")
        )
        ran = session.run(put(session, model), options, timeout_s=60)
        size = 3 * ran.report.outputs[0].bytes
        session.fetch("outputs.bin", tmp_path / "back", size)
    assert ran.report.samples == 3
    assert (tmp_path / "back").stat().st_size == size


def test_the_second_session_pushes_nothing(phone: Phone, bundle: Bundle, model: Path) -> None:
    with Session(phone, "one") as session:
        session.install(bundle)
        put(session, model)
    with Session(phone, "two") as session:
        installed = session.install(bundle)
        assert installed.bytes_pushed == 0
        assert installed.bytes_skipped == bundle.bytes
        assert put(session, model).skipped


def test_a_file_that_was_damaged_on_the_phone_is_pushed_again(phone: Phone, tmp_path: Path) -> None:
    path = some_file(tmp_path, 100_000)
    with Session(phone, "one") as session:
        remote = put(session, path)
        phone.run(f"echo damaged >{remote.path}", timeout_s=S)
    with Session(phone, "two") as session:
        again = put(session, path)
        assert not again.skipped
        assert phone.run(f"sha256sum {again.path}", timeout_s=S)[:64] == sha(path)


def test_progress_spans_all_files(phone: Phone, bundle: Bundle) -> None:
    seen: list[tuple[int, int]] = []
    phone.run(f"rm -rf {REMOTE_ROOT}", timeout_s=S)
    with Session(phone, "one") as session:
        session.install(bundle, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (bundle.bytes, bundle.bytes)


def test_an_unknown_model_is_the_models_fault(phone: Phone, bundle: Bundle, tmp_path: Path) -> None:
    path = tiny_models.unknown_operator(tmp_path / "unknown.tflite")
    with Session(phone, "one") as session:
        session.install(bundle)
        with pytest.raises(ModelRejected):
            session.run(put(session, path), SHORT, timeout_s=60)


def test_a_missing_input_is_not_the_models_fault(phone: Phone, bundle: Bundle, model: Path) -> None:
    with Session(phone, "one") as session:
        session.install(bundle)
        options = replace(SHORT, input_path=session.remote("missing"))
        with pytest.raises(RunnerRefused):
            session.run(put(session, model), options, timeout_s=60)


def test_a_runner_that_cannot_start_is_told(phone: Phone, bundle: Bundle, model: Path) -> None:
    with Session(phone, "one") as session:
        session.install(replace(bundle, launcher=("./missing",)))
        with pytest.raises(CommandFailed) as caught:
            session.run(put(session, model), SHORT, timeout_s=60)
    assert caught.value.exit_code in (126, 127)


def test_an_endless_run_is_ended_at_its_deadline(phone: Phone, bundle: Bundle, model: Path) -> None:
    with Session(phone, "one") as session:
        session.install(bundle)
        remote = put(session, model)
        with pytest.raises(CommandTimeout):
            session.run(remote, ENDLESS, timeout_s=2.0)
        assert not running(phone, "--min-s=600")
        assert session.run(remote, SHORT, timeout_s=60).report.complete


def test_ctrl_c_leaves_nothing_behind(phone: Phone, bundle: Bundle, model: Path) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(1.5, signal.pthread_kill, (main, signal.SIGINT))

    def work() -> None:
        with Session(phone, "one") as session:
            session.install(bundle)
            remote = put(session, model)
            timer.start()
            session.run(remote, ENDLESS, timeout_s=60)

    with pytest.raises(KeyboardInterrupt):
        work()
    timer.join()
    assert not running(phone, "--min-s=600")
    assert run_folders(phone) == []


def test_an_error_in_the_middle_leaves_nothing_behind(phone: Phone) -> None:
    def work() -> None:
        with Session(phone, "one"):
            assert len(run_folders(phone)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert run_folders(phone) == []


def test_old_leftovers_are_swept_and_others_are_not(phone: Phone) -> None:
    old, young, foreign = (f"{REMOTE_ROOT}/{n}" for n in ("run-old", "run-young", "notes"))
    phone.run(
        f"mkdir -p {old}/x {young} {foreign}; touch -d 2020-01-01T00:00:00 {old} {foreign}",
        timeout_s=S,
    )
    with Session(phone, "one"):
        listed = phone.run(f"ls {REMOTE_ROOT}", timeout_s=S).split()
    assert "run-old" not in listed
    assert {"run-young", "notes"} <= set(listed)
    phone.run(f"rm -rf {young} {foreign}", timeout_s=S)


def test_nobody_else_may_look_into_our_directory(container_phone: VirtualPhone) -> None:
    with AdbShellTcp(container_phone.host, container_phone.port) as transport:
        phone = Phone(transport)
        with Session(phone, "one") as session:
            modes = phone.run(f"stat -c %a {REMOTE_ROOT} {session.directory}", timeout_s=S)
    assert modes.split() == ["700", "700"]


def test_a_file_changed_on_the_host_is_not_pushed(phone: Phone, tmp_path: Path) -> None:
    path = some_file(tmp_path, 100)
    with Session(phone, "one") as session, pytest.raises(RemoteFileError, match="changed"):
        session.put(path, "0" * 64)


def test_what_does_not_fit_is_told_before_it_is_pushed(phone: Phone, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with Session(phone, "one") as session, pytest.raises(NoSpace) as caught:
        session.put(path, "0" * 64)
    assert caught.value.free_bytes is not None
    assert caught.value.needed_bytes >= 1 << 40


def test_old_contents_make_room_for_new_ones(
    phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone.run(f"rm -rf {REMOTE_ROOT}", timeout_s=S)
    monkeypatch.setattr(remote_cache, "LIMIT_BYTES", 250_000)
    first, second, third = (some_file(tmp_path, 100_000, n) for n in "abc")
    with Session(phone, "one") as session:
        put(session, first)
        put(session, second)
        cache = f"{REMOTE_ROOT}/cache"
        phone.run(f"touch -d 2020-01-01T00:00:00 {cache}/{sha(second)}", timeout_s=S)
    with Session(phone, "two") as session:
        put(session, third)
    kept = set(phone.run(f"ls {cache}", timeout_s=S).split())
    assert kept == {sha(first), sha(third)}


@pytest.mark.parametrize("name", ["", "-rf", "../x", "a/b", "a b", ".hidden", "x" * 200, "a\nb"])
def test_only_our_own_names_reach_the_phone(name: str) -> None:
    session = Session(Phone(AdbShellTcp("127.0.0.1", 1)), "one")
    with pytest.raises(ValueError, match="not a name"):
        session.remote(name)


def test_no_run_id_reaches_the_phone() -> None:
    session = Session(Phone(AdbShellTcp("127.0.0.1", 1)), "a b; rm -rf $(x) ../..")
    assert re.fullmatch(rf"{REMOTE_ROOT}/run-[0-9a-f]{{16}}", session.directory)


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(RemoteFileError, match="NUL"):
        quoted("rm", "a\0b")


def test_a_corrupt_push_is_repeated(
    simulated_phone: SimulatedPhone, simulated: Phone, tmp_path: Path
) -> None:
    simulated_phone.add_fault(CorruptPush(times=1))
    path = some_file(tmp_path, 100_000)
    with Session(simulated, "one") as session:
        remote = put(session, path)
    assert not remote.skipped
    assert simulated_phone.path(remote.path).read_bytes() == path.read_bytes()


def test_a_push_that_is_always_corrupt_is_told(
    simulated_phone: SimulatedPhone, simulated: Phone, tmp_path: Path
) -> None:
    simulated_phone.add_fault(CorruptPush())
    with Session(simulated, "one") as session:
        with pytest.raises(CorruptTransfer):
            put(session, some_file(tmp_path, 100_000))
        assert simulated.run(f"ls {REMOTE_ROOT}/cache", timeout_s=S) == ""


def test_a_full_simulated_phone(
    simulated_phone: SimulatedPhone, simulated: Phone, tmp_path: Path
) -> None:
    simulated_phone.add_fault(NoSpaceLeft(free_bytes=20_000_000))
    path = some_file(tmp_path, 30_000_000)
    with Session(simulated, "one") as session, pytest.raises(NoSpace):
        put(session, path)


@pytest.mark.parametrize("number", [9, 11])
def test_a_killed_runner_is_a_crash(
    simulated_phone: SimulatedPhone, simulated: Phone, bundle: Bundle, model: Path, number: int
) -> None:
    simulated_phone.add_fault(KillCommand(matching="--model", signal=number, after_s=0.2))
    with Session(simulated, "one") as session:
        session.install(bundle)
        with pytest.raises(RunnerCrash) as caught:
            session.run(put(session, model), ENDLESS, timeout_s=60)
    assert caught.value.signal == number


def test_a_cut_document_is_never_a_number(
    simulated_phone: SimulatedPhone, simulated: Phone, bundle: Bundle, model: Path
) -> None:
    simulated_phone.add_fault(CutOutput(matching="--model", after_bytes=300))
    with Session(simulated, "one") as session:
        session.install(bundle)
        with pytest.raises(RunnerOutputError):
            session.run(put(session, model), SHORT, timeout_s=60)


def test_a_phone_lost_in_a_run_is_cleaned_when_it_is_back(
    simulated_phone: SimulatedPhone, simulated: Phone, bundle: Bundle, model: Path
) -> None:
    simulated_phone.add_fault(RebootDuring(matching="--model", after_s=0.3, down_s=0.5, times=1))
    with Session(simulated, "one") as session:
        session.install(bundle)
        remote = put(session, model)
        with pytest.raises(PhoneLost):
            session.run(remote, ENDLESS, timeout_s=60)
    assert run_folders(simulated) == []


def test_a_phone_lost_for_good_is_not_waited_for(
    simulated_phone: SimulatedPhone,
    simulated: Phone,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = some_file(tmp_path, 1_000_000)
    started = time.monotonic()
    with Session(simulated, "one") as session:
        simulated_phone.add_fault(DropConnection(during=During.PUSH, after_bytes=1000))
        simulated_phone.add_fault(DropConnection(during=During.CONNECT))
        with pytest.raises(PhoneLost):
            put(session, path)
    assert time.monotonic() - started < 10.0
    assert "until a later session sweeps it" in caplog.text


def test_a_link_that_ends_in_a_push_leaves_no_half_file(
    container_phone: VirtualPhone, tmp_path: Path, spoiled: object
) -> None:
    path = some_file(tmp_path, 5_000_000)
    chaos = Chaos(end_after_bytes=2_000_000, times=1)
    transport = spoiled(container_phone.host, container_phone.port, chaos)  # type: ignore[operator]
    phone = Phone(transport)
    with pytest.raises(PhoneLost), Session(phone, "one") as session:
        put(session, path)
    assert run_folders(phone) == []
    assert sha(path) not in phone.run(f"ls {REMOTE_ROOT}/cache", timeout_s=S)
