"""Whether KVM really works here: the device answering proves nothing, a kernel must boot.

Hosts are in use whose /dev/kvm creates virtual machines and then cannot run a kernel in them.
"""

import hashlib
import json
import logging
import os
import platform
import time
from pathlib import Path
from typing import Final

from android_harness import places
from android_harness.evidence import Fidelity
from android_harness.virtual import qemu, state
from android_harness.virtual.image import Image, build_image
from android_harness.virtual.options import Options

log = logging.getLogger(__name__)

_DEVICE: Final = Path("/dev/kvm")
_BOOT_TIMEOUT_S: Final = 20.0


def why_not() -> str:
    """Why no phone can run by KVM on this host; "" when one can.

    The first call with a usable device boots a kernel, up to 20 s; the outcome is kept for this
    kernel, this QEMU and this host.

    Raises:
        HarnessError: the image for the trial cannot be built.
    """
    arch = qemu.host_arch()
    if arch is None:
        return f"no image is built for {platform.machine()}"
    if not _DEVICE.exists():
        return "there is no /dev/kvm; enable virtualisation, or use another kind of phone"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened; add this user to the group kvm"
    missing = qemu.why_not(arch)
    return missing or _outcome(build_image(arch))


def _outcome(image: Image) -> str:
    kept = places.IMAGES / f"kvm-{_key(image)}.json"
    if not kept.exists():
        kept.write_text(json.dumps({"why_not": _try(image)}))
    outcome = str(json.loads(kept.read_text())["why_not"])
    return outcome and f"{outcome} (delete {kept} to try again)"


def _key(image: Image) -> str:
    facts = (image.kernel_release, qemu.version(image.arch), platform.release(), platform.node())
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:12]


def _try(image: Image) -> str:
    log.info("trying whether KVM boots a kernel (up to %.0f s, once)", _BOOT_TIMEOUT_S)
    name = f"kvm-trial-{os.getpid()}"
    folder = state.claim(name, Fidelity.KVM, image.arch, image.abi, image.key)
    try:
        for file in ("phone.prop", "adb_keys"):
            (folder / file).touch()
        qemu.launch(image, folder, Fidelity.KVM, Options(), qemu.free_port())
        return _wait_for_kernel(folder)
    finally:
        state.end(folder)


def _wait_for_kernel(folder: Path) -> str:
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        if qemu.KERNEL_RUNS in state.console_tail(folder):
            return ""
        if not state.processes(folder):
            break
        time.sleep(0.1)
    return "/dev/kvm answers but no kernel boots; use another kind of phone"
