"""Who a simulated phone says it is: identity, battery, temperatures, adb's abilities."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

from android_harness.evidence import Fidelity
from android_harness.virtual.simulated.adb_wire import MAX_PAYLOAD_BYTES, VERSION_NO_CHECKSUM

# What the daemon really can do; nothing more is announced (no sendrecv_v2, no delayed_ack).
FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir")
OLD_FEATURES = ("cmd",)

_ABI_OF_MACHINE = {"x86_64": "x86_64", "aarch64": "arm64-v8a", "armv7l": "armeabi-v7a"}
_SAFE_NAME = re.compile(r"[A-Za-z0-9._:-]+")


def host_abi() -> str:
    """This machine's processor by Android's name: the runner is executed by the host."""
    machine = platform.machine()
    return _ABI_OF_MACHINE.get(machine, machine)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBattery:
    """What ``dumpsys battery`` and /sys/class/power_supply/battery tell."""

    level_percent: int = 80
    temperature_c: float = 28.5
    voltage_mv: int = 4100
    current_ua: int = -250_000  # Android's sign: negative while discharging
    charge_counter_uah: int = 3_200_000
    status: str = "Discharging"  # the kernel's words: Charging, Discharging, Not charging, Full
    usb_powered: bool = False


def _default_zones() -> Mapping[str, float]:
    return MappingProxyType({"cpu-0-0": 35.0, "battery": 28.5, "skin": 31.0})


def _no_properties() -> Mapping[str, str]:
    return MappingProxyType({})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedConfig:
    """One simulated phone.

    ``authorized_keys`` holds public keys as in adbkey.pub; None lets everybody in who reaches
    the port, which is every user of this machine. ``state_dir`` is kept when the phone ends and
    may be used again; without it a temporary directory is made and removed.
    """

    serial: str = "SIM0000001"
    manufacturer: str = "deploy-bench"
    model: str = "Simulated Phone"
    device: str = "simulated"
    soc: str = "simulated"
    android: str = "14"
    sdk: int = 34
    security_patch: str = "2026-06-01"
    abis: tuple[str, ...] = field(default_factory=lambda: (host_abi(),))
    fingerprint: str = "deploybench/simulated/simulated:14/SIM/1:userdebug/test-keys"
    battery: SimulatedBattery = field(default_factory=SimulatedBattery)
    zones_c: Mapping[str, float] = field(default_factory=_default_zones)
    properties: Mapping[str, str] = field(default_factory=_no_properties)  # win over the rest
    features: tuple[str, ...] = FEATURES
    protocol_version: int = VERSION_NO_CHECKSUM
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    authorized_keys: tuple[str, ...] | None = None
    port: int = 0  # 0: any free port
    state_dir: Path | None = None

    def __post_init__(self) -> None:
        if not _SAFE_NAME.fullmatch(self.serial):
            raise ValueError(f"a serial holds only letters, digits and . _ : - : {self.serial!r}")
        if not self.abis:
            raise ValueError("a phone has at least one ABI")
        if not 4096 <= self.max_payload_bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"max_payload_bytes is 4096 to 1048576, not {self.max_payload_bytes}")

    def build_properties(self) -> dict[str, str]:
        """What getprop tells; the same names as on a phone of Android 14."""
        found = {
            "ro.serialno": self.serial,
            "ro.boot.serialno": self.serial,
            "ro.product.manufacturer": self.manufacturer,
            "ro.product.brand": self.manufacturer,
            "ro.product.model": self.model,
            "ro.product.name": self.device,
            "ro.product.device": self.device,
            "ro.soc.model": self.soc,
            "ro.hardware": "simulated",
            "ro.build.version.release": self.android,
            "ro.build.version.sdk": str(self.sdk),
            "ro.build.version.security_patch": self.security_patch,
            "ro.build.fingerprint": self.fingerprint,
            "ro.build.type": "userdebug",
            "ro.product.cpu.abi": self.abis[0],
            "ro.product.cpu.abilist": ",".join(self.abis),
            "ro.deploybench.fidelity": Fidelity.SIMULATED.value,
            "sys.boot_completed": "1",
        }
        return found | dict(self.properties)

    def banner(self) -> dict[str, str]:
        """The properties that adbd tells when a host connects."""
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        properties = self.build_properties()
        return {name: properties[name] for name in names}
