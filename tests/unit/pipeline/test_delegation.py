import json
from pathlib import Path

import pytest

from pipeline.delegation import Delegation, Node, count_delegated, delegation_of, main
from pipeline.errors import ReferenceFailed
from tests.tiny_models import float_convolution, unknown_operator


def node(name: str, inputs: list[int], outputs: list[int]) -> Node:
    return Node.of({"op_name": name, "inputs": inputs, "outputs": outputs})


CONV = node("CONV_2D", [0, 10, 11], [1])
DEPTHWISE = node("DEPTHWISE_CONV_2D", [1, 12, -1], [2])
ADD = node("ADD", [1, 2], [3])
DENSE = node("FULLY_CONNECTED", [3, 13, -1], [4])
MODEL = [CONV, DEPTHWISE, ADD, DENSE]


def test_one_piece_that_holds_everything() -> None:
    found = delegation_of([*MODEL, node("DELEGATE", [0, 10, 11, 12, 13], [4])])
    assert found == Delegation(nodes=4, delegated=4, partitions=1, left={})
    assert found.warnings == ()


def test_an_operator_between_two_pieces_stays() -> None:
    plan = [*MODEL, node("DELEGATE", [0, 10, 11], [1]), node("DELEGATE", [1, 2, 13], [4])]
    found = delegation_of(plan)
    assert found == Delegation(nodes=4, delegated=3, partitions=2, left={"DEPTHWISE_CONV_2D": 1})
    assert "takes 3 of 4 operators in 2 pieces" in found.warnings[0]
    assert found.warnings[0].endswith("compute DEPTHWISE_CONV_2D ×1")
    assert found.facts["partitions"] == 2


def test_a_piece_with_two_outputs() -> None:
    found = delegation_of([*MODEL, node("DELEGATE", [0, 10, 11, 12], [1, 2])])
    assert (found.delegated, found.left) == (2, {"ADD": 1, "FULLY_CONNECTED": 1})


def test_no_piece_at_all() -> None:
    found = delegation_of(MODEL)
    assert (found.delegated, found.partitions, len(found.left)) == (0, 0, 4)
    assert "takes 0 of 4 operators (" in found.warnings[0]


def test_a_convolution_is_taken(tmp_path: Path) -> None:
    found = count_delegated(float_convolution(tmp_path / "model.tflite"))
    assert found == Delegation(nodes=1, delegated=1, partitions=1, left={})
    assert found.facts["engine"].startswith("ai-edge-litert 2")


def test_a_model_the_engine_refuses(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFailed, match="NoSuchKernel"):
        count_delegated(unknown_operator(tmp_path / "model.tflite"))


def test_the_plan_is_written_as_it_is(tmp_path: Path) -> None:
    path = float_convolution(tmp_path / "model.tflite")
    assert main([str(path), str(path), str(tmp_path / "plan.json")]) == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert [one["op_name"] for one in plan] == ["CONV_2D", "DELEGATE"]
    assert plan[0]["outputs"] == plan[1]["outputs"]
