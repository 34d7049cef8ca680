import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from android_harness.virtual.simulated.adb_wire import VERSION_CHECKSUM, Command
from android_harness.virtual.simulated.faults import (
    CorruptPush,
    CutOutput,
    DropConnection,
    During,
    Fault,
    FaultPlan,
    Freeze,
    KillCommand,
    NoSpace,
    OldPhone,
    OutputCrlf,
    RebootDuring,
    RefusePush,
    Slow,
    Unauthorized,
    WrongExit,
)
from android_harness.virtual.simulated.phone import SimulatedConfig, SimulatedPhone
from tests.unit.virtual.adb_host import DEADLINE_S, AdbHost, Ended, PushRefused

FILE = "/data/local/tmp/file"
SHORT_S = 0.3  # nothing comes in this time: the phone is silent


@pytest.fixture
def phone() -> Iterator[SimulatedPhone]:
    with SimulatedPhone() as phone:
        yield phone


@pytest.fixture
def host(phone: SimulatedPhone) -> Iterator[AdbHost]:
    with AdbHost(phone.endpoint) as host:
        yield host


def collect(stream: Iterable[bytes], got: bytearray) -> None:
    for data in stream:
        got += data


def eventually_empty(folder: Path) -> bool:
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if not any(folder.iterdir()):
            return True
        time.sleep(0.01)
    return False


# The plan


def test_a_fault_strikes_as_often_as_it_says() -> None:
    plan = FaultPlan((WrongExit(exit_code=3, times=2), WrongExit(exit_code=4)))
    struck = [plan.strike(WrongExit) for _ in range(4)]
    assert [fault and fault.exit_code for fault in struck] == [3, 3, 4, 4]


def test_pending_does_not_count() -> None:
    plan = FaultPlan((NoSpace(times=1),))
    assert plan.pending(NoSpace) == plan.pending(NoSpace) == plan.strike(NoSpace)
    assert plan.pending(NoSpace) is None


def test_only_what_matches_is_struck() -> None:
    plan = FaultPlan((WrongExit(matching="runner", times=1),))
    assert plan.strike_matching(WrongExit, "getprop") is None
    assert plan.strike_matching(KillCommand, "./runner") is None
    assert plan.strike_matching(WrongExit, "./runner -x") is not None


@pytest.mark.parametrize("fault", [WrongExit(times=0), WrongExit(matching="(")])
def test_a_fault_that_makes_no_sense_is_refused(fault: Fault) -> None:
    with pytest.raises(ValueError, match=r"times|matching"):
        FaultPlan((fault,))


