"""How far work on many parts is: a bar on a terminal, plain lines with the time left otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from pipeline.bar_view import BarView

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

PLAIN_EVERY_S = 20.0
"""Without a terminal: a line every so many seconds."""


class CountingView(BarView):
    """Counts parts; the total may be an estimate, and grows with what is counted."""

    def __init__(
        self, console: Console, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare for about so many parts."""
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._total = total
        self._clock = clock
        self._begin = self._spoken = clock()
        self._what = ""
        self.done = 0
        self._task = self._bar.add_task("", total=max(1, total))

    def begin(self, what: str) -> None:
        """Name what is shown from now on."""
        self._what = what
        self._bar.update(self._task, description=what)

    def expect(self, more: int) -> None:
        """Add parts to the total."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def tick(self) -> None:
        """Count a part."""
        self.done += 1
        self._total = max(self._total, self.done)
        self._bar.update(self._task, completed=self.done, total=self._total)
        now = self._clock()
        if not self._console.is_terminal and now >= self._spoken + PLAIN_EVERY_S:
            self._spoken = now
            left_s = (now - self._begin) * (self._total - self.done) / self.done
            self._say(
                f"{self._what}: {self.done} of about {self._total} parts, "
                f"about {left_s / 60:.0f} min left"
            )
