"""What is known of started phones: a folder each, and the processes that carry its mark.

Every process of a phone has the phone's folder in its environment, so they are found and ended
whatever became of the program that started them, and a number given to another process since
is never taken for ours.
"""

import itertools
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, final

from android_harness import places
from android_harness.errors import ToolMissing, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.filelock import locked

log = logging.getLogger(__name__)

MARK: Final = "DEPLOY_BENCH_PHONE"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_FACTS: Final = "phone.json"
_END_TIMEOUT_S: Final = 15.0
_TAIL_BYTES: Final = 2000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The facts of one started phone, as they lie in its folder."""

    name: str
    fidelity: Fidelity
    arch: str  # Debian's name
    abi: str
    image_key: str
    port: int  # 0 until it is known
    serial: str
    owner: int | None  # the process it must not outlive; None when it stays until stopped
    owner_started: int  # that process's start, in clock ticks since boot


def folder_of(name: str) -> Path:
    """The folder of the phone ``name``.

    Raises:
        VirtualPhoneError: not a name for a phone.
    """
    if not _NAME.fullmatch(name):
        raise VirtualPhoneError(name, "names are 1-40 letters, digits, '.', '_' or '-'")
    return places.PHONES / name


def phones() -> tuple[Started, ...]:
    """All phones that have a folder, running or not, by name."""
    found = (read(file.parent) for file in sorted(places.PHONES.glob(f"*/{_FACTS}")))
    return tuple(started for started in found if started is not None)


def image_keys_in_use() -> frozenset[str]:
    """The images of all phones of this host that run, wherever their folders lie, and of ours."""
    marks = {_mark(pid) for pid in _everyone()} - {""}
    running = (read(Path(mark)) for mark in marks)
    return frozenset(phone.image_key for phone in (*phones(), *running) if phone is not None)


def read(folder: Path) -> Started | None:
    """The facts in ``folder``; None when there are none, or they are another version's."""
    try:
        facts = json.loads((folder / _FACTS).read_text())
    except (OSError, json.JSONDecodeError):
        return None
    if not isinstance(facts, dict) or set(facts) != {field.name for field in fields(Started)}:
        return None
    return Started(**{**facts, "fidelity": Fidelity(facts["fidelity"])})


def write(started: Started) -> None:
    """Keep the facts; a reader sees the old ones or the new ones, never half of them."""
    folder = folder_of(started.name)
    new = folder / f".{_FACTS}"
    new.write_text(json.dumps(asdict(started), indent=1))
    new.rename(folder / _FACTS)


