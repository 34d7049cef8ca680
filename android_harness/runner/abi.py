"""The ABIs a runner is built for, each under the names its world gives it."""

import platform
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

from android_harness.errors import WrongAbi


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Abi:
    """One ABI: its names, and the libraries that come with its loader."""

    name: str  # Android's
    debian: str
    machine: str  # the kernel's (uname -m)
    zig_target: str
    wheel_platform: str
    uv_platform: str
    library_folder: str  # of Debian's packages, below usr/lib
    loader: str
    libraries: tuple[str, ...]


# What libLiteRt.so names as NEEDED, and their own NEEDED. libpthread and librt have been empty
# since glibc 2.34, but the x86_64 build still names them.
_EVERYWHERE = ("libc.so.6", "libm.so.6", "libdl.so.2", "libstdc++.so.6", "libgcc_s.so.1")

# Built against an old glibc, so that the compiler's newer one asks nothing of the bundle's.
_GLIBC = "2.28"

_ABIS: Final = MappingProxyType(
    {
        "x86_64": Abi(
            name="x86_64",
            debian="amd64",
            machine="x86_64",
            zig_target=f"x86_64-linux-gnu.{_GLIBC}",
            wheel_platform="manylinux_2_27_x86_64",
            uv_platform="x86_64-manylinux_2_28",
            library_folder="x86_64-linux-gnu",
            loader="ld-linux-x86-64.so.2",
            libraries=(*_EVERYWHERE, "libpthread.so.0", "librt.so.1"),
        ),
        "arm64-v8a": Abi(
            name="arm64-v8a",
            debian="arm64",
            machine="aarch64",
            zig_target=f"aarch64-linux-gnu.{_GLIBC}",
            wheel_platform="manylinux_2_27_aarch64",
            uv_platform="aarch64-manylinux_2_28",
            library_folder="aarch64-linux-gnu",
            loader="ld-linux-aarch64.so.1",
            libraries=_EVERYWHERE,
        ),
    }
)

SUPPORTED_ABIS: Final = tuple(_ABIS)


def abi_named(name: str) -> Abi:
    """The ABI that Android calls ``name``.

    Raises:
        WrongAbi: no runner is built for it.
    """
    if name not in _ABIS:
        raise WrongAbi("this request", (name,), SUPPORTED_ABIS)
    return _ABIS[name]


def host_abi() -> str:
    """Android's name of the ABI this host runs.

    Raises:
        WrongAbi: no runner is built for this host's machine.
    """
    machine = platform.machine()
    for abi in _ABIS.values():
        if machine in (abi.machine, abi.debian):
            return abi.name
    raise WrongAbi("this host", (machine,), SUPPORTED_ABIS)
