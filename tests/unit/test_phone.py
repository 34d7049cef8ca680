from pathlib import Path

import pytest

from android_harness.errors import CommandFailed, ParseError
from android_harness.evidence import Evidence, Fidelity
from android_harness.phone import Identity, Phone
from android_harness.services.sampler import Sampler
from tests.unit.fake_transport import FakeTransport

PROPERTIES = {
    "ro.serialno": "X1",
    "ro.product.manufacturer": "Maker",
    "ro.product.model": "Model",
    "ro.product.device": "device",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "f/p",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
}


def identity(folder: Path, **changed: str) -> Identity:
    """The identity of a phone with these properties; "" takes one away."""
    properties = PROPERTIES | {key.replace("_", "."): value for key, value in changed.items()}
    lines = "".join(f"[{key}]: [{value}]\n" for key, value in properties.items() if value)
    (folder / "props").write_text(lines)
    return Phone(FakeTransport({"( getprop\n": f"( cat {folder / 'props'}\n"})).identity


def test_who_it_is(tmp_path: Path) -> None:
    found = identity(tmp_path)
    assert (found.serial, found.manufacturer, found.model) == ("X1", "Maker", "Model")
    assert (found.android, found.sdk) == ("14", 34)
    assert found.abis == ("arm64-v8a", "armeabi-v7a")
    assert found.fidelity is Fidelity.PHONE
    assert found.evidence is Evidence.PHYSICAL
    assert found.soc is None
    assert found.page_bytes
    assert found.kernel
    assert found.boot_id


def test_what_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    found = identity(tmp_path, **{"ro.serialno": "", "ro.build.version.sdk": "S"})
    assert found.serial == "fake:1"  # the endpoint stands in
    assert found.sdk is None


@pytest.mark.parametrize(
    ("changed", "fidelity"),
    [
        ({"ro.deploybench.fidelity": "container", "ro.kernel.qemu": "1"}, Fidelity.CONTAINER),
        ({"ro.deploybench.fidelity": "simulated"}, Fidelity.SIMULATED),
        ({"ro.kernel.qemu": "1"}, Fidelity.EMULATOR),
        ({"ro.boot.qemu": "1"}, Fidelity.EMULATOR),
        ({"ro.hardware": "ranchu"}, Fidelity.EMULATOR),
        ({"ro.hardware": "goldfish"}, Fidelity.EMULATOR),
        ({"ro.hardware": "qcom", "ro.kernel.qemu": "0"}, Fidelity.PHONE),
    ],
)
def test_what_kind_of_phone(tmp_path: Path, changed: dict[str, str], fidelity: Fidelity) -> None:
    assert identity(tmp_path, **changed).fidelity is fidelity


def test_a_fidelity_of_tomorrow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParseError):
        identity(tmp_path, **{"ro.deploybench.fidelity": "dreamt"})


@pytest.mark.parametrize(
    ("changed", "soc"),
    [
        ({"ro.soc.manufacturer": "Google", "ro.soc.model": "Tensor G3"}, "Google Tensor G3"),
        ({"ro.soc.manufacturer": "Unknown", "ro.board.platform": "sdm845"}, "sdm845"),
        ({"ro.soc.model": "SM8650"}, "SM8650"),
    ],
)
def test_the_chip(tmp_path: Path, changed: dict[str, str], soc: str) -> None:
    assert identity(tmp_path, **changed).soc == soc


def test_nothing_readable_is_none_with_notes() -> None:
    dead = {
        "dumpsys battery": 'echo "Can\'t find service: battery"',
        "dumpsys thermalservice": 'echo "Can\'t find service: thermalservice"; exit 1',
        "dumpsys power": "false",
        "/sys/class/": "/nowhere/",
        "/sys/devices/": "/nowhere/",
        "/proc/loadavg": "/nowhere",
    }
    state = Phone(FakeTransport(dead)).read_state()
    assert (state.battery, state.thermal, state.load1) == (None, None, None)
    assert (state.screen, state.cpu_khz) == (None, None)
    assert len(state.notes) == 6
    assert any("Can't find service: battery" in note for note in state.notes)


def test_zones_stand_in_for_a_missing_service(tmp_path: Path) -> None:
    zone = tmp_path / "class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("skin-therm\n")
    (zone / "temp").write_text("33500\n")
    replaced = {
        "dumpsys thermalservice": 'echo "Can\'t find service"',
        "/sys/class": str(tmp_path / "class"),
        "dumpsys power": "echo '  mWakefulness=Dozing'; echo",
    }
    state = Phone(FakeTransport(replaced)).read_state()
    assert state.thermal is not None
    assert state.thermal.skin_c == 33.5
    assert state.screen == "dozing"
    assert state.load1 is not None


def test_the_kernels_current_stands_beside_the_services_battery(tmp_path: Path) -> None:
    node = tmp_path / "class/power_supply/battery"
    node.mkdir(parents=True)
    (node / "current_now").write_text("-451000\n")
    battery = "echo 'Current Battery Service state:'; echo '  level: 5'; echo '  scale: 100'"
    replaced = {"dumpsys battery": battery, "/sys/class": str(tmp_path / "class")}
    found = Phone(FakeTransport(replaced)).read_state().battery
    assert found is not None
    assert found.current_now_raw == -451_000
    assert (found.current_now_node or "").endswith("battery/current_now")
    assert found.level_percent == 5.0


def test_a_command_that_must_succeed() -> None:
    phone = Phone(FakeTransport())
    assert phone.run("echo yes", timeout_s=5.0) == "yes\n"
    with pytest.raises(CommandFailed, match="exit 3 of echo no"):
        phone.run("echo no; exit 3", timeout_s=5.0)


def test_the_processor_of_this_machine() -> None:
    assert Phone(FakeTransport()).read_cpus().cores


def test_a_sampler_is_started_once() -> None:
    sampler = Sampler(Phone(FakeTransport()), connect=lambda _: None)
    sampler.start()
    with pytest.raises(RuntimeError):
        sampler.start()
    assert sampler.stop().reason
