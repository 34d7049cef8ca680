"""What every transport promises, over Android's own adbd, a simulated phone, and an adb server."""

import hashlib
import os
import re
import shlex
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from android_harness.errors import CommandFailed, CommandTimeout, RemoteFileError
from android_harness.transport import stream_transport
from android_harness.transport.stream_transport import StreamTransport

pytestmark = pytest.mark.device

HOME = "/data/local/tmp"
S = 20.0


def gone(transport: StreamTransport, argument: str, patience_s: float = 5.0) -> bool:
    """Whether no process on the phone has ``argument`` on its command line any more."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        # The brackets keep the pattern from finding itself.
        pattern = f"[{argument[0]}]{argument[1:]}"
        # Arguments end in NUL, where toybox's grep would stop reading.
        words = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
        found = f"{words} | grep -a -c 'sleep {pattern}'"
        listed = transport.shell(found, timeout_s=S)
        if listed.text.strip() == "0":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_the_exit_code_arrives(transport: StreamTransport, code: int) -> None:
    assert transport.shell(f"exit {code}", timeout_s=S).exit_code == code


def test_stdout_and_stderr_arrive_apart(transport: StreamTransport) -> None:
    done = transport.shell("echo out; echo err >&2; echo more", timeout_s=S)
    assert (done.text, done.error_text) == ("out\nmore\n", "err\n")


def test_output_without_a_newline_is_not_given_one(transport: StreamTransport) -> None:
    done = transport.shell("printf end; printf err >&2", timeout_s=S)
    assert (done.stdout, done.stderr) == (b"end", b"err")


@pytest.mark.parametrize(
    "text", ["it's", 'say "x"', "$HOME `id`", "Grüße 電話 \U0001f4f1", "a\\b", "-n 1", "* ?"]
)
def test_quoted_text_arrives_as_it_is(transport: StreamTransport, text: str) -> None:
    done = transport.shell(f"printf %s {shlex.quote(text)}", timeout_s=S)
    assert done.text == text


def test_a_command_of_16_kb_arrives_whole(transport: StreamTransport) -> None:
    text = "x" * 16_384
    done = transport.shell(f"printf %s {text}", timeout_s=S)
    assert done.text == text


def test_a_command_that_cannot_be_parsed_fails_with_the_shells_words(
    transport: StreamTransport,
) -> None:
    done = transport.shell("echo 'open", timeout_s=S)
    assert done.exit_code != 0
    assert done.error_text


def test_a_signal_is_told_as_128_plus_its_number(transport: StreamTransport) -> None:
    assert transport.shell("kill -9 $$", timeout_s=S).exit_code == 137


def test_a_command_that_reads_gets_an_end_of_file(transport: StreamTransport) -> None:
    assert transport.shell("cat; echo read", timeout_s=S).text == "read\n"


def test_large_output_arrives_whole(transport: StreamTransport) -> None:
    done = transport.shell(
        "i=0; while [ $i -lt 4000 ]; do echo $i-abcdefgh; i=$((i+1)); done", timeout_s=60
    )
    assert done.text.splitlines() == [f"{i}-abcdefgh" for i in range(4000)]


def test_a_command_past_its_deadline_is_ended_with_its_children(
    transport: StreamTransport,
) -> None:
    with pytest.raises(CommandTimeout) as caught:
        transport.shell("echo begun; (sleep 7113 & sleep 7113); echo never", timeout_s=1.0)
    assert "never" not in caught.value.output_tail
    assert gone(transport, "7113")


def test_the_connection_is_sound_after_a_timeout(transport: StreamTransport) -> None:
    with pytest.raises(CommandTimeout):
        transport.shell("sleep 7114", timeout_s=0.5)
    assert transport.shell("echo fine", timeout_s=S).text == "fine\n"


def test_a_command_that_talks_without_end_is_ended_too(
    transport: StreamTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline strikes in the middle of a packet."""
    monkeypatch.setattr(stream_transport, "MAX_OUTPUT_BYTES", 4 << 30)
    text = "x" * 4000
    with pytest.raises(CommandTimeout):
        transport.shell(f"while :; do echo {text}; done", timeout_s=1.0)
    assert transport.shell("echo fine", timeout_s=S).text == "fine\n"


def test_a_flood_is_cut_off(transport: StreamTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_transport, "MAX_OUTPUT_BYTES", 1_000_000)
    with pytest.raises(CommandFailed, match="more than"):
        transport.shell("cat /dev/zero; sleep 7116", timeout_s=S)
    assert gone(transport, "7116")
    assert transport.shell("echo fine", timeout_s=S).text == "fine\n"


def test_a_silent_command_may_take_its_time(transport: StreamTransport) -> None:
    assert transport.shell("sleep 2; echo late", timeout_s=S).text == "late\n"


@pytest.mark.parametrize("size", [0, 1, 65_527, 65_528, 65_536, 1_048_576, 20_000_003])
def test_a_file_comes_back_as_it_went(
    transport: StreamTransport, tmp_path: Path, size: int
) -> None:
    source, back = tmp_path / "out", tmp_path / "back"
    source.write_bytes(os.urandom(size))
    remote = f"{HOME}/conformance-{size}"
    transport.push(source, remote, timeout_s=120)
    found = transport.shell(f"sha256sum {remote}", timeout_s=S).text[:64]
    assert found == hashlib.sha256(source.read_bytes()).hexdigest()
    transport.pull(remote, back, timeout_s=120, max_bytes=size)
    assert back.read_bytes() == source.read_bytes()
    transport.shell(f"rm {remote}", timeout_s=S)


