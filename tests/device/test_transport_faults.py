"""What a transport says when the link, the phone or the keys fail; every error comes at once."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from android_harness.errors import (
    NoSpace,
    PhoneLost,
    PhoneOffline,
    PhoneRefused,
    PhoneSilent,
    PhoneUnauthorized,
    RemoteFileError,
)
from android_harness.transport.adb_server import AdbServerTransport, Server
from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.virtual.chaos import Chaos, ChaosProxy, Way
from android_harness.virtual.phones import VirtualPhone
from android_harness.virtual.simulated.faults import (
    DropConnection,
    During,
    Freeze,
    RebootDuring,
    RefusePush,
    Unauthorized,
)
from android_harness.virtual.simulated.faults import NoSpace as NoSpaceLeft
from android_harness.virtual.simulated.phone import SimulatedPhone

pytestmark = pytest.mark.device

HOME = "/data/local/tmp"
S = 20.0
# Far below any timeout used here: the error was seen, not waited for.
AT_ONCE_S = 8.0

Spoiled = Callable[[str, int, Chaos], AdbShellTcp]


@pytest.fixture
def five_mb(tmp_path: Path) -> Path:
    path = tmp_path / "five"
    path.write_bytes(os.urandom(5_000_000))
    return path


@pytest.fixture
def at_once() -> Iterator[None]:
    """The test must not sit out one of its own timeouts of 60 s."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < AT_ONCE_S


def test_nothing_listens() -> None:
    with pytest.raises(PhoneRefused):
        AdbShellTcp("127.0.0.1", 1).connect()


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(PhoneRefused):
        AdbShellTcp("no-such-host.invalid", 5555).connect()


def test_a_phone_that_never_answers_is_silent(
    container_phone: VirtualPhone, spoiled: Spoiled
) -> None:
    transport = spoiled(container_phone.host, container_phone.port, Chaos(hang=True))
    with pytest.raises(PhoneSilent):
        transport.connect(timeout_s=1.0)


def test_what_is_no_phone_is_told_at_once(at_once: None) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(PhoneLost, match="not an adb packet"):
            AdbShellTcp("127.0.0.1", listener.getsockname()[1]).connect(timeout_s=60)
        thread.join()


@pytest.mark.parametrize("how", ["end_after_bytes", "reset_after_bytes"])
def test_a_link_that_ends_in_a_push_is_lost_at_once(
    container_phone: VirtualPhone, spoiled: Spoiled, five_mb: Path, how: str, at_once: None
) -> None:
    chaos = Chaos(**{how: 2_000_000}, times=1)
    transport = spoiled(container_phone.host, container_phone.port, chaos)
    with pytest.raises(PhoneLost, match="pushing"):
        transport.push(five_mb, f"{HOME}/lost", timeout_s=60)


def test_after_a_loss_the_next_call_connects_again(
    container_phone: VirtualPhone, spoiled: Spoiled, five_mb: Path
) -> None:
    chaos = Chaos(end_after_bytes=2_000_000, times=1)
    transport = spoiled(container_phone.host, container_phone.port, chaos)
    with pytest.raises(PhoneLost):
        transport.push(five_mb, f"{HOME}/again", timeout_s=60)
    transport.push(five_mb, f"{HOME}/again", timeout_s=60)
    assert transport.shell(f"wc -c <{HOME}/again; rm {HOME}/again", timeout_s=S).text.strip() == (
        "5000000"
    )


