import os
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from android_harness.errors import ParseError
from android_harness.virtual.simulated.adb_wire import (
    VERSION_CHECKSUM,
    AuthKind,
    Command,
    Packet,
    encode_sync,
)
from android_harness.virtual.simulated.config import SimulatedBattery, host_abi
from android_harness.virtual.simulated.phone import SimulatedConfig, SimulatedPhone
from tests.unit.virtual.adb_host import DEADLINE_S, AdbHost, Ended, PushRefused


@pytest.fixture
def phone() -> Iterator[SimulatedPhone]:
    with SimulatedPhone() as phone:
        yield phone


@pytest.fixture
def host(phone: SimulatedPhone) -> Iterator[AdbHost]:
    with AdbHost(phone.endpoint) as host:
        yield host


def shell_text(host: AdbHost, command: str) -> str:
    return host.shell(command).stdout.decode().strip()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # ended, and not yet collected by init


def collect_all(host: AdbHost) -> None:
    while True:
        host.receive()


def gone(pid: int) -> bool:
    """Wait for the end of a process."""
    waiting = threading.Event()
    return any(not alive(pid) or waiting.wait(0.01) for _ in range(int(DEADLINE_S * 100)))


# Greeting


def test_the_banner_says_who_it_is() -> None:
    config = SimulatedConfig(model="Model X", device="dev", features=("shell_v2",))
    with SimulatedPhone(config) as phone, AdbHost(phone.endpoint) as host:
        assert host.properties["ro.product.model"] == "Model X"
        assert host.properties["ro.product.device"] == "dev"
        assert host.features == {"shell_v2"}


@pytest.mark.parametrize("version", [VERSION_CHECKSUM, VERSION_CHECKSUM + 1])
def test_both_protocol_versions_work(phone: SimulatedPhone, version: int) -> None:
    with AdbHost(phone.endpoint, version=version) as host:
        assert host.with_checksum is (version == VERSION_CHECKSUM)
        assert host.shell("echo hello").stdout == b"hello\n"


def test_packets_keep_to_what_the_host_takes(phone: SimulatedPhone) -> None:
    with AdbHost(phone.endpoint, max_payload_bytes=4096) as host:
        pieces = list(host.open("exec:head -c 100000 /dev/zero"))
        assert max(map(len, pieces)) <= 4096
        assert sum(map(len, pieces)) == 100_000


def test_a_wrong_sum_ends_the_connection(phone: SimulatedPhone) -> None:
    with AdbHost(phone.endpoint, version=VERSION_CHECKSUM) as host:
        host.with_checksum = False
        with pytest.raises((Ended, ConnectionResetError)):
            host.open("shell:true")


def test_nothing_is_opened_before_the_greeting(phone: SimulatedPhone) -> None:
    host = AdbHost(phone.endpoint, greet=False)
    with host, pytest.raises((Ended, ConnectionResetError)):
        host.open("shell:true")


def test_an_unknown_service_is_closed_and_the_connection_lives(host: AdbHost) -> None:
    with pytest.raises(Ended, match="closed the stream"):
        host.open("jdwp:1")
    assert host.shell("echo hello").stdout == b"hello\n"


def test_an_authorized_key_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ParseError, match="adb public key"):
        SimulatedPhone(SimulatedConfig(authorized_keys=("no key",)))


def test_an_unknown_host_is_asked_again_and_never_let_in() -> None:
    with (
        SimulatedPhone(SimulatedConfig(authorized_keys=())) as phone,
        AdbHost(phone.endpoint, greet=False) as host,
    ):
        first = host.greet()
        second = host.sign(b"\1" * 256)
        assert (first.command, first.arg0) == (Command.AUTH, AuthKind.TOKEN)
        assert (second.command, second.arg0) == (Command.AUTH, AuthKind.TOKEN)
        assert first.payload != second.payload
        host.send(Packet(command=Command.AUTH, arg0=AuthKind.PUBLIC_KEY, payload=b"key\0"))
        host.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):  # nobody answers the dialog
            host.receive()


