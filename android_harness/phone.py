"""One phone: who it is and how it is doing, read in one round trip each."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from android_harness.errors import CommandFailed, ParseError
from android_harness.evidence import Evidence, Fidelity
from android_harness.parse.battery import Battery, parse_battery
from android_harness.parse.cpu import Cpus, parse_cpu_files
from android_harness.parse.getprop import parse_getprop
from android_harness.parse.thermal import Thermal, parse_thermal, parse_zones
from android_harness.probe import Answer, ask_all
from android_harness.transport.seam import Transport

_log = logging.getLogger(__name__)

_PROBE_S = 20.0  # an emulated phone starts 40 processes a second
_BATTERY = "/sys/class/power_supply/battery"
# Qualcomm's second gauge, and what some vendors call the battery.
_CURRENT_NODES = f"{_BATTERY}/current_now /sys/class/power_supply/bms/current_now"

_IDENTITY = {
    "props": "getprop",
    "boot_id": "cat /proc/sys/kernel/random/boot_id",
    "kernel": "uname -r",
    "page": "getconf PAGE_SIZE || grep -m 1 KernelPageSize /proc/self/smaps",
}
_STATE = {
    "battery": "dumpsys battery",
    "current": f"for f in {_CURRENT_NODES}; do [ -r $f ] && echo $f $(cat $f); done; :",
    "thermal": "dumpsys thermalservice",
    "zones": "for z in /sys/class/thermal/thermal_zone*; do "
    "[ -r $z/temp ] && echo $(cat $z/temp) $(cat $z/type); done; :",
    "load": "cat /proc/loadavg",
    "power": "dumpsys power | grep mWakefulness=",
    "clocks": "cat /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq",
}
_CPU_FILES = (
    "cd /sys/devices/system/cpu; for f in possible online cpu[0-9]*/cpu_capacity "
    "cpu[0-9]*/cpufreq/cpuinfo_max_freq cpu[0-9]*/cpufreq/scaling_cur_freq "
    "cpufreq/policy*/related_cpus cpufreq/policy*/cpuinfo_max_freq; do "
    '[ -r "$f" ] && echo "== $PWD/$f" && cat "$f"; done; :'
)
# Google's emulator says so in any of these; each is missing in some release of it.
_EMULATOR_HARDWARE = {"goldfish", "ranchu", "cutf_cvm", "vsoc_x86_64", "vsoc_arm64"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which phone this is, and which software runs on it."""

    serial: str
    manufacturer: str
    model: str
    device: str
    soc: str | None
    android: str
    sdk: int | None
    abis: tuple[str, ...]
    fingerprint: str
    boot_id: str | None
    security_patch: str | None
    kernel: str
    page_bytes: int | None
    fidelity: Fidelity

    @property
    def evidence(self) -> Evidence:
        """The class of every number measured here."""
        return self.fidelity.evidence


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneState:
    """How the phone is doing at one moment; None is explained by a note."""

    battery: Battery | None
    thermal: Thermal | None
    load1: float | None  # processes waiting for a CPU, mean of a minute
    screen: str | None  # "awake", "asleep", "dozing", "dreaming"
    cpu_khz: tuple[int, ...] | None  # now, by core
    notes: tuple[str, ...] = ()


@final
class Phone:
    """A phone behind a transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @cached_property
    def identity(self) -> Identity:
        """Who it is; asked once.

        Raises:
            TransportError: the connection failed.
            ParseError: it does not answer like a phone.
        """
        answers = ask_all(self.transport, _IDENTITY, timeout_s=_PROBE_S)
        properties = parse_getprop(answers["props"].text)
        return _identity(properties, answers, self.transport)

    def read_state(self) -> PhoneState:
        """Battery, temperatures, load, screen and clocks, now.

        Raises:
            TransportError: the connection failed.
        """
        return _state(ask_all(self.transport, _STATE, timeout_s=_PROBE_S))

    def read_cpus(self) -> Cpus:
        """The cores with their limits, to choose an affinity from.

        Raises:
            TransportError: the connection failed.
            ParseError: sysfs tells nothing of the processor.
        """
        text = self.run(_CPU_FILES, timeout_s=_PROBE_S)
        pieces = re.split(r"^== (/\S+)\n", text, flags=re.MULTILINE)
        return parse_cpu_files(dict(zip(pieces[1::2], pieces[2::2], strict=True)))

    def read_boot_id(self) -> str:
        """The id of this start of the phone: another one means that it was restarted."""
        return self.run("cat /proc/sys/kernel/random/boot_id", timeout_s=_PROBE_S).strip()

    def run(self, command: str, *, timeout_s: float) -> str:
        """The output of a command that must succeed; the caller has quoted it.

        Raises:
            CommandFailed: another exit code than 0.
            TransportError: the connection failed, or the command did not end.
        """
        done = self.transport.shell(command, timeout_s=timeout_s)
        if done.exit_code:
            raise CommandFailed(
                self.transport.endpoint,
                command,
                done.exit_code,
                done.text[-2000:],
                done.error_text[-2000:],
            )
        return done.text


def _identity(
    properties: Mapping[str, str], answers: Mapping[str, Answer], transport: Transport
) -> Identity:
    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    sdk = properties.get("ro.build.version.sdk", "")
    return Identity(
        serial=properties.get("ro.serialno") or transport.endpoint,
        manufacturer=properties.get("ro.product.manufacturer") or "unknown",
        model=properties.get("ro.product.model") or "unknown",
        device=properties.get("ro.product.device") or "unknown",
        soc=_soc(properties),
        android=properties.get("ro.build.version.release") or "unknown",
        sdk=int(sdk) if sdk.isdigit() else None,
        abis=tuple(abi for abi in abis.split(",") if abi),
        fingerprint=properties.get("ro.build.fingerprint") or "unknown",
        boot_id=_line(answers["boot_id"]),
        security_patch=properties.get("ro.build.version.security_patch") or None,
        kernel=_line(answers["kernel"]) or "unknown",
        page_bytes=_page_bytes(answers["page"]),
        fidelity=_fidelity(properties),
    )


def _soc(properties: Mapping[str, str]) -> str | None:
    """ro.soc.* since Android 12, and often absent; the board's platform names the chip before."""
    maker, model = properties.get("ro.soc.manufacturer"), properties.get("ro.soc.model")
    named = " ".join(word for word in (maker, model) if word and word.lower() != "unknown")
    return named or properties.get("ro.board.platform") or None


