"""Exit codes of the command, and which error leads to which."""

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code of ``deploy-bench`` says."""

    OK = 0
    MODEL = 1  # a variant failed: crashed, was refused, or gave wrong outputs
    USAGE = 2  # a recipe, a file or an option is wrong; no phone was touched
    NO_PHONE = 3  # no usable phone, or a tool is missing
    DEVICE = 4  # a phone was lost, full, or not authorized; other results are there
    INFRA = 5  # our own trouble: adb, the store, a bug
    INTERRUPTED = 130  # Ctrl-C; what was finished is stored


HELP = """\
Exit codes: 0 all measured; 1 a variant failed; 2 wrong recipe, file or option (no phone was
touched); 3 no usable phone, or a tool is missing; 4 a phone failed (the others' results are
there); 5 our own trouble; 130 stopped by Ctrl-C (what was finished is kept; run again to go on).
"""
