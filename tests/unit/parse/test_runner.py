"""Documents of the runner: what is read, and everything that must be refused."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_harness.errors import FailureKind, ParseError
from android_harness.parse.runner import RunnerFailure, RunnerReport, Stage, parse_runner

POINT = {"rss_kb": 9640, "hwm_kb": 9700, "pss_kb": 9629, "swap_kb": 0}
REPORT: dict[str, Any] = {
    "schema": 1,
    "runner": "deploy-bench-runner 1",
    "engine": {"kind": "litert", "path": "./libLiteRt.so", "sha256": "ab" * 32, "bytes": 8039424},
    "accelerators": ["CpuAccelerator"],
    "fully_accelerated": True,
    "machine": "aarch64",
    "kernel": "6.1.57-android14-11",
    "page_bytes": 4096,
    "cpus_allowed": [0, 1, 7],
    "threads": 2,
    "signature": "serving_default",
    "inputs": [{"name": "image", "type": "int8", "shape": [1, 8, 8, 3], "bytes": 192}],
    "outputs": [{"name": "scores", "type": "float32", "shape": [1, 10], "bytes": 40}],
    "init_ns": {
        "library": 4296561,
        "environment": 94641,
        "model": 85407,
        "compile": 980439,
        "total": 5473642,
    },
    "first_ns": 82422,
    "warmup": {"count": 10, "wall_ns": 52859},
    "latency_ns": [5498, 4947, 5001],
    "timed": {
        "wall_ns": 15700,
        "cpu_ns": 29000,
        "voluntary_switches": 3,
        "involuntary_switches": 1,
        "minor_faults": 0,
        "major_faults": 0,
    },
    "clock": {"name": "CLOCK_MONOTONIC", "call_ns": 23, "resolution_ns": 1},
    "memory": {"before_load": POINT, "after_init": POINT, "after_run": POINT},
    "samples": 5,
    "complete": True,
}
FAILURE: dict[str, Any] = {
    "schema": 1,
    "runner": "deploy-bench-runner 1",
    "error": {"stage": "compile", "message": "LiteRtCreateCompiledModel: runtime", "status": 3},
    "complete": False,
}


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _with(path: str, value: object) -> str:
    """The report with one value changed; ``path`` is "key.key"."""
    document = copy.deepcopy(REPORT)
    *keys, last = path.split(".")
    at = document
    for key in keys:
        at = at[int(key)] if isinstance(at, list) else at[key]
    at[last] = value
    return json.dumps(document)


def _report(text: str) -> RunnerReport:
    document = parse_runner(text)
    assert isinstance(document, RunnerReport)
    return document


def test_a_report_mirrors_its_document() -> None:
    report = _report(_text(REPORT) + "\n")
    assert report.latency_ns == (5498, 4947, 5001)
    assert report.latency_us == (5.498, 4.947, 5.001)
    assert report.engine.sha256 == "ab" * 32
    assert report.inputs[0].shape == (1, 8, 8, 3)
    assert report.init_ns.compile == 980439
    assert report.memory.after_run.pss_kb == 9629
    assert (report.samples, report.threads, report.cpus_allowed) == (5, 2, (0, 1, 7))
    assert report.cpu_per_wall == pytest.approx(29000 / 15700)


def test_unknown_is_none() -> None:
    assert _report(_with("samples", None)).samples is None
    assert _report(_with("memory.after_run.pss_kb", None)).memory.after_run.pss_kb is None
    assert _report(_with("memory.before_load.swap_kb", None)).memory.before_load.swap_kb is None


def test_a_type_without_whole_bytes_needs_no_size() -> None:
    packed = [{"name": "x", "type": "int4", "shape": [1, 7], "bytes": 4}]
    assert _report(_with("inputs", packed)).inputs[0].type == "int4"


def test_a_failure_is_data() -> None:
    failure = parse_runner(_text(FAILURE))
    assert isinstance(failure, RunnerFailure)
    assert (failure.stage, failure.status) == (Stage.COMPILE, 3)
    assert failure.message == "LiteRtCreateCompiledModel: runtime"


def test_a_failure_without_status() -> None:
    failure = parse_runner(
        _text({**FAILURE, "error": {"stage": "input", "message": "", "status": None}})
    )
    assert isinstance(failure, RunnerFailure)
    assert failure.status is None


@pytest.mark.parametrize(
    ("stage", "exit_code", "kind"),
    [
        (Stage.ARGUMENTS, 2, FailureKind.INFRA),
        (Stage.INPUT, 2, FailureKind.INFRA),
        (Stage.OUTPUT, 2, FailureKind.INFRA),
        (Stage.LIBRARY, 3, FailureKind.INFRA),
        (Stage.ENVIRONMENT, 3, FailureKind.INFRA),
        (Stage.MODEL, 4, FailureKind.MODEL),
        (Stage.COMPILE, 4, FailureKind.MODEL),
        (Stage.INVOKE, 4, FailureKind.MODEL),
    ],
)
def test_each_stage_has_its_exit_code(stage: Stage, exit_code: int, kind: FailureKind) -> None:
    assert (stage.exit_code, stage.kind) == (exit_code, kind)


@given(st.data())
@settings(max_examples=300)
def test_no_strict_prefix_is_a_document(data: st.DataObject) -> None:
    text = _text(data.draw(st.sampled_from([REPORT, FAILURE])))
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ParseError):
        parse_runner(text[:cut])


@given(before=st.text(max_size=8), after=st.text(max_size=8))
def test_nothing_may_stand_around_the_document(before: str, after: str) -> None:
    text = before + _text(REPORT) + after
    if before == "" and after in {"", "\n", "\r\n", "\r"}:
        parse_runner(text)
    else:
        with pytest.raises(ParseError):
            parse_runner(text)


@given(st.text())
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_runner(text)
    assert caught.value.text == text
    assert str(caught.value)


@given(st.integers(0, len(_text(REPORT)) - 1), st.characters(codec="ascii"))
@settings(max_examples=300)
def test_a_flipped_character_is_refused_or_read_as_something_valid(at: int, other: str) -> None:
    """Never an exception of another type, and never a latency of 0 or below."""
    text = _text(REPORT)
    try:
        document = parse_runner(text[:at] + other + text[at + 1 :])
    except ParseError:
        return
    assert isinstance(document, RunnerReport)
    assert min(document.latency_ns) > 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2),
        ("schema", "1"),
        ("latency_ns", []),
        ("latency_ns", [5498, 0]),
        ("latency_ns", [5498, -1]),
        ("latency_ns", [float("nan")]),
        ("latency_ns", [float("inf")]),
        ("latency_ns", [5498.5]),
        ("latency_ns", ["5498"]),
        ("latency_ns", [True]),
        ("latency_ns", [9000, 9000]),  # more than the loop took
        ("timed.wall_ns", 0),
        ("timed.cpu_ns", None),
        ("timed.cpu_ns", float("nan")),
        ("first_ns", 0),
        ("init_ns.total", 1),
        ("init_ns.compile", 5473642),
        ("inputs", []),
        ("outputs", []),
        ("inputs.0.bytes", 191),
        ("outputs.0.bytes", 44),
        ("inputs.0.shape", [-1, 8, 8, 3]),
        ("cpus_allowed", []),
        ("threads", 0),
        ("samples", 0),
        ("engine.kind", "tflite"),
        ("engine.sha256", "AB" * 32),
        ("engine.sha256", "ab" * 31),
        ("clock.name", "CLOCK_REALTIME"),
        ("memory.after_run.hwm_kb", 9639),
        ("memory.after_run.rss_kb", 0),
        ("memory.after_run.rss_kb", None),
        ("complete", 1),
        ("complete", "true"),
        ("complete", False),
        ("complete", None),
    ],
)
def test_values_that_cannot_be(path: str, value: object) -> None:
    with pytest.raises(ParseError):
        parse_runner(_with(path, value))


@pytest.mark.parametrize("key", sorted(REPORT))
def test_every_field_must_be_there(key: str) -> None:
    with pytest.raises(ParseError):
        parse_runner(_text({name: value for name, value in REPORT.items() if name != key}))


@pytest.mark.parametrize("where", ["", "engine", "timed", "clock", "memory", "init_ns", "warmup"])
def test_a_field_we_do_not_know_is_a_fault(where: str) -> None:
    document = copy.deepcopy(REPORT)
    (document[where] if where else document)["novelty"] = 1
    with pytest.raises(ParseError, match="novelty"):
        parse_runner(_text(document))


@pytest.mark.parametrize(
    "error",
    [
        {"stage": "brewing", "message": "m", "status": None},
        {"stage": "model", "message": None, "status": None},
        {"stage": "model", "message": "m", "status": 1.5},
        {"stage": "model", "message": "m"},
    ],
)
def test_failures_that_cannot_be(error: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        parse_runner(_text({**FAILURE, "error": error}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the runner printed nothing"),
        ("\n", "the runner printed nothing"),
        ('{"schema":1,"runn', "the document is cut"),
        ("WARNING: linker: x\n" + _text(REPORT), "text stands before the document"),
    ],
)
def test_the_reason_tells_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_runner(text)
    assert caught.value.reason == reason


def test_the_reason_names_the_field() -> None:
    with pytest.raises(ParseError, match=r"latency_ns\.1"):
        parse_runner(_with("latency_ns", [5498, 0]))
