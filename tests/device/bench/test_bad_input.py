"""Wrong input ends with one clear error and its exit code before any phone is touched."""

import shutil
from pathlib import Path

import pytest

from device_bench.exits import Exit

pytestmark = pytest.mark.device


def one_error(ended) -> str:
    """The only line on stderr that is an error."""
    lines = [line for line in ended.stderr.splitlines() if line.startswith("deploy-bench: ")]
    assert len(lines) == 1, ended.stderr
    return lines[0]


def test_unknown_recipe_names_those_that_exist(deploy_bench):
    ended = deploy_bench("run", "no_such_recipe")
    assert ended.exit_code == Exit.USAGE
    said = one_error(ended)
    assert "no_such_recipe" in said
    assert "digits_mobile" in said


@pytest.fixture
def recipe(tmp_path) -> Path:
    folder = tmp_path / "mine"
    shutil.copytree("models/digits_mobile", folder)
    return folder


def test_unknown_key_is_named_with_its_file(deploy_bench, recipe):
    file = recipe / "recipe.toml"
    file.write_text("sede = 3\n" + file.read_text())
    ended = deploy_bench("run", recipe)
    assert ended.exit_code == Exit.USAGE
    said = one_error(ended)
    assert "recipe.toml" in said
    assert "sede" in said
    assert "seed" in said.replace("sede", "")


def test_wrong_type_is_named_with_its_key(deploy_bench, recipe):
    file = recipe / "recipe.toml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("seed")]
    file.write_text("\n".join(['seed = "seven"', *lines]))
    ended = deploy_bench("run", recipe)
    assert ended.exit_code == Exit.USAGE
    assert "seed" in one_error(ended)


def test_broken_toml_names_the_line(deploy_bench, recipe):
    (recipe / "recipe.toml").write_text("seed = = 3\n")
    ended = deploy_bench("run", recipe)
    assert ended.exit_code == Exit.USAGE
    assert "line 1" in one_error(ended)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"PK\x03\x04" + bytes(400), "TFLite"),
        ("cut", "truncated"),
    ],
)
def test_a_file_that_is_no_model_is_refused(bench, tmp_path, float_model, content, said):
    path = tmp_path / "model.tflite"
    path.write_bytes(float_model.read_bytes()[:1000] if content == "cut" else content)
    ended = bench(path)
    assert ended.exit_code == Exit.USAGE
    assert said in one_error(ended)
    assert not ended.out.exists()


def test_missing_file_is_refused(bench, tmp_path):
    ended = bench(tmp_path / "nothing.tflite")
    assert ended.exit_code == Exit.USAGE
    assert "nothing.tflite" in one_error(ended)


def test_no_phone_at_all(bench, float_model):
    ended = bench(float_model, "--virtual", "none")
    assert ended.exit_code == Exit.NO_PHONE
    assert "no usable phone" in one_error(ended)


def test_a_phone_that_is_not_there(bench, float_model):
    ended = bench(float_model, "--phone", "127.0.0.1:9")
    assert ended.exit_code == Exit.NO_PHONE
    assert "nothing listens at 127.0.0.1:9" in one_error(ended)


@pytest.mark.parametrize(
    "arguments",
    [("--virtual", "hologram"), ("--threads", "many"), ("--threads", "0"), ("--blocks", "1")],
)
def test_wrong_options(bench, float_model, arguments):
    ended = bench(float_model, *arguments)
    assert ended.exit_code == Exit.USAGE
    assert arguments[0] in ended.stderr
