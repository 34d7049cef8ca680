"""How much of a model XNNPACK, LiteRT's set of fast kernels for processors, computes.

What it leaves runs on the engine's own kernels, which may be many times slower; and each change
between the two costs. Counted on this host: which operators a phone's processor adds or lacks,
only the phone tells.

``python -m pipeline.delegation MODEL INPUTS PLAN`` writes the operators as LiteRT planned them
into PLAN, as JSON; INPUTS is there to be started as a reference engine, and is not read.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, final

from pipeline.reference.process import LITERT, Engine, run_engine

PLANNER: Final = Engine(LITERT.package, "pipeline.delegation")
_DELEGATE: Final = "DELEGATE"
_EXIT_MODEL: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator as LiteRT planned it, with its tensors by number."""

    name: str
    inputs: frozenset[int]
    outputs: frozenset[int]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """From what ``_get_ops_details()`` tells; -1 is a tensor that is left out."""
        inputs, outputs = (frozenset(int(i) for i in raw[key]) for key in ("inputs", "outputs"))
        return cls(name=str(raw["op_name"]), inputs=inputs - {-1}, outputs=outputs - {-1})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """What XNNPACK took.

    Attributes:
        nodes: operators of the model.
        delegated: how many of them XNNPACK took.
        partitions: runs of them; between two runs the engine's own kernels work.
        left: the operators that stayed with the engine, and how often.
    """

    nodes: int
    delegated: int
    partitions: int
    left: dict[str, int]

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON, with the engine that was asked."""
        return {
            "engine": PLANNER.title,
            "nodes": self.nodes,
            "delegated": self.delegated,
            "partitions": self.partitions,
            "left": self.left,
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know when not all is in one piece."""
        if self.partitions == 1 and not self.left:
            return ()
        names = ", ".join(f"{name} ×{count}" for name, count in self.left.items())
        stayed = f"; the engine's own kernels compute {names}" if names else ""
        pieces = f" in {self.partitions} pieces" if self.partitions > 1 else ""
        return (
            f"XNNPACK takes {self.delegated} of {self.nodes} operators{pieces} "
            f"({PLANNER.title} on this host){stayed}",
        )


def count_delegated(model: Path) -> Delegation:
    """Let LiteRT plan ``model`` in a process of its own, and count.

    Raises:
        ReferenceFailed: LiteRT does not load it.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        run_engine(PLANNER, model, model, plan)
        return delegation_of([Node.of(raw) for raw in json.loads(plan.read_text("utf-8"))])


def delegation_of(plan: Sequence[Node]) -> Delegation:
    """Count what a plan gives to delegates.

    The plan lists the model's operators, and behind them one node per delegate, which does not
    say what it replaces: everything between its inputs and its outputs.
    """
    operators = [node for node in plan if node.name != _DELEGATE]
    delegates = [node for node in plan if node.name == _DELEGATE]
    makers = {tensor: index for index, node in enumerate(operators) for tensor in node.outputs}
    taken = {index for node in delegates for index in _replaced(node, operators, makers)}
    left = Counter(node.name for index, node in enumerate(operators) if index not in taken)
    return Delegation(
        nodes=len(operators), delegated=len(taken), partitions=len(delegates),
        left=dict(sorted(left.items())),
    )  # fmt: skip


def _replaced(delegate: Node, operators: Sequence[Node], makers: Mapping[int, int]) -> set[int]:
    found: set[int] = set()
    waiting = list(delegate.outputs)
    while waiting:
        tensor = waiting.pop()
        maker = makers.get(tensor)
        if maker is None or maker in found or tensor in delegate.inputs:
            continue
        found.add(maker)
        waiting.extend(operators[maker].inputs)
    return found


def _planned(model: Path) -> Iterable[Mapping[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    # One thread, as a phone's reference run. The list of operators has no public name yet.
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    for raw in interpreter._get_ops_details():
        inputs, outputs = ([int(i) for i in raw[key]] for key in ("inputs", "outputs"))
        yield {"op_name": raw["op_name"], "inputs": inputs, "outputs": outputs}


def main(arguments: Sequence[str]) -> int:
    """The command ``MODEL INPUTS PLAN``."""
    model, _, plan = map(Path, arguments)
    try:
        text = json.dumps(list(_planned(model)))
    except (RuntimeError, ValueError) as exc:  # what the interpreter raises for a bad model
        sys.stderr.write(f"{exc}\n")
        return _EXIT_MODEL
    plan.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
