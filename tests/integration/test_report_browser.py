"""Pages in a real browser: nothing sticks out, the style sheet passes its policy, nothing loads."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from device_bench.report.html import write_report
from tests.unit.report.sample_reports import everything

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files",  # the frame's page is another file
)  # fmt: skip
# The pages run no script, so a page around them measures them.
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><pre id="found"></pre>
<iframe src="{page}" width="{width}" height="800" style="border:0"></iframe>
<script>
addEventListener("load", () => {{
  const inner = document.querySelector("iframe"), root = inner.contentDocument.documentElement;
  inner.contentDocument.querySelectorAll("details").forEach(one => {{ one.open = true; }});
  const boxes = [...inner.contentDocument.querySelectorAll("body *")]
    .filter(one => !one.closest(".scroll") && !one.closest("svg") && !one.matches(".skip"));
  const out = boxes.filter(one => one.getBoundingClientRect().right > root.clientWidth + 1);
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.clientWidth, scroll: root.scrollWidth,
    out: out.map(one => one.tagName + "." + one.className + " " + one.textContent.slice(0, 40)),
    styled: inner.contentWindow.getComputedStyle(inner.contentDocument.body).margin,
    loaded: inner.contentWindow.performance.getEntriesByType("resource").map(one => one.name),
    charts: inner.contentDocument.querySelectorAll("figure svg").length,
  }});
}});
</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(everything(), tmp_path_factory.mktemp("report")).folder


def measured(page: Path, width_px: int, tmp_path: Path) -> dict[str, object]:
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(page=page.as_uri(), width=width_px), encoding="utf-8")
    assert CHROMIUM is not None
    ran = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000",
         "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.+?)</pre>', ran.stdout, re.DOTALL)
    assert found, ran.stderr[-500:]
    return dict(
        json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    )


@pytest.mark.parametrize("width_px", [360, 1280])
@pytest.mark.parametrize(
    "page",
    ["google-pixel-8", "virtual-container-x86-64", "samsung-galaxy-a15", "hostile", "index"],
)
def test_nothing_sticks_out_of_a_page(
    folder: Path, page: str, width_px: int, tmp_path: Path
) -> None:
    found = measured(folder / f"{page}.html", width_px, tmp_path)
    assert found["out"] == []
    assert found["scroll"] == found["width"]
    assert found["styled"] == "0px"  # the browser's own margin is 8px: the policy let the style in
    assert found["loaded"] == []


def test_charts_are_drawn(folder: Path, tmp_path: Path) -> None:
    assert measured(folder / "google-pixel-8.html", 1280, tmp_path)["charts"] == 5
