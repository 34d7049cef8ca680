"""Outputs of finished calls on disk, under the hash of everything that decided them.

An entry is a folder that appears in one step, with ``entry.json`` naming every file's sha256. A
killed build therefore leaves no half output, and a damaged one is found out and made again.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pipeline.artifact import sha256_of
from pipeline.plan import CACHE_FOLDER, ENTRY_FILE, Call, entry_folder

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The kept output of a call: files in ``folder``, and facts as JSON."""

    folder: Path
    files: dict[str, str]  # name -> sha256
    facts: dict[str, Any]


def read_entry(folder: Path, call: Call) -> Entry | None:
    """The kept output of ``call``; None when there is none, or it is damaged (then removed)."""
    where = entry_folder(folder, call.key)
    try:
        document = json.loads((where / ENTRY_FILE).read_text(encoding="utf-8"))
        entry = Entry(folder=where, files=document["files"], facts=document["facts"])
        damaged = [name for name, sha in entry.files.items() if sha256_of(where / name) != sha]
    except FileNotFoundError as exc:
        if not where.exists():
            return None
        damaged = [str(exc.filename)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        damaged = [f"{ENTRY_FILE} ({exc})"]
    else:
        if not damaged:
            return entry
    _log.warning("%s: the kept output is damaged (%s); made again", call.label, ", ".join(damaged))
    shutil.rmtree(where, ignore_errors=True)
    return None


def make_entry(folder: Path, call: Call, make: Callable[[Path], dict[str, Any]]) -> Entry:
    """Let ``make`` write into a new folder and keep what it wrote.

    Args:
        folder: of the variants; the cache lies under it.
        call: whose output this is.
        make: writes files into the folder it is given and returns facts as JSON.
    """
    root = folder / CACHE_FOLDER
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{call.key[:12]}-", dir=root))
    try:
        facts = make(temporary)
        files = {p.name: sha256_of(p) for p in sorted(temporary.iterdir())}
        document = {"key": call.key, "label": call.label, "files": files, "facts": facts}
        (temporary / ENTRY_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")
        _move(temporary, entry_folder(folder, call.key))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Entry(folder=entry_folder(folder, call.key), files=files, facts=facts)


def _move(temporary: Path, target: Path) -> None:
    temporary.chmod(0o755)  # mkdtemp's folders are closed to others
    try:
        temporary.rename(target)
    except OSError:
        # Another build of the same recipe was quicker; its output is the same call's.
        if not (target / ENTRY_FILE).is_file():
            raise
