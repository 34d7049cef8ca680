"""Debian packages as files: fetched and unpacked, never installed.

The virtual phone and the runner's bundles are made of programs and libraries from one Debian
release, whatever the host runs. apt does the fetching with lists, cache and status of its own,
so it checks the archive's signature and the host's package state is neither read nor changed;
only the host's proxy settings are taken over.
"""

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final
from urllib.parse import urlsplit

from android_harness import places
from android_harness.errors import PackageUnavailable, ToolMissing
from android_harness.filelock import locked

log = logging.getLogger(__name__)

SUITE: Final = "trixie"
ARCHITECTURES: Final = ("amd64", "arm64")
MIRROR_VARIABLE: Final = "DEPLOY_BENCH_DEBIAN_MIRROR"

_APT_ETC = Path("/etc/apt")
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),  # the name since Debian 13
)
_DOWNLOAD_TIMEOUT_S = 900.0
# What is taken over from the host's apt configuration: how to reach the network, nothing else.
_NETWORK_OPTION = re.compile(r"Acquire::(https?|Retries|ForceIPv4|ForceIPv6)\b")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One archive of the host's apt configuration."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian_main(self) -> bool:
        """Whether this is a mirror of Debian's main archive, not security and not a third party.

        Third parties use Debian's suite names too, so the address must end in ``debian`` (or name
        a mirror list called so), or the archive must be signed by Debian's own keyring.
        """
        if "main" not in self.components or any("security" in suite for suite in self.suites):
            return False
        last = urlsplit(self.uri).path.rstrip("/").rpartition("/")[2]
        return last in {"debian", "debian.list"} or "debian-archive" in self.signed_by


def fetch(packages: Sequence[str], arch: str) -> tuple[Path, ...]:
    """Fetch packages of ``SUITE`` for ``arch``; what is there already is not asked for again.

    Dependencies are not followed: name what is needed. Safe to call from several processes.

    Args:
        packages: package names, without version or architecture.
        arch: Debian's name of the architecture, ``amd64`` or ``arm64``.

    Returns:
        The .deb of each package, in the order asked for.

    Raises:
        ToolMissing: apt, dpkg or Debian's archive keys are not installed.
        NotWritable: the cache belongs to another user.
        PackageUnavailable: no mirror is known, or it does not hand the packages out.
    """
    if arch not in ARCHITECTURES:
        raise PackageUnavailable(tuple(packages), arch, f"known: {', '.join(ARCHITECTURES)}")
    folder = places.DEBS / f"{SUITE}-{arch}"
    found = [_cached(folder, name) for name in packages]
    if None not in found:  # nothing to write: works in another user's cache too
        return tuple(deb for deb in found if deb is not None)
    with locked(folder / ".lock", f"fetching Debian packages for {arch}"):
        missing = [name for name in dict.fromkeys(packages) if _cached(folder, name) is None]
        if missing:
            _download(missing, arch, folder)
        found = [_cached(folder, name) for name in packages]
    lost = tuple(name for name, deb in zip(packages, found, strict=True) if deb is None)
    if lost:
        raise PackageUnavailable(lost, arch, "apt-get ended well but left no file")
    return tuple(deb for deb in found if deb is not None)


def unpack(deb: Path, into: Path) -> None:
    """Unpack a package's files below ``into``, which is made when missing.

    Raises:
        ToolMissing: dpkg-deb is not installed.
        PackageUnavailable: the file is no readable package.
    """
    into.mkdir(parents=True, exist_ok=True)
    _dpkg_deb(deb, "--extract", str(deb), str(into))


def field(deb: Path, name: str) -> str:
    """One field of a package's description, ``""`` when it has none (``Version``, ``Depends``).

    Raises:
        ToolMissing, PackageUnavailable: as ``unpack``.
    """
    return _dpkg_deb(deb, "--field", str(deb), name).strip()


def find_mirror(etc: Path = _APT_ETC) -> str:
    """The address of the Debian archive: the environment's, else the host's own mirror.

    Raises:
        PackageUnavailable: neither names one; says what to set.
    """
    chosen = os.environ.get(MIRROR_VARIABLE, "").strip()
    if chosen:
        return chosen
    mirrors = [source.uri for source in read_sources(etc) if source.is_debian_main]
    if not mirrors:
        reason = (
            f"this host's apt sources name no Debian mirror; set {MIRROR_VARIABLE} to the "
            "address of one (it ends in /debian), then run again"
        )
        raise PackageUnavailable((), "", reason)
    return mirrors[0]


def read_sources(etc: Path = _APT_ETC) -> tuple[Source, ...]:
    """All archives of the host's apt configuration; files that cannot be read are left out."""
    folder = etc / "sources.list.d"
    lists, stanzas = sorted(folder.glob("*.list")), sorted(folder.glob("*.sources"))
    found: list[Source] = []
    for file in (etc / "sources.list", *lists, *stanzas):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:  # absent, or a private archive that only root may read
            continue
        found += parse_deb822(text) if file.suffix == ".sources" else parse_one_line(text)
    return tuple(found)


