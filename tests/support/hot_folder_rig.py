"""A watched folder in a test's hands, with time that passes when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_rig import FakeClock
from picture_writers import encoded, number_of

from edge.sources.arrivals import HELD_NS, LIST_NS, SETTLE_NS
from edge.sources.hot_folder import HotFolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sources import Capture

MS = 1_000_000
SETTLE_MS, LIST_MS, HELD_MS = SETTLE_NS // MS, LIST_NS // MS, HELD_NS // MS


class HotFolder:
    """A folder, and the sources that watch it."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; nothing watches it yet."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.clock = FakeClock()
        self._sources: list[HotFolderSource] = []

    def watch(self, after: str = "move") -> HotFolderSource:
        """Watch the folder until the test is over."""
        self._sources.append(HotFolderSource(self.folder, after=after, clock=self.clock))  # type: ignore[arg-type]
        return self._sources[-1]

    def put(self, number: int) -> str:
        """Write a whole picture; return its name."""
        return put(self.folder, number)

    def close(self) -> None:
        """Watch no longer."""
        for source in self._sources:
            source.close()


def put(folder: Path, number: int) -> str:
    """Write a whole picture into a folder; return its name."""
    name, data = encoded(number)
    (folder / name).write_bytes(data)
    return name


def read_all(source: HotFolderSource) -> list[Capture]:
    """Everything that can be read now."""
    captures = []
    while (capture := source.read()) is not None:
        captures.append(capture)
        source.let_go(1)
    return captures


def numbers(captures: list[Capture]) -> list[int]:
    """The numbers of the pictures, each of which has to be whole."""
    return [number_of(capture.pixels) for capture in captures if capture.pixels is not None]
