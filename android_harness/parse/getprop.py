"""Android's properties; pure."""

import re
from collections.abc import Mapping

from android_harness.errors import ParseError

# A value may hold newlines and "]": a property ends where the next line begins a new one.
_START = re.compile(r"^\[([^\]\n]+)\]: \[", re.MULTILINE)


def parse_getprop(text: str) -> Mapping[str, str]:
    r"""Parse ``getprop``: ``[key]: [value]`` lines.

    Line ends may be ``\r\n`` or ``\r\r\n`` (phones without shell_v2).

    Source: AOSP packages/modules/toolbox getprop; Android 6's emulator for the line ends.

    Raises:
        ParseError: there is text, but no property in it.
    """
    plain = re.sub(r"\r+\n", "\n", text)
    starts = list(_START.finditer(plain))
    if not starts:
        if plain.strip():
            raise ParseError("getprop", text, "no property")
        return {}
    ends = [start.start() for start in starts[1:]] + [len(plain)]
    return {
        start[1]: _value(plain[start.end() : end]) for start, end in zip(starts, ends, strict=True)
    }


def _value(text: str) -> str:
    body = text.rstrip("\n").rstrip()
    return body.removesuffix("]")
