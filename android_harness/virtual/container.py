"""Run the phone's file system in name spaces of this host's kernel: native speed, needs root."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from android_harness.errors import CommandFailed, CommandTimeout, VirtualPhoneError
from android_harness.virtual import proxy, state
from android_harness.virtual.image import Image

_NAMESPACES: Final = ("--net", "--pid", "--mount", "--uts", "--ipc")
_PROBE_TIMEOUT_S: Final = 10.0
_FIRST_PROCESS_TIMEOUT_S: Final = 10.0


def why_not() -> str:
    """Why no container can be started on this host; "" when one can."""
    if os.geteuid() != 0:
        return "needs root, for name spaces and mounts; run as root, or use an emulated phone"
    missing = [tool for tool in ("unshare", "nsenter", "setsid") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing; apt-get install util-linux"
    probe = ["unshare", *_NAMESPACES, "--fork", "sh", "-c", "mount -t tmpfs none /mnt"]
    done = subprocess.run(
        probe, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip()[-200:]
        return f"name spaces are not allowed here ({said}); in Docker, add --privileged"
    return ""


def launch(image: Image, folder: Path, port: int) -> int:
    """Start container and port proxy; returns the port on 127.0.0.1.

    Args:
        image: built for this host's architecture.
        folder: the phone's folder, holding ``phone.prop`` and ``adb_keys``.
        port: 0 takes a free one.

    Raises:
        VirtualPhoneError: the port is taken, or the container does not start.
    """
    with _listen(folder.name, port) as listener:
        busybox = str(image.root / "vendor/bin/busybox")
        init = [busybox, "sh", str(image.root / "init"), "container", str(image.root), str(folder)]
        state.spawn(["unshare", *_NAMESPACES, "--fork", "--kill-child", *init], folder)
        first = _wait_for_first_process(folder)
        descriptor = listener.fileno()
        command = [sys.executable, "-I", "-S", proxy.__file__, str(descriptor), str(first)]
        state.spawn(command, folder, keep_open=[descriptor])
        return int(listener.getsockname()[1])


def control(folder: Path, script: str, timeout_s: float) -> str:
    """Run a shell script as root inside; returns its output, stderr included.

    Raises:
        VirtualPhoneError: the container is not running.
        CommandFailed: another exit code than 0.
        CommandTimeout: no end after ``timeout_s``.
    """
    first = state.first_process(folder)
    if first is None:
        raise VirtualPhoneError(folder.name, "is not running; start it again")
    inside = ["--mount", "--uts", "--ipc", "--net", "--pid"]
    command = ["nsenter", "--target", str(first), *inside, "--", "/system/bin/sh", "-c", script]
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', '')}:/system/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(folder.name, script, timeout_s) from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise CommandFailed(folder.name, script, done.returncode, text, "")
    return text


def _listen(name: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise VirtualPhoneError(name, f"port {port} cannot be used ({error.strerror})") from error
    return listener


def _wait_for_first_process(folder: Path) -> int:
    deadline = time.monotonic() + _FIRST_PROCESS_TIMEOUT_S
    while time.monotonic() < deadline:
        first = state.first_process(folder)
        if first is not None:
            return first
        if not state.processes(folder):
            break
        time.sleep(0.01)
    raise VirtualPhoneError(folder.name, "its container did not start", state.console_tail(folder))
