import platform

import pytest

from android_harness.errors import WrongAbi
from android_harness.runner.abi import SUPPORTED_ABIS, abi_named, host_abi


@pytest.mark.parametrize(
    ("machine", "abi"), [("x86_64", "x86_64"), ("aarch64", "arm64-v8a"), ("arm64", "arm64-v8a")]
)
def test_the_hosts_machine_has_an_android_name(
    monkeypatch: pytest.MonkeyPatch, machine: str, abi: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert host_abi() == abi


def test_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(WrongAbi, match="riscv64"):
        host_abi()


def test_every_abi_brings_its_loader_and_its_c_library() -> None:
    for name in SUPPORTED_ABIS:
        abi = abi_named(name)
        assert abi.name == name
        assert abi.loader.startswith("ld-linux")
        assert "libc.so.6" in abi.libraries
        assert abi.machine in abi.zig_target
        assert abi.machine in abi.wheel_platform
