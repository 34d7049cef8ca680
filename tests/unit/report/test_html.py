import json
import subprocess
import sys
from pathlib import Path

import pytest

from android_harness.evidence import Fidelity
from device_bench.report.errors import BadSlug
from device_bench.report.html import report_schema, write_report
from device_bench.report.model import Report
from tests.unit.report import sample_reports as samples


def small(*slugs: str) -> Report:
    return samples.report(*(samples.phone(f"Phone {s}", s, Fidelity.PHONE) for s in slugs))


def test_everything_is_written_and_nothing_else(tmp_path: Path) -> None:
    files = write_report(small("a", "b"), tmp_path / "deep" / "out")
    assert {path.name for path in files.folder.iterdir()} == {
        "a.html", "b.html", "index.html", "report.json", "summary.md"
    }  # fmt: skip
    assert [page.name for page in files.pages] == ["a.html", "b.html"]
    assert files.index.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_report_json_comes_back_as_the_same_report(tmp_path: Path, report: Report) -> None:
    files = write_report(small("a"), tmp_path)
    assert Report.model_validate_json(files.data.read_text(encoding="utf-8")) == small("a")
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_second_write_replaces_the_first(tmp_path: Path) -> None:
    write_report(small("a"), tmp_path)
    before = (tmp_path / "a.html").stat().st_ino
    write_report(small("a"), tmp_path)
    assert (tmp_path / "a.html").stat().st_ino != before  # renamed over, not written into
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "slug", ["", "..", ".hidden", "a/b", "../x", "index", "INDEX", "x" * 200, "é", "a\n", "-rf"]
)
def test_a_slug_that_is_no_file_name_is_refused_before_anything_is_written(
    tmp_path: Path, slug: str
) -> None:
    with pytest.raises(BadSlug, match="no page can be named"):
        write_report(small("fine", slug), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_phones_cannot_share_a_page(tmp_path: Path) -> None:
    with pytest.raises(BadSlug, match="taken"):
        write_report(small("pixel", "Pixel"), tmp_path)


def test_files_can_be_read_by_others(tmp_path: Path) -> None:
    files = write_report(small("a"), tmp_path)
    assert files.index.stat().st_mode & 0o777 == 0o644


def test_the_schema_names_every_part() -> None:
    schema = json.loads(json.dumps(report_schema()))
    assert schema["properties"]["schema_version"]["maximum"] == 1
    assert {"Phone", "Recipe", "Variant", "Latency", "Parity"} <= set(schema["$defs"])


def test_importing_the_front_door_does_not_load_the_chart_library() -> None:
    code = "import sys, device_bench.report.html; print('altair' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
