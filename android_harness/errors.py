"""The harness's errors.

HarnessError
├── ParseError              device text that is not understood; the text is kept
├── ToolMissing             a program or package of the host is not there; holds the install line
├── NotWritable             a folder of ours belongs to another user of the host
├── PackageUnavailable      a Debian package cannot be fetched or read
├── VirtualPhoneError       a virtual phone did not build, start or stop; holds its console's tail
├── TransportError
│   ├── PhoneRefused        nothing listens at the endpoint
│   ├── PhoneSilent         no answer before the deadline
│   ├── PhoneUnauthorized   the phone does not know our key
│   ├── PhoneNeedsTls       the endpoint is wireless debugging, which only adb itself can pair with
│   ├── PhoneOffline        adb lists it, but in a state that cannot be used
│   ├── PhoneLost           the connection ended in the middle of something
│   └── CommandTimeout      a remote command passed its deadline and was ended
├── NoPhone                 nothing connected, nothing virtual can be started
├── RemoteFileError         the phone refused to write or read a file
├── NoSpace                 the phone's storage is full
├── CorruptTransfer         a pushed file has another sha256 on the phone
├── WrongAbi                no runner for the phone's ABIs
├── CommandFailed           a remote command ended with an exit code that was not expected
├── RunnerRefused           the runner could not start: its arguments, files or engine library
├── RunnerCrash             the runner was ended by a signal
├── ModelRejected           the engine refused the model, or an inference failed
└── RunnerOutputError       the runner's document is missing, cut or malformed

Constructor arguments are facts, handed to ``super().__init__`` so that an error survives
pickling. ``kind`` says whose trouble it is; the three kinds never mix in a report.
"""

from enum import StrEnum
from typing import ClassVar


class FailureKind(StrEnum):
    """Whose trouble a failure is."""

    MODEL = "model"
    DEVICE = "device"
    INFRA = "infra"


class HarnessError(Exception):
    """Base of all errors of android_harness."""

    kind: ClassVar[FailureKind] = FailureKind.INFRA
    retryable: ClassVar[bool] = False


class ParseError(HarnessError):
    """Text from a device that does not follow the format its parser knows."""

    def __init__(self, source: str, text: str, reason: str = "unknown format") -> None:
        super().__init__(source, text, reason)
        self.source, self.text, self.reason = source, text, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}: {self.text[:200]!r}"


class ToolMissing(HarnessError):
    """A program of the host is not installed."""

    def __init__(self, tool: str, needed_for: str, install: str) -> None:
        super().__init__(tool, needed_for, install)
        self.tool, self.needed_for, self.install = tool, needed_for, install

    def __str__(self) -> str:
        return f"{self.tool} is needed for {self.needed_for}; install it with: {self.install}"


class NotWritable(HarnessError):
    """A folder the harness writes belongs to another user of the host."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be written; give it to this user (chown), or set "
            "DEPLOY_BENCH_BUILD to a folder of this user's own"
        )


class PackageUnavailable(HarnessError):
    """A Debian package cannot be fetched, or a fetched one cannot be read."""

    def __init__(self, packages: tuple[str, ...], arch: str, reason: str) -> None:
        super().__init__(packages, arch, reason)
        self.packages, self.arch, self.reason = packages, arch, reason

    def __str__(self) -> str:
        what = ", ".join(self.packages) or "Debian packages"
        return f"{what}{f' ({self.arch})' if self.arch else ''} cannot be had: {self.reason}"


class VirtualPhoneError(HarnessError):
    """A virtual phone did not build, start, answer or stop."""

    def __init__(self, name: str, reason: str, console_tail: str = "") -> None:
        super().__init__(name, reason, console_tail)
        self.name, self.reason, self.console_tail = name, reason, console_tail

    def __str__(self) -> str:
        tail = f"; its console ends with:\n{self.console_tail}" if self.console_tail else ""
        return f"virtual phone {self.name}: {self.reason}{tail}"


class TransportError(HarnessError):
    """The connection to a phone failed; the stream's state is unknown."""

    kind = FailureKind.DEVICE
    retryable = True


