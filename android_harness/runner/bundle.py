"""The portable bundle: the runner, the engine, and every library down to the loader.

A phone has no glibc, so the runner brings one: started through its own loader with its own
library path, it asks nothing of the phone but a kernel. See README.md.
"""

import hashlib
import logging
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

from pydantic import BaseModel, ConfigDict, ValidationError

from android_harness import debian, places
from android_harness.errors import PackageUnavailable
from android_harness.filelock import locked
from android_harness.runner.abi import SUPPORTED_ABIS, Abi, abi_named, host_abi
from android_harness.runner.compiler import compile_runner, sources_digest
from android_harness.runner.engine_library import LIBRARY, EngineLibrary, find_engine
from android_harness.runner.options import RunnerOptions

__all__ = ["SUPPORTED_ABIS", "Bundle", "BundleFile", "build_bundle", "host_abi", "load_bundle"]

log = logging.getLogger(__name__)

RUNNER: Final = "runner"
PACKAGES: Final = ("libc6", "libgcc-s1", "libstdc++6")

_MANIFEST = "bundle.json"
_FILES = "bundle"
# e_machine of the ELF header. Source: elf(5), linux/elf-em.h.
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file to install on the phone."""

    name: str
    path: Path
    sha256: str
    bytes: int
    executable: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything an inference needs on a phone of one ABI, in one flat directory.

    ``launcher`` and ``engine`` are relative to that directory, which must be the working
    directory of the command.
    """

    abi: str
    files: tuple[BundleFile, ...]
    launcher: tuple[str, ...]
    engine: str
    engine_sha256: str
    engine_version: str

    @property
    def directory(self) -> Path:
        """Where the files lie on the host."""
        return self.files[0].path.parent

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def command(self, model: str, options: RunnerOptions) -> tuple[str, ...]:
        """The whole argument list of one run, to be started in the bundle's directory."""
        return (*self.launcher, *options.arguments(model, self.engine))


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    sha256: str
    bytes: int
    executable: bool


class _Manifest(BaseModel):
    """bundle.json: what was built, and from what."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_version: Literal[1] = 1
    abi: str
    inputs: str
    engine_version: str
    packages: tuple[str, ...]
    files: tuple[_Entry, ...]


def load_bundle(abi: str) -> Bundle | None:
    """The bundle that was built for ``abi``; None when there is none, or it is not whole.

    Raises:
        WrongAbi: no runner is built for ``abi``.
    """
    folder = places.RUNNERS / abi_named(abi).name
    manifest = _read_manifest(folder)
    if manifest is None or not all(_is_whole(folder / _FILES, file) for file in manifest.files):
        return None
    return _bundle(folder, manifest)


def build_bundle(abi: str) -> Bundle:
    """The bundle for ``abi``, built anew only when something it is made of has changed.

    Safe to call from several processes.

    Raises:
        WrongAbi: no runner is built for ``abi``.
        ToolMissing: compiler, engine, pip or Debian's tools are not installed.
        PackageUnavailable: Debian's libraries cannot be fetched, or are not what was expected.
        CommandFailed: compiling or downloading failed.
    """
    target = abi_named(abi)
    folder = places.RUNNERS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", f"building the runner for {abi}"):
        engine = find_engine(target)
        inputs = _inputs_digest(target, engine)
        kept = load_bundle(abi)
        manifest = _read_manifest(folder)
        if kept is not None and manifest is not None and manifest.inputs == inputs:
            return kept
        return _bundle(folder, _build(target, folder, engine, inputs))


def _build(abi: Abi, folder: Path, engine: EngineLibrary, inputs: str) -> _Manifest:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
        files = Path(name, _FILES)
        files.mkdir()
        compile_runner(abi, files / RUNNER)
        shutil.copyfile(engine.path, files / LIBRARY)
        packages = _add_libraries(abi, files, Path(name, "debian"))
        manifest = _Manifest(
            abi=abi.name,
            inputs=inputs,
            engine_version=engine.version,
            packages=packages,
            files=tuple(_entry(abi, files / name) for name in _names(abi)),
        )
        _replace(folder, files, manifest)
    log.info("built the runner bundle for %s", abi.name)
    return manifest


def _names(abi: Abi) -> tuple[str, ...]:
    return (abi.loader, RUNNER, LIBRARY, *abi.libraries)


def _add_libraries(abi: Abi, files: Path, scratch: Path) -> tuple[str, ...]:
    """Copy loader and libraries out of Debian's packages; returns the packages' file names."""
    debs = debian.fetch(PACKAGES, abi.debian)
    for deb in debs:
        debian.unpack(deb, scratch)
    for name in (abi.loader, *abi.libraries):
        source = scratch / "usr/lib" / abi.library_folder / name
        if not source.exists():
            reason = f"{name} is in none of them; delete {places.DEBS} and build again"
            raise PackageUnavailable(PACKAGES, abi.debian, reason)
        shutil.copyfile(source, files / name)  # follows libstdc++.so.6 -> libstdc++.so.6.0.33
    return tuple(deb.name for deb in debs)


def _entry(abi: Abi, file: Path) -> _Entry:
    content = file.read_bytes()
    _check_machine(abi, file.name, content)
    executable = file.name in (abi.loader, RUNNER)
    file.chmod(0o755 if executable else 0o644)
    digest = hashlib.sha256(content).hexdigest()
    return _Entry(name=file.name, sha256=digest, bytes=len(content), executable=executable)


def _check_machine(abi: Abi, name: str, content: bytes) -> None:
    """A file of another processor would fail on the phone, with words that mislead."""
    is_elf = content[:4] == b"\x7fELF" and len(content) > 20
    if not is_elf or struct.unpack_from("<H", content, 18)[0] != _ELF_MACHINES[abi.machine]:
        reason = f"{name} is no library for it; delete {places.BUILD} and build again"
        raise PackageUnavailable(PACKAGES, abi.name, reason)


def _replace(folder: Path, files: Path, manifest: _Manifest) -> None:
    """New files, then the manifest: a build that is killed between leaves no bundle, not half."""
    target = folder / _MANIFEST
    target.unlink(missing_ok=True)
    shutil.rmtree(folder / _FILES, ignore_errors=True)
    files.rename(folder / _FILES)
    new = target.with_suffix(".new")
    new.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    new.replace(target)


def _inputs_digest(abi: Abi, engine: EngineLibrary) -> str:
    parts = (repr(abi), sources_digest(), _sha256(engine.path), debian.SUITE, repr(PACKAGES))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _read_manifest(folder: Path) -> _Manifest | None:
    try:
        return _Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except (FileNotFoundError, ValidationError):  # never built, or by another version of ours
        return None


def _is_whole(folder: Path, entry: _Entry) -> bool:
    file = folder / entry.name
    if not file.is_file() or file.stat().st_size != entry.bytes:
        return False
    return _sha256(file) == entry.sha256


def _bundle(folder: Path, manifest: _Manifest) -> Bundle:
    abi = abi_named(manifest.abi)
    files = tuple(
        BundleFile(path=folder / _FILES / entry.name, **entry.model_dump())
        for entry in manifest.files
    )
    return Bundle(
        abi=abi.name,
        files=files,
        launcher=(f"./{abi.loader}", "--library-path", ".", f"./{RUNNER}"),
        engine=f"./{LIBRARY}",
        engine_sha256=next(file.sha256 for file in files if file.name == LIBRARY),
        engine_version=manifest.engine_version,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