# Commands


def test_exit_code_stdout_and_stderr_come_apart(host: AdbHost) -> None:
    answer = host.shell("echo out; echo err >&2; exit 7")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (7, b"out\n", b"err\n")


def test_a_killed_command_says_128_and_the_signal(host: AdbHost) -> None:
    assert host.shell("kill -SEGV $$").exit_code == 139


def test_shell_v1_and_exec_merge_both_outputs(host: AdbHost) -> None:
    assert host.run("shell:echo out; echo err >&2") == b"out\nerr\n"
    assert host.run("exec:echo out; echo err >&2") == b"out\nerr\n"


def test_stdin_reaches_the_command(host: AdbHost) -> None:
    assert host.shell("tr a-z A-Z", stdin=b"hello").stdout == b"HELLO"


def test_stdin_that_nobody_reads_stops_nothing(host: AdbHost) -> None:
    assert host.shell("exec 0<&-; sleep 0.2; exit 3", stdin=b"x" * 300_000).exit_code == 3


def test_binary_output_is_whole(host: AdbHost, phone: SimulatedPhone) -> None:
    data = os.urandom(300_000)
    phone.path("/data/local/tmp/blob").write_bytes(data)
    assert host.run("exec:cat /data/local/tmp/blob") == data


def test_paths_in_output_are_the_phones(host: AdbHost, phone: SimulatedPhone) -> None:
    text = shell_text(host, "cd /data/local/tmp && pwd && ls /data/local/tmp/nope 2>&1")
    assert text.splitlines()[0] == "/data/local/tmp"
    assert "'/data/local/tmp/nope'" in text
    assert str(phone.path("/data")) not in text


def test_commands_write_below_the_state_directory(tmp_path: Path) -> None:
    with (
        SimulatedPhone(SimulatedConfig(state_dir=tmp_path)) as phone,
        AdbHost(phone.endpoint) as host,
    ):
        host.shell("mkdir -p /data/local/tmp/a && echo 1 >/data/local/tmp/a/b; echo 2 >relative")
        assert (tmp_path / "data/local/tmp/a/b").read_text() == "1\n"
        assert (tmp_path / "relative").read_text() == "2\n"


def test_the_hosts_environment_stays_outside(
    host: AdbHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "1")
    assert "A_SECRET" not in shell_text(host, "env")


def test_a_closed_stream_ends_its_command(host: AdbHost) -> None:
    stream = host.open("exec:echo $$; exec sleep 1000")
    pid = int(next(stream))
    assert alive(pid)
    stream.close()
    assert gone(pid)


def test_a_lost_connection_ends_its_commands(phone: SimulatedPhone) -> None:
    with AdbHost(phone.endpoint) as host:
        pid = int(next(host.open("exec:trap '' HUP; echo $$; while :; do sleep 0.1; done")))
        assert alive(pid)
    assert gone(pid)


def test_close_ends_daemons_too() -> None:
    with SimulatedPhone() as phone, AdbHost(phone.endpoint) as host:
        pid = int(shell_text(host, "setsid sh -c 'echo $$; exec sleep 1000 >&- 2>&-' &"))
        assert alive(pid)
    assert gone(pid)


def test_streams_of_one_connection_run_side_by_side(host: AdbHost) -> None:
    waiting = host.open("exec:while [ ! -e /data/local/tmp/go ]; do sleep 0.01; done; echo went")
    assert host.shell("touch /data/local/tmp/go").exit_code == 0
    assert next(waiting) == b"went\n"


# Android's commands


def test_getprop_tells_the_identity(phone: SimulatedPhone, host: AdbHost) -> None:
    assert shell_text(host, "getprop ro.serialno") == phone.serial
    assert shell_text(host, "getprop ro.deploybench.fidelity") == "simulated"
    assert shell_text(host, "getprop ro.product.cpu.abilist") == host_abi()
    assert shell_text(host, "getprop no.such") == ""
    assert shell_text(host, "getprop no.such fallback") == "fallback"
    assert "[sys.boot_completed]: [1]" in shell_text(host, "getprop").splitlines()