class PhoneRefused(TransportError):
    """Nothing listens at the endpoint."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return f"nothing listens at {self.endpoint}; is the phone on and adb over TCP enabled?"


class PhoneSilent(TransportError):
    """The endpoint took the connection but did not answer in time."""

    def __init__(self, endpoint: str, seconds: float) -> None:
        super().__init__(endpoint, seconds)
        self.endpoint, self.seconds = endpoint, seconds

    def __str__(self) -> str:
        return (
            f"{self.endpoint} did not answer within {self.seconds:.0f} s; it may still be booting"
        )


class PhoneUnauthorized(TransportError):
    """The phone does not know our key."""

    retryable = False

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return (
            f"{self.endpoint} has not authorized this computer; unlock the phone and accept "
            "'Allow USB debugging', then run again"
        )


class PhoneNeedsTls(TransportError):
    """The endpoint speaks wireless debugging (TLS), which only adb itself can pair with."""

    retryable = False

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return (
            f"{self.endpoint} is a wireless debugging port; run `adb pair` with the code the phone "
            f"shows, then `adb connect {self.endpoint}`, then run again: a running adb server "
            "is used"
        )


class PhoneOffline(TransportError):
    """adb lists the phone in a state that cannot be used."""

    def __init__(self, serial: str, state: str) -> None:
        super().__init__(serial, state)
        self.serial, self.state = serial, state

    def __str__(self) -> str:
        return f"phone {self.serial} is {self.state!r}; reconnect its cable or restart it"


class PhoneLost(TransportError):
    """The connection ended in the middle of something."""

    def __init__(self, endpoint: str, doing: str, cause: str = "") -> None:
        super().__init__(endpoint, doing, cause)
        self.endpoint, self.doing, self.cause = endpoint, doing, cause

    def __str__(self) -> str:
        cause = f" ({self.cause})" if self.cause else ""
        return f"phone {self.endpoint} was lost while {self.doing}{cause}; check cable and power"


class CommandTimeout(TransportError):
    """A remote command passed its deadline; its stream was closed so that the phone ends it."""

    def __init__(self, endpoint: str, command: str, seconds: float, output_tail: str = "") -> None:
        super().__init__(endpoint, command, seconds, output_tail)
        self.endpoint, self.command, self.seconds = endpoint, command, seconds
        self.output_tail = output_tail

    def __str__(self) -> str:
        return f"{self.endpoint}: no end after {self.seconds:.0f} s of: {self.command[:120]}"


class NoPhone(HarnessError):
    """Nothing is connected, and nothing virtual can be started."""

    kind = FailureKind.DEVICE

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no usable phone: {self.reason}"


class RemoteFileError(HarnessError):
    """The phone refused to write or read a file."""

    kind = FailureKind.DEVICE

    def __init__(self, endpoint: str, path: str, reason: str) -> None:
        super().__init__(endpoint, path, reason)
        self.endpoint, self.path, self.reason = endpoint, path, reason

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.path}: {self.reason}"


class NoSpace(HarnessError):
    """The phone's storage cannot hold what must be pushed."""

    kind = FailureKind.DEVICE

    def __init__(self, endpoint: str, path: str, needed_bytes: int, free_bytes: int | None) -> None:
        super().__init__(endpoint, path, needed_bytes, free_bytes)
        self.endpoint, self.path = endpoint, path
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes

    def __str__(self) -> str:
        free = "none is" if self.free_bytes is None else f"{self.free_bytes / 1e6:.1f} MB are"
        return (
            f"{self.endpoint}: {self.path} needs {self.needed_bytes / 1e6:.1f} MB but {free} free; "
            "make room on the phone and run again"
        )


class CorruptTransfer(HarnessError):
    """A pushed file has another sha256 on the phone than on the host."""

    kind = FailureKind.DEVICE
    retryable = True

    def __init__(self, endpoint: str, path: str, expected: str, found: str) -> None:
        super().__init__(endpoint, path, expected, found)
        self.endpoint, self.path, self.expected, self.found = endpoint, path, expected, found

    def __str__(self) -> str:
        return (
            f"{self.endpoint}: {self.path} has sha256 {self.found[:12]}, not {self.expected[:12]}"
        )


class WrongAbi(HarnessError):
    """There is no runner for any ABI of the phone."""

    kind = FailureKind.DEVICE

    def __init__(self, endpoint: str, abis: tuple[str, ...], supported: tuple[str, ...]) -> None:
        super().__init__(endpoint, abis, supported)
        self.endpoint, self.abis, self.supported = endpoint, abis, supported

    def __str__(self) -> str:
        return (
            f"{self.endpoint} runs {', '.join(self.abis) or 'an unknown ABI'}; the runner is built "
            f"for {', '.join(self.supported)}"
        )


class CommandFailed(HarnessError):
    """A remote command ended with an exit code that was not expected."""

    def __init__(
        self, endpoint: str, command: str, exit_code: int, stdout_tail: str, stderr_tail: str
    ) -> None:
        super().__init__(endpoint, command, exit_code, stdout_tail, stderr_tail)
        self.endpoint, self.command, self.exit_code = endpoint, command, exit_code
        self.stdout_tail, self.stderr_tail = stdout_tail, stderr_tail

    def __str__(self) -> str:
        said = (self.stderr_tail or self.stdout_tail).strip()
        return f"{self.endpoint}: exit {self.exit_code} of {self.command[:120]}: {said[-300:]}"


class RunnerRefused(HarnessError):
    """The runner could not start its work; its model was not judged."""

    def __init__(self, endpoint: str, stage: str, message: str) -> None:
        super().__init__(endpoint, stage, message)
        self.endpoint, self.stage, self.message = endpoint, stage, message

    def __str__(self) -> str:
        return f"{self.endpoint}: the runner could not start ({self.stage}): {self.message}"


class RunnerCrash(HarnessError):
    """The runner was ended by a signal while it held the model."""

    kind = FailureKind.MODEL

    def __init__(self, endpoint: str, signal: int, stderr_tail: str) -> None:
        super().__init__(endpoint, signal, stderr_tail)
        self.endpoint, self.signal, self.stderr_tail = endpoint, signal, stderr_tail

    def __str__(self) -> str:
        hint = " (out of memory?)" if self.signal == 9 else ""
        return (
            f"{self.endpoint}: the runner was ended by signal {self.signal}{hint}: "
            f"{self.stderr_tail.strip()[-300:]}"
        )


class ModelRejected(HarnessError):
    """The engine refused the model, or an inference failed."""

    kind = FailureKind.MODEL

    def __init__(self, endpoint: str, stage: str, message: str) -> None:
        super().__init__(endpoint, stage, message)
        self.endpoint, self.stage, self.message = endpoint, stage, message

    def __str__(self) -> str:
        return f"{self.endpoint}: the engine failed at {self.stage}: {self.message}"


class RunnerOutputError(HarnessError):
    """The runner's document is missing, cut off or malformed; never a number from it."""

    retryable = True

    def __init__(self, endpoint: str, reason: str, text_tail: str) -> None:
        super().__init__(endpoint, reason, text_tail)
        self.endpoint, self.reason, self.text_tail = endpoint, reason, text_tail

    def __str__(self) -> str:
        said = f"{self.text_tail[-200:]!r}"
        return f"{self.endpoint}: the runner's output is unusable ({self.reason}): {said}"
