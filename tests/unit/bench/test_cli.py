import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from device_bench import cli
from device_bench.exits import Exit
from device_bench.store import opened
from tests.factories import make_bench

COMMANDS = (
    "run",
    "build",
    "bench",
    "report",
    "plan",
    "recipe",
    "analyse",
    "staircase",
    "devices",
    "clean",
)


def call(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_help_loads_nothing_heavy():
    code = "import sys, device_bench.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    heavy = {"tensorflow", "numpy", "scipy", "sqlalchemy", "altair", "adb_shell", "rich"}
    assert loaded & heavy == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    done = call(command, "--help")
    assert done.exit_code == 0
    assert command == "devices" or "Example" in done.output


def test_planning_loads_no_tensorflow():
    code = (
        "import sys; sys.argv = ['x', 'plan', 'digits_mobile']\n"
        "from device_bench import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "dense/train" in done.stdout


def test_schemas_are_json():
    assert json.loads(call("recipe", "--schema").output)["additionalProperties"] is False
    assert "phones" in json.loads(call("report", "--schema").output)["properties"]


def test_recipes_are_listed():
    output = call("recipe").output
    assert "digits_mobile" in output
    assert "mobilenet_v2" in output


def test_no_bench_yet_says_what_to_run(tmp_path):
    done = call("report", "--out", str(tmp_path))
    assert done.exit_code == Exit.USAGE
    assert "deploy-bench run" in done.output


def test_a_store_from_the_future_is_our_trouble(tmp_path):
    import sqlite3

    db = sqlite3.connect(tmp_path / "bench.sqlite")
    db.execute("PRAGMA user_version=99")
    db.close()
    done = call("report", "--out", str(tmp_path))
    assert done.exit_code == Exit.INFRA
    assert "schema 99" in done.output


def test_an_unknown_bench_names_those_that_are_known(tmp_path):
    with opened(tmp_path / "bench.sqlite") as store:
        store.save(make_bench())
    done = call("report", "nope", "--out", str(tmp_path))
    assert done.exit_code == Exit.USAGE
    assert make_bench().id in done.output


@pytest.mark.parametrize("command", ["build", "run"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "name a recipe, or give --model"),
        (("--data", "photos"), "there is no --model"),
        (("digits_mobile", "--trust"), "there is no --model"),
    ],
)
def test_options_of_a_model_need_a_model(command, options, says):
    done = call(command, *options)
    assert done.exit_code == Exit.USAGE
    assert says in " ".join(done.output.split())


def test_a_model_without_data_says_what_data_may_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(8))
    done = call("build", "--model", "m.keras")
    assert done.exit_code == Exit.USAGE
    assert "a .npz file with x and y" in done.output
    assert not (tmp_path / "models").exists()


def test_a_wrong_recipe_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("build", "no_such_recipe", "--model", "m.keras", "--data", "synthetic")
    assert done.exit_code == Exit.USAGE
    assert "no_such_recipe" in done.output
