"""Many simulated phones at once, and one as a program of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.virtual.simulated.__main__ import main
from android_harness.virtual.simulated.phone import SimulatedConfig, SimulatedPhone

PHONES = 40
DEADLINE_S = 60.0


def test_forty_phones_work_at_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(200_000))

    def visit(phone: SimulatedPhone) -> str:
        remote = "/data/local/tmp/file"
        with AdbShellTcp(phone.host, phone.port) as transport:
            transport.push(source, remote, timeout_s=DEADLINE_S)
            target = tmp_path / phone.serial
            transport.pull(remote, target, timeout_s=DEADLINE_S, max_bytes=1_000_000)
            assert target.read_bytes() == source.read_bytes()
            return transport.shell("getprop ro.serialno", timeout_s=DEADLINE_S).text.strip()

    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        phones = [
            stack.enter_context(SimulatedPhone(SimulatedConfig(serial=f"SIM{number}")))
            for number in range(PHONES)
        ]
        with ThreadPoolExecutor(PHONES) as pool:
            assert list(pool.map(visit, phones)) == [phone.serial for phone in phones]
    assert threading.active_count() <= before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_one_phone_as_a_program(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "android_harness.virtual.simulated"]
    program = subprocess.Popen(
        [*command, "--serial", "S9", "--state-dir", str(tmp_path / "state")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    host, port = program.stdout.readline().strip().split(":")
    with AdbShellTcp(host, int(port)) as transport:
        done = transport.shell("getprop ro.serialno", timeout_s=DEADLINE_S)
    program.send_signal(ending)
    _, errors = program.communicate(timeout=DEADLINE_S)
    assert (done.text, program.returncode, errors) == ("S9\n", 0, "")


def test_a_program_that_cannot_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with SimulatedPhone() as phone, pytest.raises(SystemExit, match="2"):
        main(["--port", str(phone.port)])
    assert "Address already in use" in capsys.readouterr().err
