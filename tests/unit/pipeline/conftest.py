"""A recipe of a few lines, and a TFLite model of one layer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

RECIPE = """\
summary = "two branches"
seed = 3
[model]
width = 8
[data]
size = 12
[[branch]]
name = "dense"
stages = [{ stage = "train", epochs = 2 }]
formats = ["float32", "int8"]
[[branch]]
name = "sparse"
from = "dense"
stages = [
    { stage = "prune_weights", epochs = 2, sparsity = 0.5 },
    { stage = "finetune", epochs = 1 },
]
formats = ["int8"]
[bench]
threads = [1, 2]
"""

MODEL = "def build_model(width=8): ...\n\n\ndef load_data(size=12): ...\n"


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "model.py").write_text(MODEL)
    return folder


@pytest.fixture
def edit(recipe_folder: Path) -> Callable[..., Path]:
    """Replace a part of recipe.toml (which must be there) and give the recipe's folder."""

    def replace(old: str, new: str, file: str = "recipe.toml") -> Path:
        path = recipe_folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return recipe_folder

    return replace


def tensor(name: str, shape: list[int], buffer: int = 0, dtype: int = 0, **more: Any) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name, shape, buffer, dtype
    for key, value in more.items():
        setattr(made, key, value)
    return made


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def dense_model() -> Any:
    """float32[1, 3] times float32[2, 3], two weights of six zero; as schema.fbs objects."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT(), schema.BufferT()]
    weights = np.array([[1, 0, 2], [0, 3, 4]], np.float32)
    model.buffers[1].data = np.frombuffer(weights.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("in", [1, 3]), tensor("net/head/MatMul", [2, 3], 1), tensor("out", [1, 2]),
    ]  # fmt: skip
    graph.inputs, graph.outputs = [0], [2]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [operator]
    model.subgraphs = [graph]
    return model


@pytest.fixture
def pack() -> Callable[[Any], bytes]:
    """Serialises a schema.ModelT."""
    return packed
