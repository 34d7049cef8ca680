"""The services that run commands: ``shell:``, ``shell,v2,...:`` and ``exec:``.

Source: adb/daemon/shell_service.cpp and services.cpp in AOSP. There is no terminal: ``pty`` is
served like ``raw``.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, final

from android_harness.errors import ParseError
from android_harness.virtual.simulated.adb_wire import ShellDecoder, ShellFrame, encode_shell_frame
from android_harness.virtual.simulated.faults import (
    CutOutput,
    During,
    KillCommand,
    OutputCrlf,
    RebootDuring,
    WrongExit,
)
from android_harness.virtual.simulated.inside import Inside
from android_harness.virtual.simulated.processes import kill_started, signal_group
from android_harness.virtual.simulated.root import OutputMap
from android_harness.virtual.simulated.stream import LinkEnded, Stream

_READ_BYTES = 32 * 1024
_FRAME_HEADER_BYTES = 5
# How often a silent command looks whether its stream still lives.
_POLL_S = 0.2


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRequest:
    """What a host asked for; ``command`` is empty for sh reading its stdin."""

    command: str
    framed: bool  # shell v2
    raw: bool  # exec:, never changed by OutputCrlf


def parse_request(service: str) -> ShellRequest | None:
    """Read a service name; None when it runs no command."""
    head, colon, command = service.partition(":")
    kind, *options = head.split(",")
    if not colon or kind not in ("shell", "exec"):
        return None
    framed = kind == "shell" and "v2" in options
    return ShellRequest(command=command, framed=framed, raw=kind == "exec")


@final
class _Output:
    """What goes back to the host: mapped, cut, with other line ends, framed."""

    def __init__(self, stream: Stream, request: ShellRequest, inside: Inside) -> None:
        self._stream, self._framed = stream, request.framed
        self._maps = {kind: OutputMap(inside.root.path) for kind in _OUTPUTS}
        self.cut = inside.faults.strike_matching(CutOutput, request.command)
        crlf = None if request.raw else inside.faults.strike_matching(OutputCrlf, request.command)
        self._line_end = (b"\r\r\n" if crlf.doubled else b"\r\n") if crlf else b"\n"
        self._left_bytes = None if self.cut is None else self.cut.after_bytes
        self._done_bytes = 0

    def send(self, kind: ShellFrame, data: bytes) -> None:
        self._deliver(kind, self._maps[kind].feed(data))

    def flush(self) -> None:
        for kind, output in self._maps.items():
            self._deliver(kind, output.flush())

    def exit(self, code: int) -> None:
        if self._framed:
            self._stream.write(encode_shell_frame(ShellFrame.EXIT, bytes([code & 0xFF])))

    def _deliver(self, kind: ShellFrame, data: bytes) -> None:
        if kind is ShellFrame.STDOUT:
            data = self._shorten(data)
        if not data:
            return
        data = data.replace(b"\n", self._line_end)
        link = self._stream.link
        link.pass_through(
            During.SHELL, self._done_bytes, data, lambda passed: self._write(kind, passed)
        )
        self._done_bytes += len(data)

    def _shorten(self, data: bytes) -> bytes:
        if self._left_bytes is None:
            return data
        data = data[: self._left_bytes]
        self._left_bytes -= len(data)
        return data

    def _write(self, kind: ShellFrame, data: bytes) -> None:
        if not self._framed:
            self._stream.write(data)
            return
        step = self._stream.link.max_payload_bytes - _FRAME_HEADER_BYTES
        for start in range(0, len(data), step):
            self._stream.write(encode_shell_frame(kind, data[start : start + step]))


_OUTPUTS = (ShellFrame.STDOUT, ShellFrame.STDERR)


def serve_shell(stream: Stream, request: ShellRequest, inside: Inside) -> None:
    """Run one command to its end; a closed stream ends the command.

    Raises:
        LinkEnded: the host or a fault ended the stream.
    """
    stream.link.pass_through(During.SHELL, 0, b"", lambda _: None)
    output = _Output(stream, request, inside)
    command = inside.root.rewrite(request.command)
    process = inside.processes.start(command, merge_stderr=not request.framed)
    stream.on_close = lambda: signal_group(process, signal.SIGHUP)
    _thread(_feed_stdin, stream, request, process)
    _start_kill(process, request, inside)
    reboot = inside.faults.strike_matching(RebootDuring, request.command)
    if reboot is not None:
        _thread(_reboot, reboot, inside)
    try:
        _pump(stream, process, output)
        _wait(stream, process, until_closed=reboot is not None)
    except LinkEnded:
        inside.processes.hang_up(process)
        inside.processes.finish(process)
        raise
    code = inside.processes.finish(process)
    output.exit(_reported(code, output, request, inside))


def _reported(code: int, output: _Output, request: ShellRequest, inside: Inside) -> int:
    wrong = inside.faults.strike_matching(WrongExit, request.command)
    if wrong is not None:
        return wrong.exit_code
    if output.cut is not None and output.cut.exit_code is not None:
        return output.cut.exit_code
    return code


def _pump(stream: Stream, process: subprocess.Popen[bytes], output: _Output) -> None:
    with selectors.DefaultSelector() as selector:
        pipes = ((process.stdout, ShellFrame.STDOUT), (process.stderr, ShellFrame.STDERR))
        for pipe, kind in pipes:
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, kind)
        while selector.get_map():
            ready = sorted(selector.select(_POLL_S), key=_kind)  # stdout first, as adbd sends
            if stream.closed:
                raise LinkEnded
            for key, _ in ready:
                if data := os.read(key.fd, _READ_BYTES):
                    output.send(key.data, data)
                else:
                    selector.unregister(key.fileobj)
    output.flush()


def _kind(event: tuple[selectors.SelectorKey, int]) -> ShellFrame:
    kind: ShellFrame = event[0].data
    return kind


def _wait(stream: Stream, process: subprocess.Popen[bytes], *, until_closed: bool) -> None:
    while process.poll() is None or until_closed:
        if stream.closed:
            raise LinkEnded
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
        if until_closed and process.poll() is not None:
            time.sleep(_POLL_S)  # the fault decides when the stream ends


def _feed_stdin(stream: Stream, request: ShellRequest, process: subprocess.Popen[bytes]) -> None:
    """Carry the host's bytes to the command; what it no longer reads is taken and dropped."""
    pipe = process.stdin
    assert pipe is not None  # started with a pipe
    decoder = ShellDecoder()
    with contextlib.suppress(LinkEnded, ParseError):
        while True:
            data = stream.read()
            if not request.framed:
                _write_stdin(pipe, data)
                continue
            for kind, body in decoder.feed(data):
                if kind is ShellFrame.STDIN:
                    _write_stdin(pipe, body)
                elif kind is ShellFrame.CLOSE_STDIN:
                    _close_stdin(pipe)
    _close_stdin(pipe)


def _write_stdin(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    # BrokenPipeError: the command ended or closed its stdin; ValueError: we closed it.
    with contextlib.suppress(OSError, ValueError):
        while view:
            view = view[pipe.write(view) :]


def _close_stdin(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        pipe.close()


def _start_kill(process: subprocess.Popen[bytes], request: ShellRequest, inside: Inside) -> None:
    fault = inside.faults.strike_matching(KillCommand, request.command)
    if fault is not None:
        _thread(_kill, fault, process)


def _kill(fault: KillCommand, process: subprocess.Popen[bytes]) -> None:
    time.sleep(fault.after_s)
    kill_started(process, fault.signal)


def _reboot(fault: RebootDuring, inside: Inside) -> None:
    time.sleep(fault.after_s)
    inside.reboot(fault.down_s)


def _thread(run: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=run, args=arguments, daemon=True).start()
