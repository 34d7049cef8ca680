"""One ended runner process, judged: a report, or the error that says whose trouble it was.

The same rules hold for a process on a phone and one on the host.
"""

from android_harness.errors import (
    FailureKind,
    HarnessError,
    ModelRejected,
    ParseError,
    RunnerCrash,
    RunnerOutputError,
    RunnerRefused,
)
from android_harness.parse.runner import RunnerFailure, RunnerReport, parse_runner

# A shell tells "ended by signal n" as 128 + n.
_SHELL_SIGNAL = 128


def judge(endpoint: str, exit_code: int, stdout: str, stderr: str) -> RunnerReport:
    """The report of an ended runner.

    Args:
        endpoint: whose process it was, for the error.
        exit_code: 128 + n or -n mean that signal n ended it.
        stdout: the document and nothing else.
        stderr: the engine's log.

    Raises:
        RunnerCrash: a signal ended it.
        ModelRejected: the engine refused the model, or an inference failed.
        RunnerRefused: its arguments, files or engine library were no good.
        RunnerOutputError: the document is missing, cut or malformed, or contradicts the exit code.
    """
    signal = signal_of(exit_code)
    if signal is not None:
        raise RunnerCrash(endpoint, signal, stderr[-2000:])
    try:
        document = parse_runner(stdout)
    except ParseError as exc:
        said = stdout[-2000:] or stderr[-2000:]
        raise RunnerOutputError(endpoint, f"exit {exit_code}, {exc.reason}", said) from exc
    expected = document.stage.exit_code if isinstance(document, RunnerFailure) else 0
    if exit_code != expected:
        reason = f"exit {exit_code} does not belong to this document"
        raise RunnerOutputError(endpoint, reason, stdout[-2000:])
    if isinstance(document, RunnerFailure):
        raise _error(endpoint, document)
    return document


def signal_of(exit_code: int) -> int | None:
    """The signal that ended a process, from a shell's (128 + n) or subprocess's (-n) code."""
    if exit_code < 0:
        return -exit_code
    return exit_code - _SHELL_SIGNAL if exit_code > _SHELL_SIGNAL else None


def _error(endpoint: str, failure: RunnerFailure) -> HarnessError:
    status = "" if failure.status is None else f" (status {failure.status})"
    kind = ModelRejected if failure.stage.kind is FailureKind.MODEL else RunnerRefused
    return kind(endpoint, failure.stage.value, f"{failure.message}{status}")
