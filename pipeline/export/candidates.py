"""What LiteRT answers to the same samples from several files, in one process of its own.

``python -m pipeline.export.candidates FOLDER INPUTS OUTPUTS`` answers each file of FOLDER, in the
order of their names, into OUTPUTS.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.reference.answers import EXIT_MODEL, answer
from pipeline.reference.process import LITERT, Engine, run_engine

_ENGINE: Final = Engine(LITERT.package, "pipeline.export.candidates")
# Starting a process costs as much as some ten small networks; files of big ones fill the disk.
_AT_ONCE: Final = 8


def answers_of(
    contents: Iterable[bytes], inputs: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """For each file, its answers float32[samples, values] to ``inputs`` [samples, ...].

    Args:
        contents: files that take and give float32; a few at a time are made and kept.
        inputs: the samples.

    Raises:
        ReferenceFailed: LiteRT does not run one of them.
    """
    waiting = iter(contents)
    while some := list(islice(waiting, _AT_ONCE)):
        yield from _answered(some, inputs)


def _answered(contents: Sequence[bytes], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "candidates"
        folder.mkdir()
        for index, content in enumerate(contents):
            (folder / f"{index:04}.tflite").write_bytes(content)
        given, taken = folder.parent / "inputs.bin", folder.parent / "outputs.bin"
        inputs.astype(np.float32).tofile(given)
        run_engine(_ENGINE, folder, given, taken)
        outputs: NDArray[np.float32] = np.fromfile(taken, np.float32)
        return outputs.reshape(len(contents), len(inputs), -1)


def main(arguments: Sequence[str]) -> int:
    """The command ``FOLDER INPUTS OUTPUTS``."""
    from ai_edge_litert.interpreter import Interpreter

    folder, inputs, outputs = map(Path, arguments)
    part = outputs.with_suffix(".part")
    with outputs.open("wb") as file:
        for model in sorted(folder.iterdir()):
            try:
                answer(Interpreter, model, inputs, part)
            except (RuntimeError, ValueError) as exc:  # what the interpreter raises
                sys.stderr.write(f"{exc}\n")
                return EXIT_MODEL
            file.write(part.read_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
