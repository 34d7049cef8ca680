"""The simulated phone through the three hosts that exist: Debian's adb, adb-shell, adbutils."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import adbutils
import pytest
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.auth.keygen import keygen
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.exceptions import DeviceAuthError, PushFailedError, TcpTimeoutException

from android_harness.virtual.simulated.faults import NoSpace, OldPhone, Unauthorized
from android_harness.virtual.simulated.phone import SimulatedConfig, SimulatedPhone

Adb = Callable[..., "subprocess.CompletedProcess[bytes]"]
REMOTE = "/data/local/tmp/blob"
DEADLINE_S = 30.0


@pytest.fixture
def phone() -> Iterator[SimulatedPhone]:
    with SimulatedPhone(SimulatedConfig(model="Model X")) as phone:
        yield phone


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    """Several packets, the last one odd."""
    path = tmp_path / "blob"
    path.write_bytes(os.urandom(3_000_001))
    return path


@pytest.fixture
def server_port(tmp_path: Path) -> Iterator[int]:
    """An adb server of our own, with a home of its own for the key."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed: apt-get install adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    yield port
    _adb(tmp_path, port, "kill-server")


@pytest.fixture
def adb(tmp_path: Path, server_port: int) -> Adb:
    return lambda *arguments, **options: _adb(tmp_path, server_port, *arguments, **options)


def _adb(
    home: Path, port: int, *arguments: str, **options: Any
) -> "subprocess.CompletedProcess[bytes]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANDROID_ADB_SERVER_PORT": str(port),
    }
    return subprocess.run(
        ["adb", *arguments],
        env=environment,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        **options,
    )


@pytest.fixture
def connected(adb: Adb, phone: SimulatedPhone) -> Adb:
    """adb, with our phone chosen."""
    assert b"connected to" in adb("connect", phone.endpoint).stdout
    return lambda *arguments, **options: adb("-s", phone.endpoint, *arguments, **options)


# Debian's adb


def test_adb_lists_the_phone(connected: Adb, adb: Adb, phone: SimulatedPhone) -> None:
    row = adb("devices", "-l").stdout.decode().splitlines()[1].split()
    assert row[:2] == [phone.endpoint, "device"]
    assert "model:Model_X" in row
    assert b"shell_v2" in connected("features").stdout.split()


def test_adb_runs_commands(connected: Adb) -> None:
    done = connected("shell", "cat; echo err >&2; exit 7", input=b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"typed", b"err\n")
    assert connected("shell", "kill -9 $$").returncode == 137


