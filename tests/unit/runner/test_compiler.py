import sys
from pathlib import Path

import pytest

from android_harness.errors import CommandFailed
from android_harness.runner import compiler
from android_harness.runner.compiler import run_tool, sources_digest


def test_the_digest_follows_sources_headers_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "SOURCES", tmp_path)
    digests = [sources_digest()]
    for name, text in (("a.c", "1"), ("a.c", "2"), ("b.h", "1"), ("ignored.py", "1")):
        (tmp_path / name).write_text(text)
        digests.append(sources_digest())
    monkeypatch.setattr(compiler, "FLAGS", ("-O0",))
    digests.append(sources_digest())
    assert len(set(digests[:4])) == 4
    assert digests[4] == digests[3]
    assert digests[5] != digests[4]


def test_a_tool_that_ends_well_says_nothing(tmp_path: Path) -> None:
    run_tool((sys.executable, "-c", "open('made', 'w')"), 30.0, cwd=tmp_path)
    assert (tmp_path / "made").exists()


def test_a_tool_that_fails_is_quoted() -> None:
    script = "import sys; sys.stderr.write('no space'); sys.exit(3)"
    with pytest.raises(CommandFailed, match="no space") as caught:
        run_tool((sys.executable, "-c", script), 30.0)
    assert caught.value.exit_code == 3


def test_a_tool_that_hangs_is_ended() -> None:
    with pytest.raises(CommandFailed, match="no end after"):
        run_tool((sys.executable, "-c", "import time; time.sleep(60)"), 0.3)