def test_the_plan_counts_once_among_threads() -> None:
    plan = FaultPlan((WrongExit(times=50),))
    struck: list[WrongExit] = []

    def strike() -> None:
        for _ in range(20):
            if (fault := plan.strike(WrongExit)) is not None:
                struck.append(fault)

    threads = [threading.Thread(target=strike) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(struck) == 50


# The link


@pytest.mark.parametrize(("reset", "error"), [(False, Ended), (True, ConnectionResetError)])
def test_a_push_is_cut_off_and_the_next_one_works(
    phone: SimulatedPhone, reset: bool, error: type[Exception]
) -> None:
    phone.add_fault(DropConnection(during="push", after_bytes=100_000, reset=reset, times=1))
    with AdbHost(phone.endpoint) as host, pytest.raises(error):
        host.push(bytes(300_000), FILE)
    assert eventually_empty(phone.path("/data/local/tmp"))  # as adbd: no half file
    with AdbHost(phone.endpoint) as host:
        host.push(bytes(300_000), FILE)
    assert phone.path(FILE).stat().st_size == 300_000


def test_a_small_push_does_not_reach_the_fault(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(DropConnection(during="push", after_bytes=1001))
    host.push(bytes(1000), FILE)
    with pytest.raises(Ended):
        host.push(bytes(1001), FILE)


def test_a_pull_brings_what_came_before_the_drop(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.path(FILE).write_bytes(bytes(300_000))
    phone.add_fault(DropConnection(during=During.PULL, after_bytes=100_000))
    stream = host.open("sync:")
    stream.write(b"RECV" + len(FILE).to_bytes(4, "little") + FILE.encode())
    got = bytearray()
    with pytest.raises(Ended):
        collect(stream, got)
    assert len(got) == 100_000 + 2 * 8  # two DATA messages


def test_a_commands_output_is_cut_at_the_byte(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(DropConnection(during="shell", after_bytes=1234))
    got = bytearray()
    with pytest.raises(Ended):
        collect(host.open("exec:head -c 100000 /dev/zero; sleep 1000"), got)
    assert len(got) == 1234


def test_a_drop_at_zero_bytes_needs_no_output(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(DropConnection(during="shell"))
    with pytest.raises(Ended):
        host.shell("true")


def test_a_connection_that_is_dropped_at_once(phone: SimulatedPhone) -> None:
    phone.add_fault(DropConnection(during="connect", times=1))
    with pytest.raises((Ended, ConnectionResetError)):
        AdbHost(phone.endpoint)
    AdbHost(phone.endpoint).close()


@pytest.mark.parametrize("during", ["shell", "push", "pull"])
def test_a_frozen_phone_is_silent_but_connected(
    phone: SimulatedPhone, host: AdbHost, during: str
) -> None:
    phone.path(FILE).write_bytes(bytes(10))
    phone.add_fault(Freeze(during=during, times=1))
    host.sock.settimeout(SHORT_S)
    with pytest.raises(TimeoutError):
        {
            "shell": lambda: host.shell("true"),
            "push": lambda: host.push(b"x", FILE),
            "pull": lambda: host.pull(FILE),
        }[during]()
    with pytest.raises(TimeoutError):  # nothing else on this connection either
        host.shell("true")
    with AdbHost(phone.endpoint) as other:
        assert other.shell("true").exit_code == 0
    phone.close()
    host.sock.settimeout(DEADLINE_S)
    with pytest.raises((Ended, ConnectionResetError)):
        host.receive()


def test_a_phone_that_freezes_in_the_middle(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(Freeze(during="shell", after_bytes=1000))
    host.sock.settimeout(SHORT_S)
    got = bytearray()
    with pytest.raises(TimeoutError):
        collect(host.open("exec:head -c 100000 /dev/zero"), got)
    assert len(got) == 1000


def test_a_phone_that_is_frozen_when_the_host_connects(phone: SimulatedPhone) -> None:
    phone.add_fault(Freeze(during="connect"))
    with AdbHost(phone.endpoint, greet=False) as host:
        host.sock.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            host.greet()


def test_a_slow_link_takes_its_time(phone: SimulatedPhone) -> None:
    phone.add_fault(Slow(bytes_per_s=200_000, times=1))
    with AdbHost(phone.endpoint) as host:
        started_s = time.monotonic()
        host.push(bytes(100_000), FILE)
        assert time.monotonic() - started_s >= 0.4  # a lower bound only: it cannot be faster
        assert host.pull(FILE) == bytes(100_000)


def test_nobody_is_let_in_until_the_dialog_is_answered(phone: SimulatedPhone) -> None:
    phone.add_fault(Unauthorized(times=1))
    with AdbHost(phone.endpoint, greet=False) as host:
        assert host.greet().command is Command.AUTH
        assert host.sign(b"\1" * 256).command is Command.AUTH
    with AdbHost(phone.endpoint) as host:
        assert host.shell("true").exit_code == 0


def test_an_old_phone_has_neither_shell_v2_nor_a_new_protocol(phone: SimulatedPhone) -> None:
    phone.add_fault(OldPhone(times=1))
    with AdbHost(phone.endpoint) as host:
        assert "shell_v2" not in host.features
        assert (host.phone_version, host.max_payload_bytes) == (VERSION_CHECKSUM, 256 * 1024)
        assert host.run("shell:echo out; exit 3") == b"out\n"
    with AdbHost(phone.endpoint) as host:
        assert "shell_v2" in host.features


# Storage


def test_a_full_phone_says_so_and_keeps_no_half_file() -> None:
    faults = (NoSpace(free_bytes=150_000),)
    with SimulatedPhone(faults=faults) as phone, AdbHost(phone.endpoint) as host:
        with pytest.raises(PushRefused, match="write failed: No space left on device"):
            host.push(bytes(150_001), FILE)
        assert not phone.path(FILE).exists()
        assert host.shell("df -k /data/local/tmp").stdout.split()[-3] == b"146"


def test_storage_fills_and_is_given_back(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(NoSpace(free_bytes=100_000))
    host.push(bytes(60_000), FILE)
    with pytest.raises(PushRefused, match="No space"):
        host.push(bytes(60_000), f"{FILE}2")
    host.push(bytes(80_000), FILE)  # replaces: the old one's room counts
    host.shell(f"rm {FILE}")
    host.push(bytes(60_000), f"{FILE}2")


def test_storage_that_was_full_once(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(NoSpace(times=1))
    with pytest.raises(PushRefused, match="No space"):
        host.push(b"x", FILE)
    host.push(b"x", FILE)
    assert int(host.shell("df").stdout.split()[-3]) > 0


# Files


def test_one_byte_is_flipped_once(phone: SimulatedPhone, host: AdbHost) -> None:
    data = os.urandom(100_000)
    phone.add_fault(CorruptPush(matching="file$", offset_bytes=70_000, times=1))
    host.push(data, "/data/local/tmp/other")
    host.push(data, FILE)
    wrong = host.pull(FILE)
    host.push(data, FILE)
    differing = [index for index in range(len(data)) if data[index] != wrong[index]]
    assert differing == [70_000]
    assert host.pull(FILE) == data == host.pull("/data/local/tmp/other")


def test_a_file_shorter_than_the_offset_stays_whole(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(CorruptPush(offset_bytes=5))
    host.push(b"12345", FILE)
    assert host.pull(FILE) == b"12345"


def test_a_push_is_refused_in_the_given_words(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(RefusePush(matching=r"/file$", reason="fchown failed", times=1))
    with pytest.raises(PushRefused, match="fchown failed"):
        host.push(bytes(200_000), FILE)
    host.push(b"x", FILE)


# Commands


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("echo run; exec sleep 1000", b"run\n"),
        ("echo run; sleep 1000; echo code=$?", b"run\ncode=137\n"),
    ],
)
def test_what_the_shell_started_is_killed(
    phone: SimulatedPhone, host: AdbHost, command: str, stdout: bytes
) -> None:
    phone.add_fault(KillCommand(matching="sleep", signal=9, times=1))
    answer = host.shell(command)
    assert answer.stdout.endswith(stdout[4:])
    assert answer.exit_code == (0 if "code" in command else 137)


def test_another_signal_may_be_chosen(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(KillCommand(matching="sleep", signal=11, after_s=0.05))
    assert host.shell("exec sleep 1000").exit_code == 139


def test_output_ends_early_with_the_chosen_exit_code(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(CutOutput(matching="head", after_bytes=100, times=1))
    phone.add_fault(CutOutput(matching="head", after_bytes=50_000, exit_code=0, times=1))
    own = host.shell("head -c 70000 /dev/zero; echo err >&2; exit 3")
    chosen = host.shell("head -c 70000 /dev/zero; exit 3")
    whole = host.shell("head -c 70000 /dev/zero; exit 3")
    assert (len(own.stdout), own.stderr, own.exit_code) == (100, b"err\n", 3)
    assert (len(chosen.stdout), chosen.exit_code) == (50_000, 0)
    assert (len(whole.stdout), whole.exit_code) == (70_000, 3)


def test_a_wrong_exit_code_is_reported(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(WrongExit(matching="^true$", exit_code=77, times=1))
    assert [host.shell(c).exit_code for c in ("false", "true", "true")] == [1, 77, 0]


@pytest.mark.parametrize(("doubled", "end"), [(False, b"\r\n"), (True, b"\r\r\n")])
def test_line_ends_of_an_old_terminal(
    phone: SimulatedPhone, host: AdbHost, doubled: bool, end: bytes
) -> None:
    phone.add_fault(OutputCrlf(doubled=doubled))
    assert host.run("shell:echo a; echo b") == b"a" + end + b"b" + end
    assert host.shell("echo a").stdout == b"a" + end
    assert host.run("exec:echo a") == b"a\n"


def test_a_reboot_in_the_middle_of_a_command(phone: SimulatedPhone) -> None:
    phone.add_fault(RebootDuring(matching="marker", down_s=0.0, times=1))
    before = phone.boot_id
    with AdbHost(phone.endpoint) as host:
        host.push(b"kept", FILE)
        assert host.shell("true").exit_code == 0
        with pytest.raises((Ended, ConnectionResetError)):
            host.shell("echo marker")  # never completes, however short
    with connect_again(phone) as host:
        assert host.shell("echo marker").exit_code == 0
        assert host.pull(FILE) == b"kept"
    assert phone.boot_id != before


def connect_again(phone: SimulatedPhone) -> AdbHost:
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return AdbHost(phone.endpoint)
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.01)


# Together


def test_faults_compose() -> None:
    faults = (
        OldPhone(),
        OutputCrlf(),
        CutOutput(matching="document", after_bytes=6),
        Slow(bytes_per_s=10_000_000),
    )
    with SimulatedPhone(SimulatedConfig(), faults) as phone, AdbHost(phone.endpoint) as host:
        assert host.run("shell:echo document") == b"docume"
        assert host.run("shell:echo whole") == b"whole\r\n"


def test_a_repaired_phone_is_well(phone: SimulatedPhone, host: AdbHost) -> None:
    phone.add_fault(NoSpace())
    phone.add_fault(WrongExit())
    phone.clear_faults()
    host.push(b"x", FILE)
    assert host.shell("true").exit_code == 0
