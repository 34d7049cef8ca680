"""Run the phone's file system in QEMU: another processor in software, or this one by KVM."""

import base64
import os
import platform
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from android_harness.errors import CommandFailed, CommandTimeout, ToolMissing, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import cpio, state
from android_harness.virtual.image import Image
from android_harness.virtual.options import Options

PROGRAM: Final = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
PACKAGE: Final = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}
KERNEL_RUNS: Final = "phone: the kernel runs"  # the first line of guest/init.sh

_MONITOR: Final = "qmp.sock"
_CONTROL: Final = "control.sock"

# The newest of these that QEMU knows: phones since 2018 have the dot product of ARMv8.2.
_ARM_CPUS: Final = ("cortex-a76", "cortex-a72")
# Translated code kept for one phone; QEMU's own choice is a gigabyte.
_TRANSLATION_MB: Final = 64


def why_not(arch: str) -> str:
    """Why QEMU cannot emulate ``arch`` on this host; "" when it can."""
    if shutil.which(PROGRAM[arch]) is None:
        return f"{PROGRAM[arch]} is not installed; apt-get install {PACKAGE[arch]}"
    return ""


def version(arch: str) -> str:
    """The version line of QEMU for ``arch``.

    Raises:
        ToolMissing: it is not installed.
    """
    return _ask(arch, "--version").splitlines()[0]


def arm_cpu() -> str:
    """The emulated processor of arm64 phones: the newest that this QEMU knows."""
    known = _ask("arm64", "-machine", "virt", "-cpu", "help").split()
    return next((cpu for cpu in _ARM_CPUS if cpu in known), _ARM_CPUS[-1])


def launch(image: Image, folder: Path, fidelity: Fidelity, options: Options, port: int) -> None:
    """Start QEMU for the phone in ``folder``, which holds ``phone.prop`` and ``adb_keys``.

    Raises:
        ToolMissing: QEMU is not installed.
    """
    if shutil.which(PROGRAM[image.arch]) is None:
        raise _missing(image.arch)
    own = (
        cpio.Entry.file("odm/etc/build.prop", (folder / "phone.prop").read_bytes()),
        cpio.Entry.file("adb_keys", (folder / "adb_keys").read_bytes()),
    )
    packed = image.initramfs.read_bytes()
    # An archive that is not compressed must begin at a multiple of four bytes.
    (folder / "initrd").write_bytes(packed + bytes(-len(packed) % 4) + cpio.pack(own))
    cpu = "host" if fidelity is Fidelity.KVM else {"amd64": "max"}.get(image.arch) or arm_cpu()
    state.spawn(command(image, fidelity, options, port=port, cpu=cpu), folder)


def took_port(folder: Path) -> bool:
    """Whether QEMU, just started, opened its ports; False when it ended instead."""
    # The monitor greets when the machine is complete, its network included.
    while state.processes(folder):
        try:
            with _connected(folder, _MONITOR) as monitor:
                return bool(monitor.recv(1))
        except (VirtualPhoneError, TimeoutError):
            time.sleep(0.01)
    return False


def command(
    image: Image, fidelity: Fidelity, options: Options, *, port: int, cpu: str
) -> tuple[str, ...]:
    """QEMU's command line; paths without a folder are in the phone's folder.

    Args:
        image: what to start.
        fidelity: KVM or EMULATED.
        options: the machine's size and clock.
        port: on 127.0.0.1, carried to adbd.
        cpu: the processor's name.
    """
    bus = "device" if image.arch == "arm64" else "pci"
    screen = "ttyAMA0" if image.arch == "arm64" else "ttyS0"
    network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:5555"
    card = f"virtio-net-{bus},netdev=net,id=nic0" + ("" if bus == "device" else ",romfile=")
    kernel = f"console={screen} quiet loglevel=3 panic=-1 random.trust_cpu=on rdinit=/init"
    return (
        PROGRAM[image.arch],
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *_machine(image.arch, fidelity, options, cpu),
        *("-m", str(options.memory_mb), "-smp", str(options.cpus)),
        *("-kernel", str(image.kernel), "-initrd", "initrd", "-append", kernel),
        *("-netdev", network, "-device", card),
        *("-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"),
        *("-qmp", f"unix:{_MONITOR},server=on,wait=off"),
        *("-device", f"virtio-serial-{bus}"),
        *("-chardev", f"socket,id=control,path={_CONTROL},server=on,wait=off"),
        *("-device", "virtserialport,chardev=control,name=deploybench.control"),
    )


