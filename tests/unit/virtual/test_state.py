import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness import places
from android_harness.errors import VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import state


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Phones in a folder of the test; whatever is left of them is ended."""
    monkeypatch.setattr(places, "PHONES", tmp_path / "phones")
    yield tmp_path / "phones"
    for folder in (tmp_path / "phones").glob("*/"):
        state.end(folder)


def claim(name: str | None = None) -> Path:
    return state.claim(name, Fidelity.CONTAINER, "amd64", "x86_64", "key")


def started(folder: Path) -> state.Started:
    found = state.read(folder)
    assert found is not None
    return found


def abandon(folder: Path) -> None:
    """Make the phone one whose starter has ended."""
    state.write(replace(started(folder), owner=os.getpid(), owner_started=1))


def test_facts_are_kept_as_they_were_written() -> None:
    folder = claim("p")
    facts = replace(started(folder), port=4242)
    state.write(facts)
    assert state.read(folder) == facts
    assert state.phones() == (facts,)
    assert facts.fidelity is Fidelity.CONTAINER


def test_serials_are_unique_by_name() -> None:
    assert started(claim("a")).serial != started(claim("b")).serial


def test_free_names_are_numbered() -> None:
    assert [claim().name, claim().name] == ["container-1", "container-2"]


def test_name_is_taken_once() -> None:
    claim("p")
    with pytest.raises(VirtualPhoneError, match="there already"):
        claim("p")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".lock", "a b", "x" * 41, "-x", "a\n"])
def test_name_must_be_one(name: str) -> None:
    with pytest.raises(VirtualPhoneError, match="names are"):
        claim(name)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "another version"}'])
def test_facts_of_another_version_are_none(text: str) -> None:
    folder = claim("p")
    (folder / "phone.json").write_text(text)
    assert state.read(folder) is None
    assert state.clean() == ("p",)


def test_processes_are_found_and_ended_with_the_folder() -> None:
    folder = claim("p")
    state.spawn(["sh", "-c", "sleep 1000 & exec sleep 1000"], folder)
    other = claim("q")
    state.spawn(["sleep", "1000"], other)
    assert len(state.processes(folder)) >= 1
    state.end(folder)
    assert state.processes(folder) == ()
    assert not folder.exists()
    assert len(state.processes(other)) == 1


def test_processes_that_ignore_polite_signals_are_ended() -> None:
    folder = claim("p")
    state.spawn(["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 0.1; done"], folder)
    state.end(folder)
    assert state.processes(folder) == ()


def test_name_that_begins_like_another_is_not_the_other() -> None:
    longer = claim("phone-10")
    state.spawn(["sleep", "1000"], longer)
    assert state.processes(claim("phone-1")) == ()


def test_console_holds_what_processes_said() -> None:
    folder = claim("p")
    state.spawn(["sh", "-c", "echo out; echo err >&2"], folder)
    while state.processes(folder):
        pass
    assert state.console_tail(folder).split() == ["out", "err"]


def test_phone_of_a_living_starter_is_left_alone() -> None:
    claim("p")
    assert state.clean() == ()


def test_phone_of_a_dead_starter_is_ended() -> None:
    folder = claim("p")
    state.spawn(["sleep", "1000"], folder)
    abandon(folder)
    assert state.clean() == ("p",)
    assert state.processes(folder) == ()
    assert state.phones() == ()


def test_phone_that_stays_is_left_alone_while_it_runs() -> None:
    folder = claim("p")
    state.spawn(["sleep", "1000"], folder)
    state.write(replace(started(folder), owner=None, owner_started=0))
    assert state.clean() == ()
    (pid,) = state.processes(folder)
    os.kill(pid, signal.SIGKILL)
    while state.processes(folder):
        pass
    assert state.clean() == ("p",)


def test_starter_that_is_killed_leaves_a_phone_that_is_found(home: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from android_harness import places;"
        "from android_harness.evidence import Fidelity;"
        "from android_harness.virtual import state;"
        f"places.PHONES = Path({str(home)!r});"
        "folder = state.claim('p', Fidelity.KVM, 'amd64', 'x86_64', 'key');"
        "state.spawn(['sleep', '1000'], folder);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    folder = home / "p"
    assert len(state.processes(folder)) == 1
    assert state.clean() == ("p",)
    assert state.processes(folder) == ()


def test_image_of_a_phone_of_another_working_folder_is_in_use(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = claim("p")
    state.spawn(["sleep", "1000"], folder)
    monkeypatch.setattr(places, "PHONES", home.parent / "elsewhere")
    assert "key" in state.image_keys_in_use()
    state.end(folder)
    assert "key" not in state.image_keys_in_use()


def test_folder_reached_by_a_link_is_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = claim("p")
    (home.parent / "link").symlink_to(home)
    monkeypatch.setattr(places, "PHONES", home.parent / "link")
    state.spawn(["sleep", "1000"], state.folder_of("p"))
    assert len(state.processes(folder)) == 1


def test_start_of_a_process_is_its_own() -> None:
    assert state.start_ticks(os.getpid()) > 0
    assert state.start_ticks(2**22 + 1) == 0  # beyond the largest process number


def test_property_file_has_androids_form() -> None:
    assert state.as_property_file({"ro.a": "b c", "d": ""}) == "ro.a=b c\nd=\n"
