"""The virtual phone as Debian's own adb sees it: a container and an emulated arm64 machine."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from android_harness import places
from android_harness.errors import CommandFailed, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import (
    Options,
    VirtualPhone,
    build_image,
    offer,
    phones,
    qemu,
    start,
    state,
)

pytestmark = pytest.mark.device

DATA_MB = 48
KINDS = {Fidelity.CONTAINER: qemu.host_arch() or "amd64", Fidelity.EMULATED: "arm64"}


@pytest.fixture(scope="session", autouse=True)
def private_phones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Phones of these tests beside, not among, those of the developer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "PHONES", tmp_path_factory.mktemp("phones"))
        yield
        for phone in phones.running():
            phone.stop()


@dataclass(frozen=True, slots=True)
class Adb:
    """Debian's adb client with a server, a home and a key of its own."""

    environment: dict[str, str]

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["adb", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def shell(self, phone: VirtualPhone, command: str) -> subprocess.CompletedProcess[str]:
        return self.run("-s", f"{phone.host}:{phone.port}", "shell", command)

    def out(self, phone: VirtualPhone, command: str) -> str:
        done = self.shell(phone, command)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def connect(self, phone: VirtualPhone) -> str:
        return self.run("connect", f"{phone.host}:{phone.port}").stdout


@pytest.fixture(scope="session")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adb]:
    if shutil.which("adb") is None:
        pytest.skip("Debian's adb is not installed (apt-get install adb)")
    environment = {
        **os.environ,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "ANDROID_ADB_SERVER_PORT": str(qemu.free_port()),
    }
    for name in ("ADB_VENDOR_KEYS", "ADB_SERVER_SOCKET", "ANDROID_USER_HOME", "ANDROID_SERIAL"):
        environment.pop(name, None)
    client = Adb(environment)
    yield client
    client.run("kill-server")


def need(fidelity: Fidelity, arch: str) -> None:
    possible = offer(fidelity, arch)
    if not possible.ready:
        pytest.skip(f"{fidelity} {arch}: {possible.reason}")


@pytest.fixture(scope="session", params=[pytest.param(kind, id=kind.value) for kind in KINDS])
def phone(request: pytest.FixtureRequest, adb: Adb) -> Iterator[VirtualPhone]:
    need(request.param, KINDS[request.param])
    options = Options(data_mb=DATA_MB, memory_mb=320)
    with start(request.param, KINDS[request.param], options=options) as started:
        assert "connected to" in adb.connect(started)
        yield started


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_image_is_built_once_and_can_ask_for_keys(arch: str) -> None:
    need(Fidelity.EMULATED, arch)
    first = build_image(arch)
    built = first.initramfs.stat().st_mtime_ns
    assert build_image(arch) == first
    assert first.initramfs.stat().st_mtime_ns == built
    assert first.authentication == ""
    assert first.kernel.stat().st_size > 5_000_000


