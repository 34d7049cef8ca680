"""What a person sees while a bench runs: bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol, final


class Progress(Protocol):
    """Steps with a name, told as they go on."""

    def step(self, name: str, text: str, done: int, total: int) -> None:
        """Tell that ``done`` of ``total`` parts of the step are finished."""

    def line(self, text: str) -> None:
        """Tell something that stays on the screen."""


@contextlib.contextmanager
def shown(quiet: bool = False) -> Iterator[Progress]:
    """The progress that fits where stderr goes."""
    if quiet:
        yield Lines(silent=True)
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        with _bars() as bars:
            yield bars


@final
class Lines:
    """One line for each change; for logs and pipes."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._started_s: dict[str, float] = {}
        self._last = ""

    def step(self, name: str, text: str, done: int, total: int) -> None:
        """One line, unless it repeats the last one."""
        now_s = time.monotonic()
        left = _left(now_s - self._started_s.setdefault(name, now_s), done, total)
        said = f"{name} [{done}/{total}] {text}"
        if said != self._last:
            self._last = said
            self.line(f"{said}{left}")

    def line(self, text: str) -> None:
        """One line on stderr."""
        if not self._silent:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


@final
class Bars:
    """A bar for each step, with the time left."""

    def __init__(self, progress: object) -> None:
        from rich.progress import Progress as Rich

        assert isinstance(progress, Rich)
        self._rich = progress
        self._tasks: dict[str, object] = {}

    def step(self, name: str, text: str, done: int, total: int) -> None:
        """Move the step's bar, or start it."""
        from rich.progress import TaskID

        if name not in self._tasks:
            self._tasks[name] = self._rich.add_task(name, total=total, text=text)
        task = self._tasks[name]
        assert isinstance(task, int)
        self._rich.update(TaskID(task), completed=done, total=total, text=text)

    def line(self, text: str) -> None:
        """A line above the bars."""
        self._rich.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def _bars() -> Iterator[Bars]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Rich(*columns, console=Console(stderr=True)) as rich:
        yield Bars(rich)


def _left(seconds: float, done: int, total: int) -> str:
    if done < 1 or done >= total:
        return ""
    return f"  (about {seconds / done * (total - done):.0f} s left)"