def test_a_link_that_ends_in_a_pull_leaves_nothing(
    container_phone: VirtualPhone, spoiled: Spoiled, tmp_path: Path
) -> None:
    chaos = Chaos(way=Way.DOWN, end_after_bytes=2_000_000)
    transport = spoiled(container_phone.host, container_phone.port, chaos)
    with AdbShellTcp(container_phone.host, container_phone.port) as sound:
        sound.shell(f"head -c 5000000 /dev/zero >{HOME}/pulled", timeout_s=S)
    with pytest.raises(PhoneLost, match="pulling"):
        transport.pull(f"{HOME}/pulled", tmp_path / "back", timeout_s=60, max_bytes=10_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_push_that_stalls_ends_at_its_deadline(
    container_phone: VirtualPhone, spoiled: Spoiled, five_mb: Path
) -> None:
    chaos = Chaos(blackhole_after_bytes=2_000_000)
    transport = spoiled(container_phone.host, container_phone.port, chaos)
    with pytest.raises(PhoneLost, match="no answer for 2 s"):
        transport.push(five_mb, f"{HOME}/stalled", timeout_s=2.0)


def test_a_slow_link_carries_a_push_whole(
    container_phone: VirtualPhone, spoiled: Spoiled, tmp_path: Path
) -> None:
    """A socket takes such a push in parts; parts that are dropped would make it fail always."""
    source = tmp_path / "two"
    source.write_bytes(os.urandom(2_000_000))
    chaos = Chaos(rate_bytes_per_s=2_000_000)
    transport = spoiled(container_phone.host, container_phone.port, chaos)
    transport.push(source, f"{HOME}/slow", timeout_s=60)
    transport.pull(f"{HOME}/slow", tmp_path / "back", timeout_s=60, max_bytes=2_000_000)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    transport.shell(f"rm {HOME}/slow", timeout_s=S)


def test_a_dead_link_in_a_command_is_a_lost_phone_not_a_slow_command(
    container_phone: VirtualPhone, spoiled: Spoiled
) -> None:
    """At the deadline the phone is asked to end the command; a dead link does not answer that."""
    transport = spoiled(
        container_phone.host, container_phone.port, Chaos(way=Way.DOWN, blackhole_after_bytes=2000)
    )
    with pytest.raises(PhoneLost, match="no answer"):
        transport.shell("head -c 100000 /dev/zero; sleep 60", timeout_s=1.0)


def test_the_right_key_opens_a_locked_phone(locked_phone: VirtualPhone) -> None:
    with AdbShellTcp(locked_phone.host, locked_phone.port) as transport:
        assert transport.shell("echo in", timeout_s=S).text == "in\n"


def test_a_wrong_key_is_told_at_once(
    locked_phone: VirtualPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    with pytest.raises(PhoneUnauthorized, match="Allow USB debugging"):
        AdbShellTcp(locked_phone.host, locked_phone.port).connect(timeout_s=60)
    assert (tmp_path / "adbkey").stat().st_mode & 0o777 == 0o600


def test_nobody_accepts_our_key(
    locked_phone: VirtualPhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    transport = AdbShellTcp(locked_phone.host, locked_phone.port, authorize_wait_s=0.5)
    with pytest.raises(PhoneUnauthorized):
        transport.connect()


def test_a_vendor_key_opens_it_too(
    locked_phone: VirtualPhone,
    own_adb_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    monkeypatch.setenv("ADB_VENDOR_KEYS", str(own_adb_home / "adbkey"))
    with AdbShellTcp(locked_phone.host, locked_phone.port) as transport:
        assert transport.shell("echo in", timeout_s=S).text == "in\n"


def test_an_unauthorized_phone_behind_a_server(
    locked_phone: VirtualPhone, adb_server: Server, tmp_path: Path
) -> None:
    """The server made its own key when it started; it is the same home, so make it unknown."""
    import subprocess

    environment = {
        **os.environ,
        "ANDROID_ADB_SERVER_PORT": str(adb_server.port + 1),
        "HOME": str(tmp_path),
        "ANDROID_USER_HOME": str(tmp_path),
    }
    endpoint = f"{locked_phone.host}:{locked_phone.port}"
    subprocess.run(["adb", "connect", endpoint], env=environment, capture_output=True, check=False)
    try:
        server = Server(host="127.0.0.1", port=adb_server.port + 1)
        with pytest.raises(PhoneUnauthorized):
            AdbServerTransport(server, endpoint).connect()
    finally:
        subprocess.run(["adb", "kill-server"], env=environment, capture_output=True, check=True)


def test_a_server_that_does_not_list_the_phone(adb_server: Server) -> None:
    with pytest.raises(PhoneRefused):
        AdbServerTransport(adb_server, "NOSUCHPHONE").connect()


def test_a_server_that_is_gone() -> None:
    with pytest.raises((PhoneRefused, PhoneLost)):
        AdbServerTransport(Server(host="127.0.0.1", port=1), "NOSUCHPHONE").connect()


def test_a_full_phone_says_no_space(container_phone: VirtualPhone, tmp_path: Path) -> None:
    source = tmp_path / "huge"
    with source.open("wb") as file:
        file.truncate(300 << 20)
    with AdbShellTcp(container_phone.host, container_phone.port) as transport:
        with pytest.raises(NoSpace) as caught:
            transport.push(source, f"{HOME}/huge", timeout_s=60)
        assert caught.value.needed_bytes == 300 << 20
        assert transport.shell(f"rm -f {HOME}/huge; echo fine", timeout_s=S).text == "fine\n"


def test_a_read_only_place_is_refused_in_the_phones_words(
    container_phone: VirtualPhone, five_mb: Path, at_once: None
) -> None:
    with (
        AdbShellTcp(container_phone.host, container_phone.port) as transport,
        pytest.raises(RemoteFileError, match="Read-only file system"),
    ):
        transport.push(five_mb, "/system/x", timeout_s=60)


def test_a_service_the_phone_does_not_have(container_phone: VirtualPhone, at_once: None) -> None:
    from android_harness.transport.deadline import Pace
    from android_harness.transport.stream import ServiceRefused

    with AdbShellTcp(container_phone.host, container_phone.port) as transport:
        transport.connect()
        with pytest.raises(ServiceRefused, match="nonsense"):
            transport._open("nonsense:", Pace(60))


def test_simulated_unauthorized(simulated_phone: SimulatedPhone) -> None:
    simulated_phone.add_fault(Unauthorized(times=1))
    with AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport:
        with pytest.raises(PhoneUnauthorized):
            transport.connect()
        assert transport.shell("echo in", timeout_s=S).text == "in\n"


@pytest.mark.parametrize("reset", [False, True])
def test_a_cable_pulled_in_a_run_is_a_lost_phone(
    simulated_phone: SimulatedPhone, reset: bool, at_once: None
) -> None:
    simulated_phone.add_fault(DropConnection(during=During.SHELL, after_bytes=5, reset=reset))
    with (
        AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport,
        pytest.raises(PhoneLost, match="running"),
    ):
        transport.shell("echo some output; sleep 30", timeout_s=60)


def test_a_phone_that_restarts_in_a_run_is_lost_then_there_again(
    simulated_phone: SimulatedPhone, at_once: None
) -> None:
    simulated_phone.add_fault(RebootDuring(matching="sleep 31", after_s=0.2, down_s=0.1, times=1))
    before = simulated_phone.boot_id
    with AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport:
        with pytest.raises(PhoneLost):
            transport.shell("sleep 31", timeout_s=60)
        time.sleep(0.5)
        found = transport.shell("cat /proc/sys/kernel/random/boot_id", timeout_s=S)
        assert found.exit_code == 0
    assert simulated_phone.boot_id != before


def test_a_frozen_phone_in_a_push_is_lost(simulated_phone: SimulatedPhone, five_mb: Path) -> None:
    simulated_phone.add_fault(Freeze(during=During.PUSH, after_bytes=1_000_000))
    with (
        AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport,
        pytest.raises(PhoneLost),
    ):
        transport.push(five_mb, f"{HOME}/frozen", timeout_s=2.0)


def test_a_refusal_is_seen_before_all_is_sent(
    simulated_phone: SimulatedPhone, tmp_path: Path
) -> None:
    simulated_phone.add_fault(RefusePush(reason="couldn't create file: Permission denied"))
    source, seen = tmp_path / "large", []
    with source.open("wb") as file:
        file.truncate(200 << 20)
    with (
        AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport,
        pytest.raises(RemoteFileError, match="Permission denied"),
    ):
        transport.push(source, f"{HOME}/x", timeout_s=60, progress=lambda *a: seen.append(a))
    assert not seen or seen[-1][0] < 200 << 20


def test_simulated_no_space(simulated_phone: SimulatedPhone, five_mb: Path) -> None:
    simulated_phone.add_fault(NoSpaceLeft(free_bytes=1_000_000))
    with (
        AdbShellTcp(simulated_phone.host, simulated_phone.port) as transport,
        pytest.raises(NoSpace),
    ):
        transport.push(five_mb, f"{HOME}/x", timeout_s=60)


def test_keys_are_never_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from android_harness.transport import keys

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "adbkey").write_bytes(pem)
    monkeypatch.setenv("ANDROID_USER_HOME", str(tmp_path))
    assert len(keys.load_signers()) == 1
    assert (tmp_path / "adbkey").read_bytes() == pem


def test_a_proxy_is_enough_to_reach_a_phone(container_phone: VirtualPhone) -> None:
    """What the fault tests stand on: the proxy itself spoils nothing."""
    proxy = ChaosProxy(container_phone.host, container_phone.port)
    try:
        with AdbShellTcp(proxy.host, proxy.port) as transport:
            assert transport.shell("echo through", timeout_s=S).text == "through\n"
    finally:
        proxy.close()


def test_offline_is_its_own_error() -> None:
    from android_harness.transport.foreign import Doing, server_said

    error = server_said("device offline", Doing("X1", "connecting", True))
    assert isinstance(error, PhoneOffline)
