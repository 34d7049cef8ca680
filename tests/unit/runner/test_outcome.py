import json

import pytest

from android_harness.errors import (
    FailureKind,
    ModelRejected,
    ParseError,
    RunnerCrash,
    RunnerOutputError,
    RunnerRefused,
)
from android_harness.runner.outcome import judge, signal_of


def _failure(stage: str, status: int | None = None) -> str:
    error = {"stage": stage, "message": "what happened", "status": status}
    return json.dumps({"schema": 1, "runner": "r", "error": error, "complete": False}) + "\n"


@pytest.mark.parametrize(
    ("code", "signal"), [(-11, 11), (139, 11), (137, 9), (128, None), (4, None)]
)
def test_signals(code: int, signal: int | None) -> None:
    assert signal_of(code) == signal


def test_a_signal_is_a_crash_whatever_was_printed() -> None:
    with pytest.raises(RunnerCrash) as caught:
        judge("phone", 139, _failure("model"), "engine log")
    assert (caught.value.signal, caught.value.stderr_tail) == (11, "engine log")
    assert caught.value.kind is FailureKind.MODEL


@pytest.mark.parametrize("stage", ["model", "compile", "invoke"])
def test_the_engines_refusal_is_the_models_trouble(stage: str) -> None:
    with pytest.raises(ModelRejected, match=r"what happened \(status 3\)") as caught:
        judge("phone", 4, _failure(stage, 3), "")
    assert (caught.value.stage, caught.value.endpoint) == (stage, "phone")


@pytest.mark.parametrize(
    ("stage", "code"),
    [("arguments", 2), ("input", 2), ("output", 2), ("library", 3), ("environment", 3)],
)
def test_the_runners_own_refusal_is_ours(stage: str, code: int) -> None:
    with pytest.raises(RunnerRefused, match="what happened") as caught:
        judge("phone", code, _failure(stage), "")
    assert caught.value.kind is FailureKind.INFRA


@pytest.mark.parametrize("code", [0, 1, 3])
def test_an_exit_code_that_contradicts_the_document(code: int) -> None:
    with pytest.raises(RunnerOutputError, match=f"exit {code} does not belong"):
        judge("phone", code, _failure("model"), "")


def test_no_document_quotes_standard_error() -> None:
    with pytest.raises(RunnerOutputError) as caught:
        judge("phone", 127, "", "sh: ./ld-linux: not found")
    assert "printed nothing" in caught.value.reason
    assert caught.value.text_tail == "sh: ./ld-linux: not found"
    assert isinstance(caught.value.__cause__, ParseError)
