"""Finding phones: through a server, at endpoints, each once, with advice for the rest."""

import os
import subprocess
from pathlib import Path

import pytest

from android_harness import phones
from android_harness.errors import PhoneRefused, ToolMissing
from android_harness.evidence import Evidence, Fidelity
from android_harness.parse.battery import BatteryStatus
from android_harness.phone import Phone
from android_harness.services.sampler import Sampler
from android_harness.transport.adb_server import (
    AdbServerTransport,
    Server,
    connect_endpoint,
    running_server,
)
from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.transport.choosing import second_connection
from android_harness.virtual.phones import VirtualPhone
from android_harness.virtual.simulated.faults import Unauthorized
from android_harness.virtual.simulated.phone import (
    SimulatedBattery,
    SimulatedConfig,
    SimulatedPhone,
)
from tests.device.conftest import held_by

pytestmark = pytest.mark.device

S = 20.0


@pytest.fixture
def server(adb_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server that ``running_server`` finds."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    return adb_server


def endpoint_of(phone: VirtualPhone | SimulatedPhone) -> str:
    return f"{phone.host}:{phone.port}"


def test_a_container_phone_says_who_it_is(container_phone: VirtualPhone) -> None:
    with phones.connect(endpoint_of(container_phone)) as transport:
        identity = Phone(transport).identity
    assert identity.serial == container_phone.serial
    assert identity.fidelity is Fidelity.CONTAINER
    assert identity.evidence is Evidence.VIRTUAL
    assert container_phone.abi in identity.abis
    assert identity.boot_id
    assert identity.page_bytes == os.sysconf("SC_PAGE_SIZE")


def test_a_simulated_phone_is_evidence_of_the_host(simulated_phone: SimulatedPhone) -> None:
    with phones.connect(endpoint_of(simulated_phone)) as transport:
        identity = Phone(transport).identity
    assert identity.evidence is Evidence.HOST
    assert identity.boot_id == simulated_phone.boot_id


def test_the_state_is_what_the_phone_tells() -> None:
    battery = SimulatedBattery(
        level_percent=42, temperature_c=-3.5, voltage_mv=3701, current_ua=-123_456
    )
    with (
        SimulatedPhone(SimulatedConfig(battery=battery)) as simulated,
        phones.connect(endpoint_of(simulated)) as transport,
    ):
        state = Phone(transport).read_state()
    assert state.battery is not None
    assert state.battery.level_percent == 42.0
    assert state.battery.temperature_c == -3.5
    assert state.battery.voltage_mv == 3701
    assert state.battery.status is BatteryStatus.DISCHARGING
    assert state.battery.current_now_raw == -123_456
    assert state.battery.current_now_node == "/sys/class/power_supply/battery/current_now"
    assert state.load1 is not None


def test_a_real_shell_tells_of_its_processor(container_phone: VirtualPhone) -> None:
    with phones.connect(endpoint_of(container_phone)) as transport:
        cpus = Phone(transport).read_cpus()
    assert len(cpus.cores) >= len(os.sched_getaffinity(0))
    assert all(core.online is not None for core in cpus.cores)


def test_without_a_server_endpoints_are_asked_directly(simulated_phone: SimulatedPhone) -> None:
    assert running_server() is None
    (found,) = phones.list_phones([endpoint_of(simulated_phone)])
    assert found.state == "device"
    assert found.advice is None
    assert found.battery_percent == 80.0
    assert found.transport == "adb-shell over TCP (no adb server runs)"


def test_android_serial_is_looked_at(
    simulated_phone: SimulatedPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_SERIAL", endpoint_of(simulated_phone))
    assert [found.serial for found in phones.list_phones()] == [endpoint_of(simulated_phone)]


def test_each_phone_is_listed_once(container_phone: VirtualPhone, server: Server) -> None:
    """By the server and by an endpoint that only we know: the same phone."""
    held_by(server, endpoint_of(container_phone))
    other_name = f"localhost:{container_phone.port}"
    found = [p for p in phones.list_phones([other_name]) if p.state == "device"]
    assert [p.serial for p in found] == [endpoint_of(container_phone)]
    assert "through the adb server" in found[0].transport


def test_two_phones_with_one_serial_number_are_two() -> None:
    config = SimulatedConfig(serial="0123456789ABCDEF")
    with SimulatedPhone(config) as one, SimulatedPhone(config) as two:
        assert len(phones.list_phones([endpoint_of(one), endpoint_of(two)])) == 2


def test_what_cannot_be_used_is_listed_with_advice(simulated_phone: SimulatedPhone) -> None:
    simulated_phone.add_fault(Unauthorized())
    found = phones.list_phones([endpoint_of(simulated_phone), "127.0.0.1:1"])
    assert [(p.state, p.advice is not None) for p in found] == [
        ("unauthorized", True),
        ("refused", True),
    ]
    assert "Allow USB debugging" in (found[0].advice or "")


def test_a_server_that_holds_the_phone_is_used(
    container_phone: VirtualPhone, server: Server
) -> None:
    with phones.connect(held_by(server, endpoint_of(container_phone))) as transport:
        assert isinstance(transport, AdbServerTransport)
        assert transport.shell("echo fine", timeout_s=S).text == "fine\n"


def test_an_endpoint_the_server_does_not_list_is_reached_directly(
    simulated_phone: SimulatedPhone, server: Server
) -> None:
    with phones.connect(endpoint_of(simulated_phone)) as transport:
        assert isinstance(transport, AdbShellTcp)
        assert transport.description.endswith("(the adb server does not list it)")


def test_the_server_can_be_asked_to_connect(
    simulated_phone: SimulatedPhone, server: Server
) -> None:
    assert "connected to" in connect_endpoint(server, endpoint_of(simulated_phone))


def test_no_server_is_ever_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An adb on the path that leaves a trace when it is run."""
    trace = tmp_path / "ran"
    fake = tmp_path / "adb"
    fake.write_text(f"#!/bin/sh\ntouch {trace}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(fake))
    subprocess.run(["adb", "start-server"], check=True)
    assert trace.exists()
    trace.unlink()
    phones.list_phones()
    with pytest.raises((PhoneRefused, ToolMissing)):
        phones.connect("NOSUCHPHONE")
    with pytest.raises(PhoneRefused):
        AdbServerTransport(Server(host="127.0.0.1", port=1), "X").connect()
    assert not trace.exists()


def test_a_second_connection_works_beside_a_command(container_phone: VirtualPhone) -> None:
    with AdbShellTcp(container_phone.host, container_phone.port) as transport:
        with Sampler(Phone(transport), interval_s=0.1) as sampler:
            transport.shell("sleep 1.5", timeout_s=S)
        seen = sampler.stop()
    assert seen.reason is None
    assert len(seen.samples) >= 2
    assert seen.samples[0].at_s < seen.samples[-1].at_s


def test_a_sampler_that_cannot_connect_says_why(container_phone: VirtualPhone) -> None:
    with AdbShellTcp(container_phone.host, container_phone.port) as transport:
        with Sampler(Phone(transport), connect=lambda _: None) as sampler:
            pass
        assert sampler.stop().samples == ()
        assert sampler.stop().reason


def test_a_sampler_whose_phone_is_gone_ends_quietly() -> None:
    gone = AdbShellTcp("127.0.0.1", 1)
    with Sampler(Phone(gone), connect=second_connection) as sampler:
        pass
    assert "nothing listens" in (sampler.stop().reason or "")