def test_setprop_keeps_read_only_properties(phone: SimulatedPhone, host: AdbHost) -> None:
    assert host.shell("setprop debug.x 'a b'").exit_code == 0
    assert shell_text(host, "getprop debug.x") == "a b"
    refused = host.shell("setprop ro.serialno Y")
    assert (refused.exit_code, refused.stderr) == (
        1,
        b"Failed to set property 'ro.serialno' to 'Y'.\n",
    )
    phone.set_property("ro.serialno", "Y")
    assert shell_text(host, "getprop ro.serialno") == "Y"


def test_configured_properties_win() -> None:
    config = SimulatedConfig(properties={"ro.product.model": "Other", "ro.x": "1"})
    with SimulatedPhone(config) as phone, AdbHost(phone.endpoint) as host:
        assert shell_text(host, "getprop ro.product.model") == "Other"
        assert host.properties["ro.product.model"] == "Other"
        assert shell_text(host, "getprop ro.x") == "1"


def test_the_battery_is_what_was_configured_and_can_change() -> None:
    battery = SimulatedBattery(level_percent=12, temperature_c=41.5, status="Charging")
    with (
        SimulatedPhone(SimulatedConfig(battery=battery)) as phone,
        AdbHost(phone.endpoint) as host,
    ):
        lines = shell_text(host, "dumpsys battery").splitlines()
        assert {"  level: 12", "  temperature: 415", "  status: 2"} <= set(lines)
        assert shell_text(host, "cat /sys/class/power_supply/battery/temp") == "415"
        phone.set_value("/sys/class/power_supply/battery/capacity", 11)
        assert "  level: 11" in shell_text(host, "dumpsys battery").splitlines()


def test_a_battery_that_was_set_says_so_until_reset(host: AdbHost) -> None:
    before = shell_text(host, "dumpsys battery")
    host.shell("dumpsys battery set level 5; dumpsys battery unplug")
    lines = shell_text(host, "dumpsys battery").splitlines()
    assert lines[1] == "  (UPDATES STOPPED -- use 'reset' to restart)"
    assert {"  level: 5", "  status: 3"} <= set(lines)
    host.shell("dumpsys battery reset")
    assert shell_text(host, "dumpsys battery") == before


def test_temperatures_are_those_of_the_zones() -> None:
    config = SimulatedConfig(zones_c={"skin": 42.125})
    with SimulatedPhone(config) as phone, AdbHost(phone.endpoint) as host:
        lines = shell_text(host, "dumpsys thermalservice").splitlines()
        assert lines.count("\tTemperature{mValue=42.125, mType=3, mName=skin, mStatus=0}") == 2
        assert shell_text(host, "cat /sys/class/thermal/thermal_zone*/temp") == "42125"


def test_an_unknown_service_of_dumpsys_is_named(host: AdbHost) -> None:
    assert host.shell("dumpsys nope").stderr == b"Can't find service: nope\n"


def test_meminfo_knows_a_process(host: AdbHost) -> None:
    assert "TOTAL PSS:" in shell_text(host, "dumpsys meminfo $$")
    assert "No process found for: 0" in shell_text(host, "dumpsys meminfo 0")


def test_df_shows_the_hosts_storage(host: AdbHost) -> None:
    head, row = shell_text(host, "df -k /data/local/tmp").splitlines()
    assert head.split()[:4] == ["Filesystem", "1K-blocks", "Used", "Available"]
    assert int(row.split()[3]) > 0
    assert host.shell("df /data/local/tmp/nope").exit_code == 1


# Files


def test_a_pushed_file_comes_back(host: AdbHost, phone: SimulatedPhone) -> None:
    data = os.urandom(200_001)
    host.push(data, "/data/local/tmp/new/folder/file")
    assert host.pull("/data/local/tmp/new/folder/file") == data
    assert shell_text(host, "stat -c %Y /data/local/tmp/new/folder/file") == "1700000000"


