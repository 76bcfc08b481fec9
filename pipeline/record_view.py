"""How a recording of cameras goes: a bar a camera on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from pipeline.bar_view import BarView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import Console

PLAIN_EVERY_S = 20.0
"""Without a terminal: a line a camera every so many seconds."""
MEGABYTE = 1_000_000


class CameraProgress(NamedTuple):
    """How far one camera is."""

    camera: str
    state: str
    frames: int
    """Frames on the disk."""
    left_out: int
    """Frames and lines that found no room."""
    used_bytes: int

    def __str__(self) -> str:
        """One line."""
        left = f", {self.left_out} left out" if self.left_out else ""
        return f"{self.frames} frames{left}, {self.used_bytes / MEGABYTE:.1f} MB, {self.state}"


class RecordView(BarView):
    """Shows what each camera has recorded."""

    def __init__(
        self,
        console: Console,
        cameras: Sequence[str],
        frames: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare for these cameras and so many frames of each, None for no end."""
        super().__init__(
            console,
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(),
        )
        self._clock = clock
        self._spoken = clock()
        self._tasks = {
            camera: self._bar.add_task(camera, total=frames, said="") for camera in cameras
        }

    def show(self, progress: Iterable[CameraProgress]) -> None:
        """Show how far the cameras are."""
        now = self._clock()
        speaks = not self._console.is_terminal and now >= self._spoken + PLAIN_EVERY_S
        self._spoken = now if speaks else self._spoken
        for one in progress:
            self._bar.update(self._tasks[one.camera], completed=one.frames, said=str(one))
            if speaks:
                self._say(f"{one.camera}: {one}")
