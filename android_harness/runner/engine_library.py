"""libLiteRt.so of the installed ai-edge-litert version, for every ABI."""

import importlib.metadata
import importlib.util
import logging
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from android_harness import places
from android_harness.errors import ToolMissing
from android_harness.runner.abi import Abi, host_abi
from android_harness.runner.compiler import run_tool

log = logging.getLogger(__name__)

PACKAGE: Final = "ai-edge-litert"
LIBRARY: Final = "libLiteRt.so"
_IN_WHEEL: Final = f"ai_edge_litert/{LIBRARY}"
# A cp311 wheel is there for every version that has text options; the library asks for no Python.
_WHEEL_PYTHON = "3.11"
_DOWNLOAD_TIMEOUT_S = 900.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLibrary:
    """One build of the engine."""

    path: Path
    version: str


def find_engine(abi: Abi) -> EngineLibrary:
    """The engine for ``abi``: of the host's own package, or of the same version's other wheel.

    One version for all, because outputs on a phone are compared with those on the host.

    Raises:
        ToolMissing: ai-edge-litert is not installed, or nothing here can download a wheel.
        CommandFailed: the wheel cannot be downloaded.
    """
    version = installed_version()
    if abi.name == host_abi():
        return EngineLibrary(path=_installed_library(), version=version)
    kept = places.RUNNERS / "engines" / version / abi.name / LIBRARY
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _download(abi, version, kept)
    return EngineLibrary(path=kept, version=version)


def installed_version() -> str:
    """Version of the installed engine.

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as exc:
        raise _engine_missing() from exc


def _engine_missing() -> ToolMissing:
    return ToolMissing(PACKAGE, "running models", f"python -m pip install {PACKAGE}")


def _installed_library() -> Path:
    # find_spec reads no code of the package, so nothing heavy is imported.
    spec = importlib.util.find_spec("ai_edge_litert")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (library := Path(folder, LIBRARY)).exists():
            return library
    raise _engine_missing()


def _download(abi: Abi, version: str, target: Path) -> None:
    """Only the library is kept: the rest of a wheel is 35 MB that nothing here needs."""
    log.info("downloading %s %s for %s", PACKAGE, version, abi.name)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as name:
        folder = Path(name)
        if importlib.util.find_spec("pip") is not None:
            found = _with_pip(abi, version, folder)
        elif importlib.util.find_spec("uv") is not None:
            found = _with_uv(abi, version, folder)
        else:
            raise ToolMissing("pip", f"downloading {PACKAGE}", "python -m ensurepip")
        found.rename(target)


def _with_pip(abi: Abi, version: str, folder: Path) -> Path:
    platform = ("--platform", abi.wheel_platform, "--python-version", _WHEEL_PYTHON)
    how = ("--no-deps", "--only-binary", ":all:", *platform, "--dest", str(folder))
    argv = (sys.executable, "-m", "pip", "download", "--quiet", *how, f"{PACKAGE}=={version}")
    run_tool(argv, _DOWNLOAD_TIMEOUT_S)
    library = folder / LIBRARY
    with (
        zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel,
        wheel.open(_IN_WHEEL) as packed,
        library.open("wb") as plain,
    ):
        shutil.copyfileobj(packed, plain)
    return library


def _with_uv(abi: Abi, version: str, folder: Path) -> Path:
    """Environments made by uv hold no pip, and uv unpacks what it downloads."""
    platform = ("--python-platform", abi.uv_platform, "--python-version", _WHEEL_PYTHON)
    how = ("--no-deps", "--only-binary", ":all:", *platform, "--target", str(folder))
    argv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", *how, f"{PACKAGE}=={version}")
    run_tool(argv, _DOWNLOAD_TIMEOUT_S)
    return folder / _IN_WHEEL