def test_adb_brings_files_there_and_back(connected: Adb, blob: Path, tmp_path: Path) -> None:
    assert connected("push", str(blob), f"{REMOTE}/new/name").returncode == 0
    assert connected("pull", f"{REMOTE}/new/name", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == blob.read_bytes()
    assert connected("exec-out", f"cat {REMOTE}/new/name").stdout == blob.read_bytes()


def test_adb_pulls_a_directory(connected: Adb, phone: SimulatedPhone, tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        file = phone.path("/data/local/tmp/tree") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    assert connected("pull", "/data/local/tmp/tree", str(tmp_path)).returncode == 0
    assert (tmp_path / "tree/b/c").read_text() == "b/c"


def test_adb_says_why_a_push_failed(connected: Adb, phone: SimulatedPhone, blob: Path) -> None:
    refused = connected("push", str(blob), "/system/x")
    phone.add_fault(NoSpace(free_bytes=1_000_000))
    full = connected("push", str(blob), REMOTE)
    assert (refused.returncode, full.returncode) == (1, 1)
    assert b"couldn't create file: Read-only file system" in refused.stdout + refused.stderr
    assert b"No space left on device" in full.stdout + full.stderr


def test_adb_works_with_an_old_phone(phone: SimulatedPhone, adb: Adb, blob: Path) -> None:
    phone.add_fault(OldPhone())
    adb("connect", phone.endpoint)
    done = adb("-s", phone.endpoint, "shell", "echo out; exit 7")
    pushed = adb("-s", phone.endpoint, "push", str(blob), REMOTE)
    assert (done.returncode, done.stdout, pushed.returncode) == (0, b"out\n", 0)
    assert phone.path(REMOTE).read_bytes() == blob.read_bytes()


def test_adb_is_told_that_it_is_not_authorized(phone: SimulatedPhone, adb: Adb) -> None:
    phone.add_fault(Unauthorized())
    adb("connect", phone.endpoint)
    refused = adb("-s", phone.endpoint, "shell", "true")
    assert refused.returncode == 1
    assert b"unauthorized" in refused.stderr or b"authenticat" in refused.stderr


def test_adb_with_its_own_key_is_let_in(adb: Adb, tmp_path: Path) -> None:
    adb("start-server")  # makes the key
    key = (tmp_path / ".android/adbkey.pub").read_text()
    with SimulatedPhone(SimulatedConfig(authorized_keys=(key,))) as phone:
        adb("connect", phone.endpoint)
        assert adb("-s", phone.endpoint, "wait-for-device", "shell", "exit 5").returncode == 5


# adb-shell 0.4.4 as it is


def test_adb_shell_runs_commands_and_carries_files(
    phone: SimulatedPhone, blob: Path, tmp_path: Path
) -> None:
    with closing(AdbDeviceTcp(phone.host, phone.port)) as device:
        assert device.connect()
        assert device.shell("echo out; echo err >&2") == "out\nerr\n"
        device.push(str(blob), REMOTE)
        assert device.stat(REMOTE)[1] == 3_000_001
        assert [bytes(entry.filename) for entry in device.list("/data/local/tmp")] == [
            b".",
            b"..",
            b"blob",
        ]
        device.pull(REMOTE, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == blob.read_bytes()


def test_adb_shell_hears_of_a_full_phone(phone: SimulatedPhone, blob: Path) -> None:
    phone.add_fault(NoSpace(free_bytes=2_900_000))
    with closing(AdbDeviceTcp(phone.host, phone.port)) as device:
        device.connect()
        with pytest.raises((PushFailedError, KeyError, TcpTimeoutException)):
            device.push(str(blob), REMOTE, transport_timeout_s=1.0, read_timeout_s=1.0)
    assert not phone.path(REMOTE).exists()


def test_adb_shell_is_let_in_by_its_key_alone(tmp_path: Path) -> None:
    known, unknown = tmp_path / "known", tmp_path / "unknown"
    keygen(str(known))
    keygen(str(unknown))
    public = Path(f"{known}.pub").read_text()
    with SimulatedPhone(SimulatedConfig(authorized_keys=(public,))) as phone:
        with closing(AdbDeviceTcp(phone.host, phone.port)) as device:
            signers = [PythonRSASigner.FromRSAKeyPath(str(key)) for key in (unknown, known)]
            assert device.connect(rsa_keys=signers)
            assert device.shell("echo in") == "in\n"
        with closing(AdbDeviceTcp(phone.host, phone.port)) as device:
            with pytest.raises(TcpTimeoutException):  # its word for silence
                device.connect(rsa_keys=signers[:1], auth_timeout_s=0.3)
            with pytest.raises(DeviceAuthError):
                device.connect()


# adbutils


def test_adbutils_runs_commands_and_carries_files(
    connected: Adb, server_port: int, phone: SimulatedPhone, blob: Path
) -> None:
    device = adbutils.AdbClient(port=server_port).device(phone.endpoint)
    answer = device.shell2("echo out; exit 7", v2=True)
    assert (answer.returncode, answer.stdout) == (7, "out\n")
    device.sync.push(blob, REMOTE)
    assert device.sync.stat(REMOTE).size == 3_000_001
    assert device.sync.read_bytes(REMOTE) == blob.read_bytes()
    assert device.prop.get("ro.serialno") == phone.serial
