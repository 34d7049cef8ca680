"""``python -m pipeline.reference.tflite_runtime MODEL INPUTS OUTPUTS``: an older engine's answers.

A process of its own is a must: beside TensorFlow 2.21 the module fails in std::vector.
"""

import sys

from tflite_runtime.interpreter import Interpreter

from pipeline.reference.answers import main

if __name__ == "__main__":
    sys.exit(main(Interpreter, sys.argv[1:]))