def parse_one_line(text: str) -> tuple[Source, ...]:
    """Parse ``deb [options] uri suite component...`` lines; source archives are left out.

    Source: sources.list(5).
    """
    line = re.compile(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:[ \t]+[^#\s]+)*)", re.M)
    return tuple(
        Source(
            uri=found[2],
            suites=(found[3],),
            components=tuple(found[4].split()),
            signed_by=" ".join(o for o in (found[1] or "").split() if o.startswith("signed-by=")),
        )
        for found in line.finditer(text)
    )


def parse_deb822(text: str) -> tuple[Source, ...]:
    """Parse the ``Key: value`` stanzas of a .sources file; disabled stanzas are left out.

    Source: sources.list(5), "DEB822-STYLE FORMAT".
    """
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    stanzas = re.split(r"\n\s*\n", "\n".join(lines))
    sources: list[Source] = []
    for keys in map(_keys, stanzas):
        if keys.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        if "deb" in keys.get("types", "").split():
            sources += [_stanza_source(uri, keys) for uri in keys.get("uris", "").split()]
    return tuple(sources)


def _stanza_source(uri: str, keys: dict[str, str]) -> Source:
    return Source(
        uri=uri,
        suites=tuple(keys.get("suites", "").split()),
        components=tuple(keys.get("components", "").split()),
        signed_by=keys.get("signed-by", ""),
    )


def _keys(stanza: str) -> dict[str, str]:
    unfolded = re.sub(r"\n[ \t]+", " ", stanza)
    pairs = (line.partition(":") for line in unfolded.splitlines() if ":" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _cached(folder: Path, package: str) -> Path | None:
    found = sorted(folder.glob(f"{package}_*.deb"), key=lambda deb: deb.stat().st_mtime_ns)
    return found[-1] if found else None


def _download(packages: Sequence[str], arch: str, folder: Path) -> None:
    _need("apt-get", "apt")
    _need("dpkg-deb", "dpkg")
    environment = _apt_environment(arch, folder / ".apt", find_mirror())
    log.info("fetching %d Debian packages for %s", len(packages), arch)
    # Lists may be older than the archive (a point release removes files): one fresh try.
    for lists_are_fresh in (False, True):
        if lists_are_fresh or not (folder / ".apt/updated").exists():
            _update(environment, packages, arch, folder)
        said = _download_once(environment, packages, folder)
        if said is None:
            return
    raise PackageUnavailable(tuple(packages), arch, said or "")


def _update(environment: dict[str, str], packages: Sequence[str], arch: str, folder: Path) -> None:
    said = _apt(environment, folder, "update", "-o", "APT::Update::Error-Mode=any")
    if said is not None:
        raise PackageUnavailable(tuple(packages), arch, said)
    (folder / ".apt/updated").touch()


def _download_once(
    environment: dict[str, str], packages: Sequence[str], folder: Path
) -> str | None:
    """None when all packages arrived, else what apt said; a killed download leaves no half file."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
        said = _apt(environment, Path(new), "download", *packages)
        if said is None:
            for deb in Path(new).glob("*.deb"):
                deb.rename(folder / deb.name)
    return said


def _apt(environment: dict[str, str], folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["apt-get", "-qq", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOWNLOAD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"apt-get {arguments[0]} did not end within {_DOWNLOAD_TIMEOUT_S:.0f} s"
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()[-600:]


def _apt_environment(arch: str, state: Path, mirror: str) -> dict[str, str]:
    """Write apt's private configuration below ``state`` and return the environment that uses it."""
    for part in ("lists/partial", "cache/archives/partial", "parts"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    sources = f"deb [arch={arch} signed-by={_keyring()}] {mirror} {SUITE} main\n"
    listed = state / "sources.list"
    if not listed.exists() or listed.read_text() != sources:  # another mirror: its lists anew
        (state / "updated").unlink(missing_ok=True)
        listed.write_text(sources)
    configuration = state / "apt.conf"
    configuration.write_text(_apt_configuration(arch, state) + _host_network_options())
    return {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}


def _apt_configuration(arch: str, state: Path) -> str:
    options = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        # As root apt would step down to a user that cannot write here, and say so each time.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
        "Acquire::Retries": "3",
        # The host's own hooks and options stay out: they may touch the host's package state.
        "Dir::Etc::Main": "/dev/null",
        "Dir::Etc::Parts": str(state / "parts"),
        "Dir::Etc::SourceList": str(state / "sources.list"),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": str(state / "lists"),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    return "".join(f'{key} "{value}";\n' for key, value in options.items())


def _host_network_options() -> str:
    if shutil.which("apt-config") is None:
        return ""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    lines = dump.stdout.splitlines()
    return "".join(f"{line}\n" for line in lines if _NETWORK_OPTION.match(line))


def _keyring() -> Path:
    for keyring in _KEYRINGS:
        if keyring.exists():
            return keyring
    raise ToolMissing(
        "Debian's archive keyring",
        "checking the signature of Debian packages",
        "apt-get install debian-archive-keyring",
    )


def _need(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        raise ToolMissing(tool, "fetching Debian packages", f"apt-get install {package}")


def _dpkg_deb(deb: Path, *arguments: str) -> str:
    _need("dpkg-deb", "dpkg")
    done = subprocess.run(
        ["dpkg-deb", *arguments], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        said = f"{done.stderr.strip()[-300:]}; delete the file and run again"
        raise PackageUnavailable((deb.name,), "", said)
    return done.stdout
