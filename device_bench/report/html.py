"""A report on disk: a page a phone, an index, report.json and summary.md.

The front door of this folder: whoever shows a report imports from here.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from device_bench.report.errors import BadSlug
from device_bench.report.markdown import render_summary
from device_bench.report.model import Report
from device_bench.report.pages import render_index, render_phone

__all__ = [
    "ReportFiles",
    "render_index",
    "render_phone",
    "render_summary",
    "report_schema",
    "write_report",
]

INDEX, DATA, SUMMARY = "index.html", "report.json", "summary.md"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """What was written."""

    folder: Path
    index: Path
    pages: tuple[Path, ...]
    data: Path
    summary: Path


def write_report(report: Report, folder: Path) -> ReportFiles:
    """Write every file of ``report`` into ``folder``, which is made when it is not there.

    All is rendered before anything is written, and each file appears whole or not at all; the
    index comes last, so that it never leads to a page that is not there.

    Raises:
        BadSlug: a phone's slug is no file name, or two phones share it.
        OSError: the folder cannot be written.
    """
    _check_slugs([phone.slug for phone in report.phones])
    texts = dict(_documents(report))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        _replace(folder / name, text)
    return ReportFiles(
        folder=folder, index=folder / INDEX, data=folder / DATA, summary=folder / SUMMARY,
        pages=tuple(folder / f"{phone.slug}.html" for phone in report.phones),
    )  # fmt: skip


def report_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return Report.model_json_schema(mode="serialization")


def _documents(report: Report) -> Iterator[tuple[str, str]]:
    yield DATA, report.model_dump_json() + "\n"
    yield SUMMARY, render_summary(report)
    for phone in report.phones:
        yield f"{phone.slug}.html", render_phone(report, phone)
    yield INDEX, render_index(report)


def _check_slugs(slugs: list[str]) -> None:
    seen = {Path(INDEX).stem}
    for slug in slugs:
        if not _SLUG.fullmatch(slug):
            raise BadSlug(slug, "it holds what a file name should not")
        if slug.lower() in seen:  # file systems may not tell cases apart
            raise BadSlug(slug, "the name is taken")
        seen.add(slug.lower())


def _replace(path: Path, text: str) -> None:
    """Write a file in one step; readers see the old one or the new one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        temporary.chmod(0o644)  # mkstemp's 0600 would hide the report from a web server
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