def test_shell_gives_exit_code_and_both_outputs_apart(phone: VirtualPhone, adb: Adb) -> None:
    done = adb.shell(phone, "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_user_is_the_shell_without_capabilities(phone: VirtualPhone, adb: Adb) -> None:
    assert adb.out(phone, "id").startswith("uid=2000(shell) gid=2000(shell) ")
    effective = adb.out(phone, "grep CapEff /proc/self/status").split()[1]
    assert int(effective, 16) == 0


def test_phone_says_what_it_is(phone: VirtualPhone, adb: Adb) -> None:
    assert adb.out(phone, "getprop ro.deploybench.fidelity") == phone.fidelity.value
    assert adb.out(phone, "getprop ro.serialno") == phone.serial
    assert adb.out(phone, "getprop sys.boot_completed") == "1"
    assert adb.out(phone, "getprop ro.product.cpu.abi") == phone.abi
    machine = {"x86_64": "x86_64", "arm64-v8a": "aarch64"}[phone.abi]
    assert adb.out(phone, "uname -m") == machine
    assert "model:Virtual_Phone" in adb.run("devices", "-l").stdout


def test_system_is_read_only(phone: VirtualPhone, adb: Adb) -> None:
    for folder in ("/system", "/vendor", "/apex", ""):
        done = adb.shell(phone, f"touch {folder}/x")
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr


def test_root_cannot_write_system_either(phone: VirtualPhone) -> None:
    with pytest.raises(CommandFailed, match="Read-only file system"):
        phone.control("touch /system/x")


def test_no_library_lies_on_glibcs_default_path(phone: VirtualPhone, adb: Adb) -> None:
    for folder in ("/lib", "/lib64", "/usr"):
        assert "No such file or directory" in adb.shell(phone, f"ls {folder}").stderr


def test_commands_android_has_are_there(phone: VirtualPhone, adb: Adb) -> None:
    known = set(adb.out(phone, "toybox").split())
    linked = adb.out(phone, "cd /system/bin; for f in *; do echo $f $(readlink $f); done")
    pairs = [line.split() for line in linked.splitlines()]
    assert {pair[0] for pair in pairs if pair[1:] == ["toybox"]} <= known
    assert adb.out(phone, "echo abc | tr a-c d-f | awk '{print $1}'") == "def"
    assert adb.out(phone, "head -c 1000 /dev/zero | dd bs=100 2>/dev/null | wc -c") == "1000"


def test_file_comes_back_as_it_was_pushed(phone: VirtualPhone, adb: Adb, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(3_000_001))
    serial = f"{phone.host}:{phone.port}"
    assert adb.run("-s", serial, "push", str(sent), "/data/local/tmp/f").returncode == 0
    assert adb.run("-s", serial, "pull", "/data/local/tmp/f", str(back)).returncode == 0
    assert back.read_bytes() == sent.read_bytes()
    adb.out(phone, "rm /data/local/tmp/f")


def test_push_to_a_forbidden_place_says_why(phone: VirtualPhone, adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    serial = f"{phone.host}:{phone.port}"
    done = adb.run("-s", serial, "push", str(tmp_path / "f"), "/system/f")
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout + done.stderr


def test_storage_fills_up_at_its_size_and_recovers(phone: VirtualPhone, adb: Adb) -> None:
    done = adb.shell(phone, f"head -c {DATA_MB + 8}m /dev/zero >/data/local/tmp/fill")
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    adb.out(phone, "rm /data/local/tmp/fill")
    adb.out(phone, "head -c 1m /dev/zero >/data/local/tmp/fits && rm /data/local/tmp/fits")


def test_battery_and_temperature_are_set_by_control(phone: VirtualPhone, adb: Adb) -> None:
    before = adb.out(phone, "dumpsys thermalservice")
    assert "Thermal Status: 0" in before
    phone.control(
        "echo 17 >/sys/class/power_supply/battery/capacity;"
        "echo 1 >/sys/class/power_supply/usb/online;"
        "echo 47000 >/sys/class/thermal/thermal_zone2/temp"
    )
    battery = adb.out(phone, "dumpsys battery")
    assert "  level: 17\n" in battery
    assert "  USB powered: true\n" in battery
    assert "Thermal Status: 3\n" in adb.out(phone, "dumpsys thermalservice")
    assert adb.shell(phone, "echo 1 >/sys/class/power_supply/usb/online").returncode != 0


def test_dumpsys_reads_the_real_kernel(phone: VirtualPhone, adb: Adb) -> None:
    total = adb.out(phone, "grep MemTotal /proc/meminfo").split()[1]
    assert f"Total RAM: {int(total):,}K" in adb.out(phone, "dumpsys meminfo")
    assert adb.out(phone, "dumpsys cpuinfo").startswith("Load: ")
    done = adb.shell(phone, "dumpsys activity")
    assert (done.returncode, done.stderr) == (20, "Can't find service: activity\n")


def test_properties_are_set_as_android_allows(phone: VirtualPhone, adb: Adb) -> None:
    adb.out(phone, "setprop debug.bench.x 5")
    assert adb.out(phone, "getprop debug.bench.x") == "5"
    assert adb.shell(phone, "setprop sys.boot_completed 0").returncode == 1
    assert adb.shell(phone, "setprop ro.serialno other").returncode == 1


def test_control_runs_as_root_and_tells_failure(phone: VirtualPhone) -> None:
    assert phone.control("id -u; echo 'a  b'; echo c >&2") == "0\na  b\nc\n"
    with pytest.raises(CommandFailed) as caught:
        phone.control("echo why; exit 4")
    assert (caught.value.exit_code, caught.value.stdout_tail.strip()) == (4, "why")


def test_adbd_comes_back_after_it_was_killed(phone: VirtualPhone, adb: Adb) -> None:
    phone.control("kill -9 $(pidof adbd)")
    adb.run("disconnect", f"{phone.host}:{phone.port}")
    for _ in range(20):
        if "connected to" in adb.connect(phone) and adb.shell(phone, "true").returncode == 0:
            break
    assert adb.out(phone, "echo back") == "back"


@pytest.mark.parametrize("fidelity", [pytest.param(kind, id=kind.value) for kind in KINDS])
def test_phone_with_keys_knows_one_and_refuses_another(
    fidelity: Fidelity, adb: Adb, tmp_path: Path
) -> None:
    need(fidelity, KINDS[fidelity])
    for name in ("known", "unknown"):
        adb.run("keygen", str(tmp_path / name))
    keys = ((tmp_path / "known.pub").read_text(),)
    with start(fidelity, KINDS[fidelity], options=Options(authorized_keys=keys)) as locked:
        for name, expected in (("unknown", "unauthorized"), ("known", "device")):
            port = str(qemu.free_port())
            changes = {
                "ADB_VENDOR_KEYS": str(tmp_path / name),
                "ANDROID_ADB_SERVER_PORT": port,
                "HOME": str(tmp_path / f"home-{name}"),
            }
            (tmp_path / f"home-{name}").mkdir()
            client = Adb({**adb.environment, **changes})
            try:
                client.connect(locked)
                assert f"{locked.host}:{locked.port}\t{expected}" in client.run("devices").stdout
            finally:
                client.run("kill-server")


@pytest.mark.parametrize("fidelity", [pytest.param(kind, id=kind.value) for kind in KINDS])
def test_stop_leaves_nothing(fidelity: Fidelity) -> None:
    need(fidelity, KINDS[fidelity])
    with start(fidelity, KINDS[fidelity]) as started:
        folder = started.console.parent
        mounts = Path("/proc/self/mounts").read_text()
        before = {pid: network_of(pid) for pid in state.processes(folder)}
        assert before
        assert str(folder) not in mounts
    assert not folder.exists()
    assert not [pid for pid in before if network_of(pid)]
    left = {network_of(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    assert left.isdisjoint(set(before.values()) - {network_of(os.getpid()), None})
    started.stop()  # once more is fine


def network_of(pid: int) -> str | None:
    """The network name space of a process; None when it ended, also when nobody reaped it yet."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def test_two_phones_at_once_are_two(adb: Adb) -> None:
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    with start(Fidelity.CONTAINER) as one, start(Fidelity.CONTAINER) as two:
        assert one.serial != two.serial
        assert one.port != two.port
        for each in (one, two):
            adb.connect(each)
            adb.out(each, f"echo {each.name} >/data/local/tmp/name")
        for each in (one, two):
            assert adb.out(each, "cat /data/local/tmp/name") == each.name
            assert adb.out(each, "getprop ro.serialno") == each.serial
        boots = {adb.out(each, "cat /proc/sys/kernel/random/boot_id") for each in (one, two)}
        assert len(boots) == 2
        assert {phone.name for phone in phones.running()} >= {one.name, two.name}


def test_port_that_is_taken_is_named_and_nothing_stays() -> None:
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    with start(Fidelity.CONTAINER) as one:
        with pytest.raises(VirtualPhoneError, match=f"port {one.port} cannot be used"):
            start(Fidelity.CONTAINER, name="second", options=Options(port=one.port))
        assert not state.folder_of("second").exists()


def test_qemu_on_a_taken_port_says_what_qemu_said() -> None:
    need(Fidelity.EMULATED, "arm64")
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    with start(Fidelity.CONTAINER) as one:
        with pytest.raises(VirtualPhoneError, match="Could not set up host forwarding"):
            start(Fidelity.EMULATED, name="second", options=Options(port=one.port))
        assert not state.folder_of("second").exists()


def test_deadline_shows_the_consoles_end_and_stops_the_phone() -> None:
    need(Fidelity.EMULATED, "arm64")
    with pytest.raises(VirtualPhoneError, match="was not ready after 0 s"):
        start(Fidelity.EMULATED, name="hurried", options=Options(timeout_s=0.01))
    assert not state.folder_of("hurried").exists()


def test_phone_of_a_killed_starter_is_cleaned_up() -> None:
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    code = (
        "import os, signal; from pathlib import Path; from android_harness import places;"
        f"places.PHONES = Path({str(places.PHONES)!r});"
        "from android_harness.evidence import Fidelity; from android_harness.virtual import start;"
        "start(Fidelity.CONTAINER, name='orphan'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    folder = state.folder_of("orphan")
    assert state.processes(folder)
    assert "orphan" not in {phone.name for phone in phones.running()}
    assert not state.processes(folder)
    assert not folder.exists()


def test_fewer_features_make_an_older_phone(adb: Adb) -> None:
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    with start(Fidelity.CONTAINER, options=Options(features=("cmd",))) as old:
        adb.connect(old)
        features = adb.run("-s", f"{old.host}:{old.port}", "features").stdout.split()
        assert "shell_v2" not in features
        assert adb.shell(old, "echo old; exit 3").returncode == 0  # no exit code on such phones


def test_adbd_is_not_reachable_beside_its_port() -> None:
    """Vsock knows no network name spaces: adbd must not listen there."""
    need(Fidelity.CONTAINER, KINDS[Fidelity.CONTAINER])
    with start(Fidelity.CONTAINER) as started:
        listening = started.control("grep -c . /proc/net/tcp6; ls -l /proc/$(pidof adbd)/fd")
        sockets = [line for line in listening.splitlines() if "socket:" in line]
        known = started.control("cat /proc/net/tcp /proc/net/tcp6 /proc/net/unix")
        inodes = [line.partition("socket:[")[2].rstrip("]") for line in sockets]
        assert inodes
        assert [inode for inode in inodes if inode not in known.split()] == []