def test_the_owners_rights_spread_as_in_adbd(host: AdbHost) -> None:
    host.push(b"", "/data/local/tmp/a", 0o770)
    host.push(b"", "/data/local/tmp/b", 0o100644)
    assert shell_text(host, "stat -c %a /data/local/tmp/a /data/local/tmp/b") == "777\n666"


@pytest.mark.parametrize(
    "remote",
    ["/system/x", "/x", "/data/x", "/data/local/tmp/../../x", "/data/local/tmp", "/proc/x", ""],
)
def test_a_push_elsewhere_is_refused(host: AdbHost, phone: SimulatedPhone, remote: str) -> None:
    with pytest.raises(PushRefused, match="couldn't create file: Read-only file system"):
        host.push(b"x" * 100_000, remote)
    assert host.shell("true").exit_code == 0


def test_a_push_onto_a_directory_is_refused_and_the_directory_stays(host: AdbHost) -> None:
    host.shell("mkdir /data/local/tmp/d")
    with pytest.raises(PushRefused, match="couldn't create file: Is a directory"):
        host.push(b"x", "/data/local/tmp/d")
    assert host.shell("test -d /data/local/tmp/d").exit_code == 0


def test_a_pull_says_why_not(host: AdbHost) -> None:
    with pytest.raises(PushRefused, match="open failed: No such file or directory"):
        host.pull("/data/local/tmp/nope")
    with pytest.raises(PushRefused, match="read failed: Is a directory"):
        host.pull("/data/local/tmp")


def test_proc_can_be_pulled(host: AdbHost) -> None:
    assert host.pull("/proc/version") == Path("/proc/version").read_bytes()


def test_the_old_stat_says_zero_for_nothing(host: AdbHost) -> None:
    host.push(b"12345", "/data/local/tmp/f")
    request = encode_sync(b"STAT", b"/data/local/tmp/f")
    assert struct.unpack("<4sIII", host.sync(request, 16))[2:] == (5, 1_700_000_000)
    assert host.sync(encode_sync(b"STAT", b"/nope"), 16) == b"STAT" + bytes(12)


def test_the_new_stat_says_why(host: AdbHost) -> None:
    host.push(b"12345", "/data/local/tmp/f")
    found = struct.unpack(
        "<4sIQQIIIIQqqq", host.sync(encode_sync(b"STA2", b"/data/local/tmp/f"), 72)
    )
    missing = struct.unpack("<4sIQQIIIIQqqq", host.sync(encode_sync(b"LST2", b"/nope"), 72))
    assert (found[1], found[8]) == (0, 5)
    assert missing[1] == 2  # ENOENT


def test_a_link_is_followed_by_stat_alone(host: AdbHost) -> None:
    host.shell("echo 12 >/data/local/tmp/f; ln -s f /data/local/tmp/l")
    kinds = [
        struct.unpack_from("<I", host.sync(encode_sync(kind, b"/data/local/tmp/l"), 72), 24)[0]
        for kind in (b"STA2", b"LST2")
    ]
    assert [oct(kind & 0o170000) for kind in kinds] == ["0o100000", "0o120000"]


def test_a_listing_ends_with_done(host: AdbHost) -> None:
    host.push(b"1", "/data/local/tmp/f")
    answer = host.sync(encode_sync(b"LIST", b"/data/local/tmp"), 20 + 1 + 20 + 2 + 20 + 1 + 20)
    assert (answer[20:21], answer[41:43], answer[63:64]) == (b".", b"..", b"f")
    assert answer[-20:-16] == b"DONE"
    assert host.sync(encode_sync(b"LIST", b"/nope"), 20)[:4] == b"DONE"


def test_an_unknown_request_fails_in_words(host: AdbHost) -> None:
    assert host.sync(encode_sync(b"SND2", b"/x"), 30)[8:] == b"unknown command 32444e"


