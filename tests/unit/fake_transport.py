"""A transport that is a shell on this machine, or a list of prepared answers."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from android_harness.transport.seam import Completed, Progress, Transport


class FakeTransport(Transport):
    """Runs commands by this machine's sh, each replaced first as ``replaced`` says."""

    def __init__(self, replaced: Mapping[str, str] | None = None) -> None:
        self.endpoint, self.description = "fake:1", "a fake"
        self.features: frozenset[str] = frozenset({"shell_v2"})
        self.banner: Mapping[str, str] = {}
        self.commands: list[str] = []
        self._replaced = replaced or {}

    def shell(self, command: str, *, timeout_s: float) -> Completed:
        self.commands.append(command)
        for old, new in self._replaced.items():
            command = command.replace(old, new)
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, timeout=timeout_s, check=False
        )
        code = done.returncode
        return Completed(
            command=command,
            exit_code=code if code >= 0 else 128 - code,
            stdout=done.stdout,
            stderr=done.stderr,
        )

    def push(
        self,
        source: Path,
        remote: str,
        *,
        mode: int = 0o644,
        timeout_s: float,
        progress: Progress | None = None,
    ) -> None:
        raise AssertionError("not in this fake")

    def pull(
        self,
        remote: str,
        target: Path,
        *,
        timeout_s: float,
        max_bytes: int,
        progress: Progress | None = None,
    ) -> None:
        raise AssertionError("not in this fake")

    def close(self) -> None:
        pass
