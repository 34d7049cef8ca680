import shlex
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.transport.shell_protocol import ShellProtocolError, ShellV1, ShellV2


def packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=20),
    st.integers(0, 255),
    st.lists(st.integers(1, 60), max_size=40),
)
def test_packets_cut_anywhere_give_the_same_output(
    said: list[tuple[int, bytes]], code: int, cuts: list[int]
) -> None:
    data = b"".join(packet(kind, text) for kind, text in said) + packet(3, bytes([code]))
    reader = ShellV2()
    for cut in cuts:
        reader.feed(data[:cut])
        data = data[cut:]
    reader.feed(data)
    output = reader.finish()
    assert output.exit_code == code
    assert output.stdout == b"".join(text for kind, text in said if kind == 1)
    assert output.stderr == b"".join(text for kind, text in said if kind == 2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
def test_our_own_first_line_is_taken_out_of_stdout(end: bytes) -> None:
    reader = ShellV2()
    reader.feed(packet(1, b"deploy-bench-pid:4711" + end) + packet(1, b"real\n"))
    output = reader.finish()
    assert output.pid == 4711
    assert output.stdout == b"real\n"


def test_a_command_that_never_began_has_no_pid() -> None:
    reader = ShellV2()
    reader.feed(packet(2, b"sh: syntax error\n") + packet(3, b"\1"))
    output = reader.finish()
    assert output.pid is None
    assert output.stderr == b"sh: syntax error\n"


def test_a_stream_without_an_exit_packet_has_no_exit_code() -> None:
    reader = ShellV2()
    reader.feed(packet(1, b"half"))
    assert reader.finish().exit_code is None


@pytest.mark.parametrize("data", [packet(9, b"x"), packet(3, b""), packet(3, b"\0\0")])
def test_packets_of_another_protocol_are_refused(data: bytes) -> None:
    with pytest.raises(ShellProtocolError):
        ShellV2().feed(data)


def run_script(reader: ShellV1, command: str) -> bytes:
    """The script as a phone's shell would run it; its directory moved to where we may write."""
    service = reader.service(command).removeprefix("shell:")
    script = service.replace("/data/local/tmp/deploy-bench", "$TMPDIR/deploy-bench")
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize(
    ("command", "code", "stdout", "stderr"),
    [
        ("printf out; printf err >&2; exit 7", 7, b"out", b"err"),
        ("echo a; echo b; kill -9 $$", 137, b"a\nb\n", b""),
        ("true", 0, b"", b""),
        ("cat", 0, b"", b""),
    ],
)
def test_a_phone_without_shell_v2_tells_code_and_outputs_apart(
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    newline: bytes,
    command: str,
    code: int,
    stdout: bytes,
    stderr: bytes,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    reader = ShellV1("00ff")
    said = run_script(reader, command).replace(b"\n", newline)
    reader.feed(said[:11])
    reader.feed(said[11:])
    output = reader.finish()
    assert (output.exit_code, output.stdout) == (code, stdout)
    assert output.stderr.startswith(stderr)
    assert output.pid


def test_a_command_that_prints_the_script_itself_does_not_end_it(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    reader = ShellV1("00ff")
    shown = reader.service("ps")
    reader.feed(run_script(reader, f"printf %s {shlex.quote(shown)}"))
    output = reader.finish()
    assert output.exit_code == 0
    assert b"deploy''-bench-00ff=$?=" in output.stdout
    assert output.stdout.endswith(b"-bench-00ff.")


@given(st.binary(max_size=200))
def test_a_cut_script_has_no_exit_code(data: bytes) -> None:
    reader = ShellV1("00ff00ff")
    reader.feed(data)
    assert reader.finish().exit_code is None
