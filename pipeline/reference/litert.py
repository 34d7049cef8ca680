"""``python -m pipeline.reference.litert MODEL INPUTS OUTPUTS``: the answers of LiteRT."""

import sys

from ai_edge_litert.interpreter import Interpreter

from pipeline.reference.answers import main

if __name__ == "__main__":
    sys.exit(main(Interpreter, sys.argv[1:]))
