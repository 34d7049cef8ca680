from pathlib import Path

import pytest

from android_harness import places
from android_harness.evidence import Fidelity
from android_harness.virtual import state
from android_harness.virtual.__main__ import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PHONES", tmp_path)


def claim(name: str) -> Path:
    return state.claim(name, Fidelity.EMULATED, "arm64", "arm64-v8a", "key")


def test_list_shows_running_phones_only(capsys: pytest.CaptureFixture[str]) -> None:
    claim("never-started")
    running = claim("running")
    state.spawn(["sleep", "1000"], running)
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "running  emulated  arm64-v8a  127.0.0.1:0\n"
    state.end(running)


def test_stop_ends_what_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = claim("first"), claim("second")
    state.spawn(["sleep", "1000"], first)
    assert main(["stop", "first"]) == 0
    assert capsys.readouterr().out == "first: stopped\n"
    assert not first.exists()
    assert second.exists()


def test_stop_all_ends_every_phone(capsys: pytest.CaptureFixture[str]) -> None:
    claim("a")
    claim("b")
    assert main(["stop", "--all"]) == 0
    assert capsys.readouterr().out == "a: stopped\nb: stopped\n"
    assert state.phones() == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "say which phone, or --all"),
        (["stop", "nobody"], "virtual phone nobody: is not there"),
        (["stop", "../x"], "names are"),
        (["start", "--port", "99999"], "99999 is no TCP port"),
        (["start", "--authorized-key", "/no/such.pub"], "no public key in /no/such.pub"),
    ],
)
def test_mistakes_are_told_on_stderr(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""


def test_host_without_tools_says_why_none_can_be_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["start"]) == 1
    assert "apt-get is needed for building the virtual phone" in capsys.readouterr().err