def claim(name: str | None, fidelity: Fidelity, arch: str, abi: str, image_key: str) -> Path:
    """Make the folder of a phone that this process is about to start.

    Args:
        name: None takes the first free ``<fidelity>-<number>``.
        fidelity: how it will run.
        arch: Debian's name.
        abi: Android's name of the same.
        image_key: the image it will run, which must not be removed while it does.

    Raises:
        VirtualPhoneError: the name is taken, or not a name.
    """
    with locked(places.PHONES / ".lock", "starting or ending a virtual phone"):
        folder = _free_folder(fidelity) if name is None else folder_of(name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            reason = "is there already; stop it, or give another name"
            raise VirtualPhoneError(folder.name, reason) from error
        started = Started(
            name=folder.name,
            fidelity=fidelity,
            arch=arch,
            abi=abi,
            image_key=image_key,
            port=0,
            serial=f"virtual-{folder.name}",
            owner=os.getpid(),
            owner_started=start_ticks(os.getpid()),
        )
        write(started)
    return folder


def clean() -> tuple[str, ...]:
    """End what is left of phones whose starter is gone; returns their names.

    A phone that was started to stay is left alone while it runs.
    """
    cleaned = []
    with locked(places.PHONES / ".lock", "starting or ending a virtual phone"):
        for folder in sorted(path for path in places.PHONES.iterdir() if path.is_dir()):
            if _is_stale(folder):
                log.info("cleaning up what is left of the virtual phone %s", folder.name)
                end(folder)
                cleaned.append(folder.name)
    return tuple(cleaned)


def _is_stale(folder: Path) -> bool:
    if not _is_ours(folder):  # we would not see its processes
        return False
    started = read(folder)
    if started is None:
        return True
    if started.owner is not None:
        return start_ticks(started.owner) != started.owner_started
    return not processes(folder)


def _is_ours(folder: Path) -> bool:
    return os.geteuid() in {0, folder.stat().st_uid}


def _free_folder(fidelity: Fidelity) -> Path:
    folders = (places.PHONES / f"{fidelity}-{number}" for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())


def as_property_file(properties: Mapping[str, str]) -> str:
    """Android's ``key=value`` lines."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def spawn(command: Sequence[str], folder: Path, *, keep_open: Sequence[int] = ()) -> None:
    """Start a process of the phone in ``folder``: marked, in a session of its own, not our child.

    Its output goes to the phone's console file.

    Raises:
        ToolMissing: setsid is not installed.
    """
    if shutil.which("setsid") is None:
        raise ToolMissing("setsid", "starting a virtual phone", "apt-get install util-linux")
    environment = {**os.environ, MARK: _mark_of(folder)}
    with console(folder).open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(keep_open),
            check=True,
        )


def console(folder: Path) -> Path:
    """Where the phone's console and its processes' messages go."""
    return folder / "console.log"


def console_tail(folder: Path) -> str:
    """The end of the phone's console."""
    try:
        return console(folder).read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").strip()
    except OSError:
        return ""


def processes(folder: Path) -> tuple[int, ...]:
    """The phone's processes that are still there."""
    mark = _mark_of(folder)
    return tuple(pid for pid in _everyone() if _mark(pid) == mark)


def first_process(folder: Path) -> int | None:
    """The process that is number 1 inside the phone's container; None before it is there."""
    for pid in processes(folder):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it ended meanwhile
            continue
        inside = re.search(r"^NSpid:\s.*\s1$", status, re.MULTILINE)
        if inside:
            return pid
    return None


def end(folder: Path) -> None:
    """End all processes of the phone and remove its folder.

    Raises:
        VirtualPhoneError: a process does not end, or the phone is another user's.
    """
    if folder.exists() and not _is_ours(folder):
        raise VirtualPhoneError(folder.name, "belongs to another user; stop it as that user")
    deadline = time.monotonic() + _END_TIMEOUT_S
    ended = set[int]()
    while left := [*processes(folder), *(pid for pid in ended if _is_there(pid))]:
        ended.update(left)
        for pid in left:
            _kill(pid, folder)
        if time.monotonic() > deadline:
            raise VirtualPhoneError(folder.name, f"its processes {left} do not end; see ps")
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none.

    Source: proc_pid_stat(5), field 22 (starttime).
    """
    stat = _stat_fields(pid)
    return int(stat[19]) if stat else 0


def _everyone() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _mark_of(folder: Path) -> str:
    """What the phone's processes carry: one text, by whatever link the folder was reached."""
    return str(folder.resolve())


def _mark(pid: int) -> str:
    """The folder of the phone a process belongs to; "" when it is no phone's, or has ended."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # another user's, or ended
        return ""
    found = re.search(rf"(?:^|\0){MARK}=([^\0]*)".encode(), environment)
    return os.fsdecode(found[1]) if found else ""


def _is_there(pid: int) -> bool:
    """Whether a process we ended still lives; one that only waits for its parent does not."""
    stat = _stat_fields(pid)
    return bool(stat) and stat[0] not in {"Z", "X"}


def _stat_fields(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kill(pid: int, folder: Path) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Asked again through the handle's lifetime: the number cannot mean another process now.
        if _mark(pid) == _mark_of(folder):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("process %d of %s ended by itself", pid, folder.name)
    finally:
        os.close(handle)
