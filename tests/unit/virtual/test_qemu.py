import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from android_harness.errors import CommandFailed, CommandTimeout, ToolMissing, VirtualPhoneError
from android_harness.evidence import Fidelity
from android_harness.virtual import qemu
from android_harness.virtual.image import Image
from android_harness.virtual.options import Options


def image(arch: str) -> Image:
    return Image(arch=arch, key="k", kernel_release="6", packages=(), authentication="")


def command(arch: str, fidelity: Fidelity, options: Options | None = None) -> str:
    words = qemu.command(image(arch), fidelity, options or Options(), port=4444, cpu="some-cpu")
    return " ".join(words)


def test_phone_is_reachable_from_this_host_alone_and_reaches_nothing() -> None:
    line = command("arm64", Fidelity.EMULATED)
    assert "restrict=on,hostfwd=tcp:127.0.0.1:4444-10.0.2.15:5555" in line
    assert line.count("-netdev") == 1


def test_arm64_is_emulated_on_the_virt_board() -> None:
    line = command("arm64", Fidelity.EMULATED, Options(memory_mb=300, cpus=2))
    assert line.startswith("qemu-system-aarch64 ")
    assert "-machine virt -accel tcg,thread=multi,tb-size=64 -cpu some-cpu" in line
    assert "-m 300 -smp 2" in line
    assert "console=ttyAMA0" in line
    assert "-icount" not in line


def test_counting_instructions_needs_one_thread() -> None:
    line = command("arm64", Fidelity.EMULATED, Options(instruction_clock_shift=1))
    assert "thread=single" in line
    assert "-icount shift=1,sleep=off" in line


def test_kvm_runs_the_hosts_own_architecture() -> None:
    line = command("amd64", Fidelity.KVM)
    assert line.startswith("qemu-system-x86_64 ")
    assert "-accel kvm -cpu some-cpu,arch-capabilities=off" in line
    assert "console=ttyS0" in line
    assert "tcg" not in line


def test_all_paths_of_the_phone_are_inside_its_folder() -> None:
    words = qemu.command(image("arm64"), Fidelity.EMULATED, Options(), port=1, cpu="c")
    outside = {word for word in words if word.startswith("/")}
    assert outside == {str(image("arm64").kernel)}


def test_missing_qemu_holds_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install qemu-system-arm" in qemu.why_not("arm64")
    with pytest.raises(ToolMissing, match="apt-get install qemu-system-x86"):
        qemu.version("amd64")


@contextmanager
def guest(folder: Path, answer: str) -> Iterator[list[str]]:
    """The guest's end of the control port: keeps the script, answers with TOKEN filled in."""
    scripts: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as requests:
                token, script = requests.readline().decode().split()
                scripts.append(base64.b64decode(script).decode())
                for part in answer.replace("TOKEN", token).partition("|")[::2]:
                    connection.sendall(part.encode())
                requests.readline()  # until the caller has gone

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield scripts
        finally:
            thread.join(10)


def test_control_returns_the_output_of_any_script(tmp_path: Path) -> None:
    with guest(tmp_path, "two\nlines\n|\nTOKEN 0\n") as scripts:
        assert qemu.control(tmp_path, "echo 'two\nlines'", 20.0) == "two\nlines\n"
    assert scripts == ["echo 'two\nlines'"]


def test_control_passes_over_an_answer_that_nobody_waited_for(tmp_path: Path) -> None:
    with guest(tmp_path, "late\n0123456789abcdef 0\n|mine\nTOKEN 0\n"):
        assert qemu.control(tmp_path, "x", 20.0) == "mine"


def test_control_raises_on_another_exit_code(tmp_path: Path) -> None:
    with guest(tmp_path, "no such file\n|\nTOKEN 3\n"), pytest.raises(CommandFailed) as caught:
        qemu.control(tmp_path, "x", 20.0)
    assert (caught.value.exit_code, caught.value.stdout_tail) == (3, "no such file\n")


def test_control_has_a_deadline(tmp_path: Path) -> None:
    with guest(tmp_path, "part of an answer"), pytest.raises(CommandTimeout):
        qemu.control(tmp_path, "x", 0.1)


def test_control_of_a_dead_phone_says_so(tmp_path: Path) -> None:
    with pytest.raises(VirtualPhoneError, match="not running"):
        qemu.control(tmp_path / "gone", "x", 1.0)
    with pytest.raises(VirtualPhoneError, match="closed"):
        qemu.control(tmp_path, "x", 1.0)


def test_control_works_below_a_path_too_long_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    short = tmp_path / "s"
    short.mkdir()
    with guest(short, "yes|\nTOKEN 0\n"):
        (short / "control.sock").rename(deep / "control.sock")
        assert qemu.control(deep, "x", 20.0) == "yes"