def test_a_path_too_long_is_refused(host: AdbHost) -> None:
    assert host.sync(encode_sync(b"STAT", b"/" + b"x" * 1024), 21)[8:] == b"path too long"


def test_half_a_push_leaves_no_file(phone: SimulatedPhone) -> None:
    with AdbHost(phone.endpoint) as host:
        stream = host.open("sync:")
        stream.write(encode_sync(b"SEND", b"/data/local/tmp/half,420"))
        stream.write(encode_sync(b"DATA", b"x" * 1000))
        host.push(b"", "/data/local/tmp/other")  # the first one is being written by now
        stream.close()
        assert shell_text(host, "sleep 0.2; ls /data/local/tmp") == "other"


# Life


def test_a_reboot_ends_connections_and_changes_the_boot_id(phone: SimulatedPhone) -> None:
    with AdbHost(phone.endpoint) as host:
        host.push(b"kept", "/data/local/tmp/kept")
        before = shell_text(host, "cat /proc/sys/kernel/random/boot_id")
        assert before == phone.boot_id == shell_text(host, "getprop ro.deploybench.boot_id")
        waiting = host.open("exec:sleep 1000")
        phone.reboot(down_s=0.0)
        with pytest.raises((Ended, ConnectionResetError)):
            next(waiting)
    with AdbHost(phone.endpoint) as host:
        assert host.pull("/data/local/tmp/kept") == b"kept"
        assert shell_text(host, "cat /proc/sys/kernel/random/boot_id") == phone.boot_id != before


def test_reboot_is_a_service_too(phone: SimulatedPhone) -> None:
    before = phone.boot_id
    with AdbHost(phone.endpoint) as host:
        host.open("reboot:")
        with pytest.raises((Ended, ConnectionResetError)):
            collect_all(host)
    waiting = threading.Event()
    assert any(phone.boot_id != before or waiting.wait(0.01) for _ in range(2000))


def test_a_phone_that_is_down_refuses(phone: SimulatedPhone) -> None:
    thread = threading.Thread(target=phone.reboot, args=(1000.0,))
    before = phone.boot_id
    thread.start()
    waiting = threading.Event()
    assert any(phone.boot_id != before or waiting.wait(0.01) for _ in range(2000))
    with pytest.raises(ConnectionRefusedError):
        AdbHost(phone.endpoint)
    phone.close()
    thread.join()


def test_the_temporary_directory_is_removed() -> None:
    with SimulatedPhone() as phone:
        folder = phone.path("/data").parent
        assert folder.is_dir()
    assert not folder.exists()


def test_a_given_directory_is_kept_and_used_again(tmp_path: Path) -> None:
    config = SimulatedConfig(state_dir=tmp_path / "state")
    with SimulatedPhone(config) as phone, AdbHost(phone.endpoint) as host:
        host.push(b"kept", "/data/local/tmp/kept")
    with SimulatedPhone(config) as phone, AdbHost(phone.endpoint) as host:
        assert host.pull("/data/local/tmp/kept") == b"kept"


def test_a_directory_that_needs_quotes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="state_dir"):
        SimulatedPhone(SimulatedConfig(state_dir=tmp_path / "with space"))


def test_close_can_be_called_again_and_ends_silent_hosts() -> None:
    phone = SimulatedPhone()
    with ExitStack() as stack:
        hosts = [stack.enter_context(AdbHost(phone.endpoint)) for _ in range(3)]
        phone.close()
        phone.close()
        for host in hosts:
            with pytest.raises((Ended, ConnectionResetError)):
                host.receive()


@pytest.mark.parametrize(
    "arguments", [{"serial": "a b"}, {"serial": ""}, {"abis": ()}, {"max_payload_bytes": 1}]
)
def test_a_config_that_makes_no_phone_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"serial|ABI|max_payload_bytes"):
        SimulatedConfig(**arguments)  # type: ignore[arg-type]
