"""Several questions to a phone in one round trip: each adb call costs 3 to 40 ms."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from android_harness.errors import RunnerOutputError
from android_harness.transport.seam import Transport


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one command said on both outputs."""

    text: str
    exit_code: int

    @property
    def reason(self) -> str:
        """Why there is no answer, in the phone's words."""
        last = self.text.strip().rpartition("\n")[2]
        return last or f"exit {self.exit_code}"


def ask_all(
    transport: Transport, commands: Mapping[str, str], *, timeout_s: float
) -> Mapping[str, Answer]:
    """Run every command in a subshell of its own, and give back what each said.

    Args:
        transport: the phone.
        commands: by a name of letters, digits and "_"; the caller has quoted them.
        timeout_s: for all of them together.

    Raises:
        TransportError: the connection failed, or one of them did not end.
        RunnerOutputError: the phone's shell did not get through the list.
    """
    # Spelled in two parts, so that a command that prints its own script cannot forge a mark.
    token = secrets.token_hex(8)
    script = "\n".join(
        f"( {command}\n) 2>&1; c=$?; echo; echo '{token[:8]}''{token[8:]}' {name} $c"
        for name, command in commands.items()
    )
    text = transport.shell(script, timeout_s=timeout_s).text
    found = re.split(rf"\n?{token} (\w+) (\d+)\n", text)
    answers = {
        name: Answer(text=said, exit_code=int(code))
        for said, name, code in zip(found[0::3], found[1::3], found[2::3], strict=False)
    }
    if answers.keys() != commands.keys():
        raise RunnerOutputError(transport.endpoint, "the phone's shell stopped half-way", text)
    return answers
