"""Phones that the device tests drive: a container with Android's own adbd, and a simulated one."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from android_harness import virtual
from android_harness.errors import HarnessError
from android_harness.evidence import Fidelity
from android_harness.transport import keys
from android_harness.transport.adb_server import AdbServerTransport, Server
from android_harness.transport.adb_shell_tcp import AdbShellTcp
from android_harness.transport.stream_transport import StreamTransport
from android_harness.virtual.chaos import Chaos, ChaosProxy
from android_harness.virtual.options import Options
from android_harness.virtual.phones import VirtualPhone
from android_harness.virtual.simulated.phone import SimulatedPhone


@pytest.fixture(scope="session", autouse=True)
def own_adb_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys of our own, and no adb server of whoever runs the tests."""
    home = tmp_path_factory.mktemp("android")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_USER_HOME", str(home))
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(_free_port()))
        for name in ("ADB_SERVER_SOCKET", "ADB_VENDOR_KEYS", "ANDROID_SERIAL"):
            patch.delenv(name, raising=False)
        yield home


def _started(options: Options) -> VirtualPhone:
    if os.geteuid() != 0:
        pytest.skip("a container phone needs root")
    try:
        return virtual.start(Fidelity.CONTAINER, options=options)
    except HarnessError as error:
        pytest.skip(f"no container phone here: {error}")


@pytest.fixture(scope="session")
def container_phone(own_adb_home: Path) -> Iterator[VirtualPhone]:
    """Android's own adbd, shared by all tests; small storage, so that it can be filled."""
    with _started(Options(data_mb=256)) as phone:
        yield phone


@pytest.fixture(scope="session")
def locked_phone(own_adb_home: Path) -> Iterator[VirtualPhone]:
    """A phone that knows exactly our key."""
    public = keys.load_signers()[0].GetPublicKey().decode()
    with _started(Options(authorized_keys=(public,), data_mb=64)) as phone:
        yield phone


@pytest.fixture
def simulated_phone() -> Iterator[SimulatedPhone]:
    with SimulatedPhone() as phone:
        yield phone


@pytest.fixture(scope="session")
def adb_server(own_adb_home: Path) -> Iterator[Server]:
    """Debian's adb server on a port of its own."""
    port = _free_port()
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(port)}
    try:
        subprocess.run(["adb", "start-server"], env=environment, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("adb is not installed: apt-get install adb")
    yield Server(host="127.0.0.1", port=port)
    subprocess.run(["adb", "kill-server"], env=environment, check=True, capture_output=True)


@dataclass(frozen=True)
class Way:
    """One way to a phone: its name, and how to get a fresh transport."""

    name: str
    make: Callable[[], StreamTransport]
    real_adbd: bool


@pytest.fixture(params=["tcp", "tcp without shell_v2", "server", "simulated", "old simulated"])
def way(request: pytest.FixtureRequest) -> Way:
    """Every transport to every kind of phone that runs anywhere."""
    match request.param:
        case "simulated" | "old simulated":
            return _simulated_way(request)
        case "server":
            return _server_way(request)
        case _:
            phone: VirtualPhone = request.getfixturevalue("container_phone")
            kind = AdbShellTcp if request.param == "tcp" else _without_shell_v2
            return Way(request.param, lambda: kind(phone.host, phone.port), True)


def _without_shell_v2(host: str, port: int) -> StreamTransport:
    return AdbShellTcp(host, port, ignored_features=frozenset({"shell_v2", "stat_v2"}))


def _simulated_way(request: pytest.FixtureRequest) -> Way:
    from android_harness.virtual.simulated.faults import OldPhone

    phone: SimulatedPhone = request.getfixturevalue("simulated_phone")
    if request.param == "old simulated":
        phone.add_fault(OldPhone())
    return Way(request.param, lambda: AdbShellTcp(phone.host, phone.port), False)


def _server_way(request: pytest.FixtureRequest) -> Way:
    server: Server = request.getfixturevalue("adb_server")
    phone: VirtualPhone = request.getfixturevalue("container_phone")
    serial = held_by(server, f"{phone.host}:{phone.port}")
    return Way("server", lambda: AdbServerTransport(server, serial), True)


def held_by(server: Server, endpoint: str) -> str:
    """Have the server connect to a phone; the serial is the endpoint."""
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(server.port)}
    for verb in ("disconnect", "connect"):  # a phone that restarted is offline until then
        command = ["adb", verb, endpoint]
        subprocess.run(command, env=environment, check=verb == "connect", capture_output=True)
    return endpoint


@pytest.fixture
def transport(way: Way) -> Iterator[StreamTransport]:
    with way.make() as made:
        yield made


@pytest.fixture
def spoiled() -> Iterator[Callable[[str, int, Chaos], AdbShellTcp]]:
    """A transport through a proxy that spoils the link."""
    proxies: list[ChaosProxy] = []
    transports: list[AdbShellTcp] = []

    def make(host: str, port: int, chaos: Chaos) -> AdbShellTcp:
        proxies.append(ChaosProxy(host, port, chaos))
        transports.append(AdbShellTcp(proxies[-1].host, proxies[-1].port))
        return transports[-1]

    yield make
    for made in transports:
        made.close()
    for proxy in proxies:
        proxy.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