def test_progress_ends_with_everything(transport: StreamTransport, tmp_path: Path) -> None:
    source, seen = tmp_path / "out", []
    source.write_bytes(os.urandom(3_000_000))
    transport.push(source, f"{HOME}/progress", timeout_s=S, progress=lambda *a: seen.append(a))
    assert seen == sorted(seen)
    assert seen[-1] == (3_000_000, 3_000_000)
    pulled: list[tuple[int, int]] = []
    transport.pull(
        f"{HOME}/progress",
        tmp_path / "back",
        timeout_s=S,
        max_bytes=3_000_000,
        progress=lambda *a: pulled.append(a),
    )
    assert pulled[-1] == (3_000_000, 3_000_000)
    transport.shell(f"rm {HOME}/progress", timeout_s=S)


def test_a_unicode_path_works_both_ways(transport: StreamTransport, tmp_path: Path) -> None:
    source, remote = tmp_path / "out", f"{HOME}/Grüße, it's 電話"
    source.write_bytes(b"hello")
    transport.push(source, remote, timeout_s=S)
    transport.pull(remote, tmp_path / "back", timeout_s=S, max_bytes=100)
    assert (tmp_path / "back").read_bytes() == b"hello"
    transport.shell(f"rm {shlex.quote(remote)}", timeout_s=S)


def test_a_pushed_program_can_be_executed(transport: StreamTransport, tmp_path: Path) -> None:
    source, remote = tmp_path / "out", f"{HOME}/program"
    source.write_text("echo ran\n")
    transport.push(source, remote, mode=0o755, timeout_s=S)
    assert transport.shell(f"test -x {remote} && sh {remote}", timeout_s=S).text == "ran\n"
    transport.shell(f"rm {remote}", timeout_s=S)


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_refused_push_tells_the_phones_reason(
    transport: StreamTransport, tmp_path: Path, size: int
) -> None:
    source = tmp_path / "out"
    source.write_bytes(os.urandom(size))
    with pytest.raises(RemoteFileError) as caught:
        transport.push(source, HOME, timeout_s=S)  # a directory
    assert re.search("[a-z]{4}", caught.value.reason)
    assert transport.shell("echo fine", timeout_s=S).text == "fine\n"


@pytest.mark.parametrize(
    ("remote", "reason"), [(f"{HOME}/missing", "no such file"), (HOME, "is a directory")]
)
def test_what_is_no_file_is_not_pulled(
    transport: StreamTransport, tmp_path: Path, remote: str, reason: str
) -> None:
    with pytest.raises(RemoteFileError, match=reason):
        transport.pull(remote, tmp_path / "back", timeout_s=S, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(transport: StreamTransport, tmp_path: Path) -> None:
    transport.shell(f"ln -sf /system/bin/sh {HOME}/link", timeout_s=S)
    with pytest.raises(RemoteFileError, match="not a regular file"):
        transport.pull(f"{HOME}/link", tmp_path / "back", timeout_s=S, max_bytes=10_000_000)
    transport.shell(f"rm {HOME}/link", timeout_s=S)


def test_more_than_was_expected_is_not_pulled(transport: StreamTransport, tmp_path: Path) -> None:
    transport.shell(f"head -c 5000 /dev/zero > {HOME}/large", timeout_s=S)
    with pytest.raises(RemoteFileError, match="5000 bytes"):
        transport.pull(f"{HOME}/large", tmp_path / "back", timeout_s=S, max_bytes=4999)
    assert list(tmp_path.iterdir()) == []
    transport.shell(f"rm {HOME}/large", timeout_s=S)


def test_a_failed_pull_leaves_the_old_file(transport: StreamTransport, tmp_path: Path) -> None:
    target = tmp_path / "back"
    target.write_text("old")
    with pytest.raises(RemoteFileError):
        transport.pull(f"{HOME}/missing", target, timeout_s=S, max_bytes=1000)
    assert target.read_text() == "old"


def test_threads_take_turns(transport: StreamTransport) -> None:
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = transport.shell(f"echo {number}", timeout_s=S).text

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"{n}\n" for n in range(6)}


def test_it_connects_again_after_close(transport: StreamTransport) -> None:
    transport.shell("true", timeout_s=S)
    transport.close()
    transport.close()
    assert transport.shell("echo again", timeout_s=S).text == "again\n"


def test_ctrl_c_ends_the_remote_command(
    transport: StreamTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt strikes while the first output is taken, as a signal would."""
    transport.connect()
    shell = "ShellV2" if "shell_v2" in transport.features else "ShellV1"
    kind = getattr(stream_transport, shell)
    feed: Callable[..., None] = kind.feed

    def interrupted(self: object, data: bytes) -> None:
        feed(self, data)
        if b"begun" in bytes(data):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kind, "feed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            transport.shell("echo begun; (sleep 7115; echo never)", timeout_s=S)
    assert gone(transport, "7115")
