"""What a sweep says while it runs, on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lanewise.sweep.row import SweepRow

LINE_SECONDS = 10.0
"""Between two plain lines; failures are told at once."""


class Progress:
    """Counts rows, and shows them."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, soft_wrap=True, highlight=False, markup=False)
        self.done = self.failed = 0

    @contextmanager
    def begin(self, *, total: int, present: Iterable[SweepRow]) -> Iterator[None]:
        """While the block runs, ``total`` rows are awaited; those of ``present`` were there before."""
        before = list(present)
        if before:
            failed = sum(row.status == "failed" for row in before)
            self._print(f"{len(before)} rows are there ({failed} failed); {total} to compute")
        self._show: _Show = _OnTerminal(self._console, total) if self._console.is_terminal else _Lines(self._console, total)  # fmt: skip
        try:
            yield
        finally:
            self._show.close(self.done, self.failed)

    def add(self, rows: Iterable[SweepRow]) -> None:
        """These rows are on the disk."""
        for row in rows:
            if row.status == "failed":
                self.failed += 1
                self._print(f"failed: {' '.join(filter(None, (row.model, row.config)))}: {row.reason}")
            else:
                self.done += 1
        self._show.update(self.done, self.failed)

    def _print(self, line: str) -> None:
        self._console.print(line)


class _Show(Protocol):
    def update(self, done: int, failed: int) -> None: ...

    def close(self, done: int, failed: int) -> None: ...


class _OnTerminal:
    def __init__(self, console: Console, total: int) -> None:
        self._bar = Bar(
            BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, speed_estimate_period=120,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total, counts="")
        self._bar.start()

    def update(self, done: int, failed: int) -> None:
        self._bar.update(self._task, completed=done + failed, counts=f"{failed} failed")

    def close(self, done: int, failed: int) -> None:
        self.update(done, failed)
        self._bar.stop()


class _Lines:
    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total = console, total
        self._start = self._said = monotonic()
        self._last = -1

    def update(self, done: int, failed: int) -> None:
        if monotonic() > self._said + LINE_SECONDS:
            self._say(done, failed)

    def close(self, done: int, failed: int) -> None:
        if self._total and done + failed != self._last:
            self._say(done, failed)

    def _say(self, done: int, failed: int) -> None:
        self._said, self._last = monotonic(), done + failed
        passed = self._said - self._start
        left = passed / self._last * (self._total - self._last) if self._last else 0.0
        self._console.print(
            f"{self._last} of {self._total}: {done} done, {failed} failed; {passed:.0f} s, about {left:.0f} s left"
        )