def control(folder: Path, script: str, timeout_s: float) -> str:
    """Run a shell script as root in the guest; returns its output, stderr included.

    Raises:
        VirtualPhoneError: the machine is not running.
        CommandFailed: another exit code than 0.
        CommandTimeout: no end after ``timeout_s``.
    """
    token = secrets.token_hex(8)
    request = f"{token} {base64.b64encode(script.encode()).decode()}\n"
    # Answers of an earlier request that was given up may come first: ours carries our token.
    answer = re.compile(rf"(?:.*\n[0-9a-f]{{16}} \d+\n)?(.*)\n{token} (\d+)\n", re.DOTALL)
    with _connected(folder, _CONTROL) as connection:
        connection.sendall(request.encode())
        heard = _read_until(connection, answer, time.monotonic() + timeout_s)
    if heard is None:
        raise CommandTimeout(folder.name, script, timeout_s, state.console_tail(folder))
    if heard[2] != "0":
        raise CommandFailed(folder.name, script, int(heard[2]), heard[1], "")
    return heard[1]


def _machine(arch: str, fidelity: Fidelity, options: Options, cpu: str) -> tuple[str, ...]:
    kind = "virt" if arch == "arm64" else "q35,usb=off,vmport=off,smm=off"
    if fidelity is Fidelity.KVM:
        # Some hosts refuse to let a guest read the register of their vulnerabilities.
        cpu += ",arch-capabilities=off" if arch == "amd64" else ""
        kind += ",gic-version=host" if arch == "arm64" else ""
        return ("-machine", kind, "-accel", "kvm", "-cpu", cpu)
    shift = options.instruction_clock_shift
    threads = "multi" if shift is None else "single"
    accelerator = f"tcg,thread={threads},tb-size={_TRANSLATION_MB}"
    clock = () if shift is None else ("-icount", f"shift={shift},sleep=off")
    return ("-machine", kind, "-accel", accelerator, "-cpu", cpu, *clock)


@contextmanager
def _connected(folder: Path, name: str) -> Iterator[socket.socket]:
    # A socket's path holds 108 bytes at most; through a descriptor any folder will do.
    try:
        handle = os.open(folder, os.O_PATH)
    except FileNotFoundError as error:
        raise VirtualPhoneError(folder.name, "is not running; start it again") from error
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(f"/proc/self/fd/{handle}/{name}")
            yield connection
    except (ConnectionError, FileNotFoundError) as error:
        tail = state.console_tail(folder)
        raise VirtualPhoneError(folder.name, f"its {name} is closed", tail) from error
    finally:
        os.close(handle)


def _read_until(
    connection: socket.socket, wanted: re.Pattern[str], deadline: float
) -> re.Match[str] | None:
    heard = b""
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            more = connection.recv(1 << 16)
        except TimeoutError:
            return None
        if not more:
            raise ConnectionResetError("the control port was closed")
        heard += more
        found = wanted.fullmatch(heard.decode("utf-8", "replace"))
        if found:
            return found
    return None


def _ask(arch: str, *arguments: str) -> str:
    if shutil.which(PROGRAM[arch]) is None:
        raise _missing(arch)
    done = subprocess.run(
        [PROGRAM[arch], *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout


def _missing(arch: str) -> ToolMissing:
    return ToolMissing(
        PROGRAM[arch], f"an {arch} phone in QEMU", f"apt-get install {PACKAGE[arch]}"
    )


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def host_arch() -> str | None:
    """Debian's name of this host's architecture; None when no image is built for it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
