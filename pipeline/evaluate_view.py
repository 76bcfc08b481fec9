"""How far an evaluation is: a bar on a terminal, plain lines with the time left otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipeline.bar_view import BarView

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

PLAIN_EVERY_S = 20.0
"""Without a terminal: a line every so many seconds."""
READING = 0.5
"""Share of a category's work that goes to the backbone, as an estimate."""


class EvaluateView(BarView):
    """Counts the work in images: of each, half for the backbone and half for the scoring."""

    def __init__(
        self, console: Console, images: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare for so many images, over all categories and backbones."""
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._images = images
        self._clock = clock
        self._begin = self._spoken = clock()
        self._what, self._here, self._done, self._kept = "", 0, 0.0, 0.0
        self._task = self._bar.add_task("", total=images)

    def begin(self, what: str, images: int) -> None:
        """Name the category that comes next, and its images."""
        self._what, self._here = what, images
        self._bar.update(self._task, description=what)

    def images(self, count: int) -> None:
        """Count images that went through the backbone."""
        self._advance(READING * count)

    def scored(self, share: float) -> None:
        """Add a share of the category's scoring."""
        self._advance((1.0 - READING) * share * self._here)

    def resumed(self, what: str, images: int) -> None:
        """Say that a category is there from an earlier run."""
        self._say(f"{what}: there from an earlier run")
        self._kept += images
        self._advance(float(images))

    def finished(self, what: str, figures: str) -> None:
        """Say what came out for a category."""
        self._say(f"{what}: {figures}")

    def left_out(self, why: str, images: int) -> None:
        """Say that images, of a backbone that cannot be had, are none of the work after all."""
        self._say(f"left out: {why}")
        self._images -= images
        self._bar.update(self._task, total=self._images)

    def warn(self, line: str) -> None:
        """Say what could not be done."""
        self._say(line)

    def _advance(self, work: float) -> None:
        self._done += work
        self._bar.update(self._task, completed=min(self._done, float(self._images)))
        now, new = self._clock(), self._done - self._kept
        if self._console.is_terminal or now < self._spoken + PLAIN_EVERY_S or not new:
            return
        self._spoken = now
        left_s = (now - self._begin) * max(0.0, self._images - self._done) / new
        self._say(
            f"{self._what}: {self._done / self._images:.0%} of all images, "
            f"about {left_s / 60:.0f} min left"
        )
