import multiprocessing
import threading
from pathlib import Path

import pytest

from android_harness.errors import NotWritable
from android_harness.filelock import locked


def append_slowly(folder: Path) -> None:
    """Read, wait, write: without a lock two of these lose each other's line."""
    with locked(folder / "deep/.lock", "testing"):
        file = folder / "lines"
        before = file.read_text() if file.exists() else ""
        threading.Event().wait(0.05)
        file.write_text(before + "line\n")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.map(append_slowly, [tmp_path] * 3)
    assert (tmp_path / "lines").read_text() == "line\n" * 3


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    threads = [threading.Thread(target=append_slowly, args=(tmp_path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "lines").read_text() == "line\n" * 3


def test_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / ".lock", "testing"):
        raise KeyError
    with locked(tmp_path / ".lock", "testing"):
        pass


def test_waiting_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with locked(tmp_path / ".lock", "building"):
        waiting = threading.Thread(target=append_once, args=(tmp_path,))
        waiting.start()
        while not caplog.messages:
            threading.Event().wait(0.01)
    waiting.join()
    assert caplog.messages == ["waiting for another process: building"]


def append_once(folder: Path) -> None:
    with locked(folder / ".lock", "building"):
        pass


def test_folder_of_another_user_is_named() -> None:
    # The kernel's own file system lets nobody make folders, root included.
    lock = locked(Path("/sys/kernel/x/.lock"), "testing")
    with pytest.raises(NotWritable, match="/sys/kernel/x cannot be written"), lock:
        pass
