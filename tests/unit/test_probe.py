import pytest

from android_harness.errors import RunnerOutputError
from android_harness.probe import ask_all
from tests.unit.fake_transport import FakeTransport

S = 20.0


def test_each_answer_comes_back_under_its_name() -> None:
    transport = FakeTransport()
    answers = ask_all(
        transport,
        {"one": "echo 1", "two": "echo err >&2; exit 3", "none": "true", "raw": "printf 'a\n\nb'"},
        timeout_s=S,
    )
    assert {name: (a.text, a.exit_code) for name, a in answers.items()} == {
        "one": ("1\n", 0),
        "two": ("err\n", 3),
        "none": ("", 0),
        "raw": ("a\n\nb", 0),
    }
    assert len(transport.commands) == 1


def test_a_command_cannot_end_the_others() -> None:
    answers = ask_all(FakeTransport(), {"a": "exit 5", "b": "echo b # comment"}, timeout_s=S)
    assert answers["a"].exit_code == 5
    assert answers["b"].text == "b\n"


def test_a_command_that_prints_its_script_does_not_forge_an_answer() -> None:
    answers = ask_all(FakeTransport(), {"a": "cat /proc/$$/cmdline", "b": "echo b"}, timeout_s=S)
    assert answers["b"].text == "b\n"


def test_the_reason_is_the_last_thing_said() -> None:
    answers = ask_all(FakeTransport(), {"a": "echo x; echo no such >&2; exit 1"}, timeout_s=S)
    assert answers["a"].reason == "no such"


def test_a_shell_that_stops_half_way_is_told() -> None:
    with pytest.raises(RunnerOutputError, match="half-way"):
        ask_all(FakeTransport({"echo 1": "kill -9 $$"}), {"a": "echo 1", "b": "true"}, timeout_s=S)