def _fidelity(properties: Mapping[str, str]) -> Fidelity:
    ours = properties.get("ro.deploybench.fidelity")
    if ours:
        try:
            return Fidelity(ours)
        except ValueError as error:
            raise ParseError("ro.deploybench.fidelity", ours, "unknown fidelity") from error
    says_so = "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu"))
    if says_so or properties.get("ro.hardware") in _EMULATOR_HARDWARE:
        return Fidelity.EMULATOR
    return Fidelity.PHONE


def _line(answer: Answer) -> str | None:
    return (answer.text.strip() or None) if answer.exit_code == 0 else None


def _page_bytes(answer: Answer) -> int | None:
    """``4096`` of getconf, or ``KernelPageSize:  4 kB`` of smaps."""
    kb = re.search(r"KernelPageSize:\s+(\d+) kB", answer.text)
    if kb is not None:
        return int(kb[1]) * 1024
    text = answer.text.strip()
    return int(text) if text.isdigit() else None


def _state(answers: Mapping[str, Answer]) -> PhoneState:
    notes: list[str] = []
    battery = _battery(answers, notes)
    thermal = _thermal(answers, notes)
    return PhoneState(
        battery=battery,
        thermal=thermal,
        load1=_load(answers["load"], notes),
        screen=_screen(answers["power"], notes),
        cpu_khz=_clocks(answers["clocks"], notes),
        notes=tuple(notes),
    )


def _battery(answers: Mapping[str, Answer], notes: list[str]) -> Battery | None:
    try:
        found = parse_battery(answers["battery"].text)
    except ParseError:
        notes.append(f"no battery: {answers['battery'].reason}")
        return None
    line = re.search(r"^(/\S+) (-?\d{1,18})$", answers["current"].text, re.MULTILINE)
    if line is None:
        return found
    return replace(found, current_now_node=line[1], current_now_raw=int(line[2]))


def _thermal(answers: Mapping[str, Answer], notes: list[str]) -> Thermal | None:
    try:
        found = parse_thermal(answers["thermal"].text)
        if found.rows:
            return found
        reason = "it knows no sensor"
    except ParseError:
        found, reason = None, answers["thermal"].reason
    zones = parse_zones(answers["zones"].text)
    notes.append(f"no temperatures from the thermal service ({reason}); the kernel's zones instead")
    if not zones.rows:
        notes.append("the kernel's zones cannot be read either")
        return found
    return zones if found is None else replace(found, rows=zones.rows, notes=zones.notes)


def _load(answer: Answer, notes: list[str]) -> float | None:
    found = re.match(r"(\d+\.\d+) ", answer.text)
    if found is None:
        notes.append(f"no load: {answer.reason}")
        return None
    return float(found[1])


def _screen(answer: Answer, notes: list[str]) -> str | None:
    found = re.search(r"mWakefulness=(\w+)", answer.text)
    if found is None:
        notes.append("whether the screen is on is not known (dumpsys power)")
        return None
    return found[1].lower()


def _clocks(answer: Answer, notes: list[str]) -> tuple[int, ...] | None:
    lines = answer.text.split()
    if answer.exit_code or not lines or not all(line.isdigit() for line in lines):
        notes.append(f"no CPU clocks: {answer.reason}")
        return None
    return tuple(int(line) for line in lines)
