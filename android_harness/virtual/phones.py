"""Virtual phones: what this host can start, starting, finding and stopping them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from android_harness.errors import HarnessError, NoPhone, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import container, image, kvm, qemu, readiness, state
from android_harness.virtual.options import Options

log = logging.getLogger(__name__)

_READY_TIMEOUT_S: Final = {
    Fidelity.CONTAINER: 30.0,
    Fidelity.KVM: 60.0,
    Fidelity.EMULATED: 180.0,  # eight at once on two cores took 31 s
}
_PORT_TRIES: Final = 3
_CONTROL_TIMEOUT_S: Final = 30.0
_BOOT_QUESTION_S: Final = 10.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A kind of virtual phone, and whether this host can start it."""

    fidelity: Fidelity
    arch: str  # Debian's name: "amd64", "arm64"
    ready: bool
    reason: str  # what it is when ready, else why not and what to do


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualPhone:
    """A started phone; as a context manager it is stopped at the end."""

    name: str
    host: str
    port: int
    serial: str  # its ro.serialno
    fidelity: Fidelity
    abi: str  # Android's name
    console: Path

    def control(self, line: str, timeout_s: float = _CONTROL_TIMEOUT_S) -> str:
        """Run a shell line as root inside, beside adb; returns its output, stderr included.

        Raises:
            VirtualPhoneError: it is not running.
            CommandFailed: another exit code than 0.
            CommandTimeout: no end after ``timeout_s``.
        """
        run = container.control if self.fidelity is Fidelity.CONTAINER else qemu.control
        return run(self.console.parent, line, timeout_s)

    def stop(self) -> None:
        """End the phone; nothing of it is left. May be called again.

        Raises:
            VirtualPhoneError: a process does not end.
        """
        state.end(self.console.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def offers() -> tuple[Offer, ...]:
    """What this host can start, best first.

    With a usable /dev/kvm the first call boots a kernel, up to 20 s (see ``kvm``).
    """
    own = qemu.host_arch() or "amd64"
    kinds = [
        (Fidelity.KVM, own),
        (Fidelity.CONTAINER, own),
        (Fidelity.EMULATED, "arm64"),
        (Fidelity.EMULATED, "amd64"),
    ]
    return tuple(offer(fidelity, arch) for fidelity, arch in kinds)


def offer(fidelity: Fidelity, arch: str) -> Offer:
    """One kind of phone, and whether this host can start it."""
    reason = _why_not(fidelity, arch)
    return Offer(
        fidelity=fidelity, arch=arch, ready=not reason, reason=reason or _DESCRIPTIONS[fidelity]
    )


_DESCRIPTIONS: Final = {
    Fidelity.KVM: "a machine of its own on this processor, by KVM",
    Fidelity.CONTAINER: "name spaces on this host's kernel, native speed",
    Fidelity.EMULATED: "another processor in software; its time is not latency",
}


def start(
    fidelity: Fidelity,
    arch: str | None = None,
    name: str | None = None,
    options: Options | None = None,
) -> VirtualPhone:
    """Start a virtual phone and wait until adb and Android answer.

    Args:
        fidelity: CONTAINER, EMULATED or KVM.
        arch: Debian's name; None is arm64 for EMULATED, else the host's.
        name: 1-40 letters, digits, ``.``, ``_``, ``-``; None takes a free one.
        options: sizes, port, keys; None is the defaults.

    Raises:
        NoPhone: this host cannot start that kind; says what to do.
        VirtualPhoneError: the name is taken, or it does not get ready; holds the console's tail.
        ToolMissing, PackageUnavailable: the image cannot be built.
    """
    asked = options or Options()
    arch = arch or ("arm64" if fidelity is Fidelity.EMULATED else qemu.host_arch() or "amd64")
    possible = offer(fidelity, arch)
    if not possible.ready:
        raise NoPhone(f"{fidelity} {arch}: {possible.reason}")
    state.clean()
    built = image.build_image(arch)
    if asked.authorized_keys is not None and built.authentication:
        raise VirtualPhoneError(name or "image", f"it cannot ask for keys: {built.authentication}")
    folder = state.claim(name, fidelity, arch, built.abi, built.key)
    with _ended_on_error(folder):
        return _start_in(folder, built, asked)


def running() -> tuple[VirtualPhone, ...]:
    """The phones of this working folder that run, after cleaning up what others left behind."""
    state.clean()
    folders = ((started, state.folder_of(started.name)) for started in state.phones())
    return tuple(_phone(started) for started, folder in folders if state.processes(folder))


def stop_all() -> tuple[str, ...]:
    """Stop every phone of this working folder, running or not; returns their names.

    Raises:
        VirtualPhoneError: a process does not end.
    """
    names = [*state.clean(), *(started.name for started in state.phones())]
    for name in names:
        state.end(state.folder_of(name))
    return tuple(names)


def stop(name: str) -> None:
    """Stop the phone ``name``, whoever started it and whatever is left of it.

    Raises:
        VirtualPhoneError: there is none, or a process does not end.
    """
    folder = state.folder_of(name)
    if not folder.exists():
        raise VirtualPhoneError(name, "is not there; see the list of started phones")
    state.end(folder)


def _why_not(fidelity: Fidelity, arch: str) -> str:
    try:
        image.check_tools()
        match fidelity:
            case Fidelity.CONTAINER | Fidelity.KVM if arch != qemu.host_arch():
                return f"this host's processor does not run {arch}; use an emulated phone"
            case Fidelity.CONTAINER:
                return container.why_not()
            case Fidelity.KVM:
                return kvm.why_not()
            case Fidelity.EMULATED:
                return qemu.why_not(arch) if arch in qemu.PROGRAM else f"no image for {arch}"
            case _:
                return f"{fidelity} is not a virtual phone of this project"
    except HarnessError as error:
        return str(error)


@contextmanager
def _ended_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        state.end(folder)
        raise


def _start_in(folder: Path, built: image.Image, options: Options) -> VirtualPhone:
    started = state.read(folder)
    if started is None:
        raise VirtualPhoneError(folder.name, "was removed while it was started")
    keys = options.authorized_keys or ()
    (folder / "adb_keys").write_text("".join(f"{key.strip()}\n" for key in keys))
    properties = _properties(started, options)
    (folder / "phone.prop").write_text(state.as_property_file(properties))
    log.info("starting the virtual phone %s (%s %s)", started.name, started.fidelity, started.abi)
    started = _launch(started, built, options)
    phone = _phone(started)
    _wait(phone, options)
    if options.keep:
        state.write(replace(started, owner=None, owner_started=0))
    return phone


def _launch(started: state.Started, built: image.Image, options: Options) -> state.Started:
    folder = state.folder_of(started.name)
    if started.fidelity is Fidelity.CONTAINER:
        started = replace(started, port=container.launch(built, folder, options.port))
        state.write(started)
        return started
    # QEMU takes the port a moment after it was seen free; somebody may be faster.
    for left in reversed(range(_PORT_TRIES)):
        started = replace(started, port=options.port or qemu.free_port())
        state.write(started)
        qemu.launch(built, folder, started.fidelity, options, started.port)
        if qemu.took_port(folder):
            return started
        if options.port or not left:
            break
    tail = state.console_tail(folder)
    raise VirtualPhoneError(started.name, f"QEMU did not start on port {started.port}", tail)


def _wait(phone: VirtualPhone, options: Options) -> None:
    timeout_s = options.timeout_s or _READY_TIMEOUT_S[phone.fidelity]
    folder = phone.console.parent

    def booted() -> bool:
        try:
            said = phone.control("getprop sys.boot_completed", min(timeout_s, _BOOT_QUESTION_S))
        except HarnessError:  # not that far yet; whether it lives at all is asked apart
            return False
        return said.strip() == "1"

    def alive() -> bool:
        return bool(state.processes(folder))

    if readiness.wait(phone.port, timeout_s, booted=booted, alive=alive):
        return
    reason = f"was not ready after {timeout_s:.0f} s" if alive() else "ended while it booted"
    raise VirtualPhoneError(phone.name, reason, state.console_tail(folder))


def _properties(started: state.Started, options: Options) -> dict[str, str]:
    device = f"virtual_{started.abi}"
    features = ",".join(options.features)
    product = f"ro.product.name=virtual;ro.product.model=Virtual_Phone;ro.product.device={device}"
    return {
        "ro.serialno": started.serial,
        "ro.boot.serialno": started.serial,
        "ro.soc.model": _soc(started),
        "ro.deploybench.fidelity": started.fidelity.value,
        "ro.deploybench.data_mb": str(options.data_mb),
        "ro.deploybench.auth": "0" if options.authorized_keys is None else "1",
        "ro.deploybench.banner": f"device::{product};features={features}",
    }


def _soc(started: state.Started) -> str:
    if started.fidelity is not Fidelity.EMULATED:
        return f"host-{started.abi}"
    return f"qemu-{qemu.arm_cpu() if started.arch == 'arm64' else 'max'}"


def _phone(started: state.Started) -> VirtualPhone:
    return VirtualPhone(
        name=started.name,
        host="127.0.0.1",
        port=started.port,
        serial=started.serial,
        fidelity=started.fidelity,
        abi=started.abi,
        console=state.console(state.folder_of(started.name)),
    )
