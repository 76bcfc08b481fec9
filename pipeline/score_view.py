"""Progress and skips of the batch commands: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.bar_view import BarView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

PLAIN_EVERY = 50
"""Without a terminal: a line every so many images."""


class ScoreView(BarView):
    """Shows how far a batch run is."""

    def __init__(self, console: Console, images: int, subsets: int = 1) -> None:
        """Prepare for a number of images, references included."""
        super().__init__(console)
        self._images = images
        self._done = 0
        self._reading = self._bar.add_task("images", total=images)
        self._scoring = self._bar.add_task("scoring", total=None)
        self._subsets = subsets

    def images(self, count: int) -> None:
        """Count images that were read."""
        before, self._done = self._done, self._done + count
        self._bar.advance(self._reading, count)
        if not self._console.is_terminal and before // PLAIN_EVERY < self._done // PLAIN_EVERY:
            self._say(f"{self._done} of {self._images} images read")

    def groups(self, steps: Sequence[int]) -> Iterable[int]:
        """Pass the steps of scoring on, counting them."""
        return self._counted(steps)

    def resumed(self, subset: int) -> None:
        """Say that a subset is there from an earlier run."""
        self._say(f"subset {subset + 1} of {self._subsets}: there from an earlier run")

    def skipped(self, faults: Mapping[str, str]) -> None:
        """Name the files that could not be read."""
        for name, fault in faults.items():
            self._say(f"skipped {name}: {fault}")

    def _counted(self, steps: Sequence[int]) -> Iterator[int]:
        self._bar.reset(self._scoring, total=len(steps))
        for number, step in enumerate(steps, 1):
            yield step
            self._bar.advance(self._scoring)
            if not self._console.is_terminal:
                self._say(f"scored group {number} of {len(steps)}")
