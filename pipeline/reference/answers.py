"""Feed a test set to an interpreter; shared by the reference processes, needs numpy alone."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

EXIT_USAGE: Final = 2
EXIT_MODEL: Final = 4
_ARGUMENTS: Final = 3


def answer(make: Callable[..., Any], model: Path, inputs: Path, outputs: Path) -> int:
    """Write the first output of every sample, raw and back to back.

    Args:
        make: the engine's Interpreter class.
        model: a TFLite file with one input.
        inputs: samples in the input's type, back to back.
        outputs: where the answers go.

    Returns:
        How many samples were answered.
    """
    # One thread, as a phone's reference run: sums in another order give other last bits.
    interpreter = make(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    samples = np.fromfile(inputs, taken["dtype"]).reshape(-1, *taken["shape"])
    with outputs.open("wb") as file:
        for sample in samples:
            interpreter.set_tensor(taken["index"], sample)
            interpreter.invoke()
            file.write(interpreter.get_tensor(given["index"]).tobytes())
    return len(samples)


def main(make: Callable[..., Any], arguments: list[str]) -> int:
    """The command ``MODEL INPUTS OUTPUTS``; says on stdout how many samples were answered."""
    if len(arguments) != _ARGUMENTS:
        sys.stderr.write("usage: MODEL INPUTS OUTPUTS\n")
        return EXIT_USAGE
    model, inputs, outputs = map(Path, arguments)
    try:
        samples = answer(make, model, inputs, outputs)
    except (RuntimeError, ValueError) as exc:  # what the interpreters raise for a bad model
        sys.stderr.write(f"{exc}\n")
        return EXIT_MODEL
    sys.stdout.write(json.dumps({"samples": samples}) + "\n")
    return 0
