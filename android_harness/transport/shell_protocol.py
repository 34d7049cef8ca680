"""How a command, its exit code and its two outputs travel; pure.

Source: AOSP packages/modules/adb/shell_protocol.h (packets ``id:u8 length:u32le data``) and
daemon/shell_service.cpp. A phone without ``shell_v2`` (Android 6 and older) only has one stream
and no exit code, so the command runs inside a script that prints them between marks.
"""

import shlex
import struct
from dataclasses import dataclass, field
from typing import final

from android_harness.places import REMOTE_ROOT

_HEADER = struct.Struct("<BI")

# adbd ends only the shell it started, not the shell's children: the first line of stdout tells
# which process group must be ended when a command is broken off. Not of stderr: when both have
# something, adbd sends stdout first, and a command whose output came before its pid was orphaned.
_PID_MARK = b"deploy-bench-pid:"
_PROLOGUE = "exec </dev/null; echo deploy-bench-pid:$$\n"

# More than any command of ours prints; a phone that floods us is cut off, not stored.
MAX_OUTPUT_BYTES = 64 << 20


class ShellProtocolError(ValueError):
    """The phone's packets do not follow the shell protocol."""


@final
@dataclass(slots=True)
class ShellOutput:
    """Everything a command has said so far."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit_code: int | None = None
    pid: int | None = None

    @property
    def size_bytes(self) -> int:
        """Both outputs together."""
        return len(self.stdout) + len(self.stderr)


@final
class ShellV2:
    """Reads the packets of a ``shell,v2,raw:`` service."""

    def __init__(self) -> None:
        self.output = ShellOutput()
        self._rest = bytearray()

    @staticmethod
    def ending(pid: int) -> str:
        """The command that ends the process group of ``pid`` (or ``pid`` alone) at once."""
        return _end_group(pid)

    @staticmethod
    def service(command: str) -> str:
        """The service name that runs ``command``."""
        return f"shell,v2,raw:{_PROLOGUE}{command}"

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, cut anywhere.

        Raises:
            ShellProtocolError: a packet of unknown kind.
        """
        self._rest += data
        at = 0
        while len(self._rest) - at >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._rest, at)
            start = at + _HEADER.size
            if len(self._rest) < start + length:
                break
            self._take(kind, self._rest[start : start + length])
            at = start + length
        del self._rest[:at]

    def finish(self) -> ShellOutput:
        """What was said, without our own first line."""
        _cut_pid(self.output, self.output.stdout)
        return self.output

    def _take(self, kind: int, data: bytearray) -> None:
        match kind:
            case 1:  # kIdStdout
                self.output.stdout += data
            case 2:  # kIdStderr
                self.output.stderr += data
            case 3 if len(data) == 1:
                self.output.exit_code = data[0]
            case _:
                raise ShellProtocolError(f"shell packet {kind} of {len(data)} bytes")


@final
class ShellV1:
    r"""Runs a command inside a script and takes its one stream apart again.

    A terminal stands between on old phones: it turns every newline into ``\r\n``. That is
    undone, so text arrives as it was written; binary output may not.
    """

    def __init__(self, token: str) -> None:
        self.output = ShellOutput()
        self._mark = f"deploy-bench-{token}".encode()
        self._stderr_file = f"{REMOTE_ROOT}/stderr-{token}"
        self._text = bytearray()

    def ending(self, pid: int) -> str:
        """Like ``ShellV2.ending``; the script's file goes too."""
        return f"{_end_group(pid)} rm -f {self._stderr_file}"

    def service(self, command: str) -> str:
        """The service name that runs ``command``."""
        # Spelled in two parts: a command that prints the script itself (ps) must not end it.
        mark = "deploy''" + self._mark.decode().removeprefix("deploy")
        errors = self._stderr_file
        return (
            f"shell:umask 077; mkdir -p {REMOTE_ROOT}; echo {_PID_MARK.decode()}$$; "
            f"sh -c {shlex.quote(command)} </dev/null 2>{errors}; echo {mark}=$?=; "
            f"cat {errors}; rm -f {errors}; echo {mark}."
        )

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, cut anywhere."""
        self._text += data
        self.output.stdout = self._text  # counted against the limit while it grows

    def finish(self) -> ShellOutput:
        """What was said; ``exit_code`` stays None when the end mark is missing."""
        text = self._text.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
        _cut_pid(self.output, text)
        self.output.stdout, mark, rest = text.partition(self._mark + b"=")
        code, _, errors = rest.partition(b"=\n")
        said, end, _ = errors.partition(self._mark + b".")
        if mark and end and code.isdigit():
            self.output.exit_code, self.output.stderr = int(code), said
        return self.output


def _cut_pid(output: ShellOutput, text: bytearray) -> None:
    line, newline, _ = text.partition(b"\n")
    number = line.removeprefix(_PID_MARK).rstrip(b"\r")  # of a phone that writes \r\n
    if newline and line.startswith(_PID_MARK) and number.isdigit():
        output.pid = int(number)
        del text[: len(line) + 1]


def _end_group(pid: int) -> str:
    return f"kill -9 -{pid} 2>/dev/null || kill -9 {pid} 2>/dev/null; :"
