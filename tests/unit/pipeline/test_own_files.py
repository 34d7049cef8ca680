"""What kind of model file was given, and whether it brings code; no TensorFlow."""

import json
import zipfile

import pytest

from pipeline.errors import UnusableInput
from pipeline.own.files import FileKind, kind_of
from pipeline.own.trust import check_config


def keras_zip(path, version="2.21.0", **more):
    members = {"config.json": "{}", "metadata.json": json.dumps({"keras_version": version})}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (members | more).items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("version", "kind"), [("2.21.0", FileKind.KERAS2), ("3.15.1", FileKind.KERAS3)]
)
def test_the_generation_is_told_from_the_metadata(tmp_path, version, kind):
    assert kind_of(keras_zip(tmp_path / "m.keras", version)) is kind


def test_a_file_is_told_by_its_bytes_not_its_name(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(8))
    assert kind_of(path) is FileKind.HDF5


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.keras", b"", "is empty"),
        ("m.keras", b"PK\x03\x04 and then nothing", "is damaged"),
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "deploy-bench bench"),
        ("m.pt", b"\x80\x02}q\x00", "is a pickle"),
        ("m.pt", b"something", "PyTorch"),
        ("m.onnx", b"\x08\x07something", "ONNX"),
        ("saved_model.pb", b"something", "give the folder"),
        ("m.txt", b"something", "--model takes"),
    ],
)
def test_what_is_no_model_says_what_it_is(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=says):
        kind_of(path)


def test_zips_of_others_are_told_apart(tmp_path):
    for name, says in (("archive/data.pkl", "PyTorch"), ("photo.jpg", "not one that Keras wrote")):
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(UnusableInput, match=says):
            kind_of(tmp_path / "m.keras")


def test_a_flipped_byte_is_found(tmp_path):
    path = keras_zip(tmp_path / "m.keras", model="weights" * 50)
    content = bytearray(path.read_bytes())
    content[content.index(b"weightsweights") + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match="checksum"):
        kind_of(path)


def test_a_missing_file_and_a_folder_of_something(tmp_path):
    with pytest.raises(UnusableInput, match="cannot be read"):
        kind_of(tmp_path / "none.keras")
    with pytest.raises(UnusableInput, match=r"without saved_model\.pb"):
        kind_of(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(UnusableInput, match="no Keras layers"):
        kind_of(tmp_path)


def layer(class_name, config=None, **more):
    return {"class_name": class_name, "config": config or {}, **more}


def model(*layers):
    return layer("Functional", {"layers": list(layers)}, module="keras.src.engine.functional")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (layer("Lambda", {"name": "twice"}), "'twice' is a Lambda"),
        (layer("Wrapper", {"layer": layer("__lambda__")}), "Lambda"),
        (layer("system", module="os"), "--custom os:system"),
        (layer("Block", module="mine.layers"), "--custom mine.layers:Block"),
        (layer("function", "get_file", module="keras.utils"), "get_file"),
        (layer("TFOpLambda", {"function": "io.write_file"}), "io.write_file"),
        (layer("ClassMethod", {"method_name": "from_tensor"}), "from_tensor"),
    ],
)
def test_code_is_refused_however_deep(found, says):
    with pytest.raises(UnusableInput, match=says):
        check_config(model(layer("Sequential", {"layers": [found]})), "m.keras", ())


def test_what_keras_brings_and_the_user_names_is_taken():
    relu = layer("function", "relu", module="builtins")
    check_config(
        model(
            layer("Conv2D", {"activation": relu}, module="keras.layers"),
            layer("TFOpLambda", {"function": "math.multiply"}, module="keras.src.layers.core"),
            layer("Block", module="mine.layers"),
        ),
        "m.keras", {"Block"},
    )  # fmt: skip


def test_how_it_was_compiled_is_not_read():
    check_config({**model(), "compile_config": layer("f", module="somewhere")}, "m.keras", ())
