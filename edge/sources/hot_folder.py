"""A folder that another program writes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edge.sources import Capture, Source

if TYPE_CHECKING:
    from pathlib import Path


class HotFolderSource(Source):
    """Each file that arrives in a folder, once it is whole."""

    def __init__(self, path: Path, *, after: Literal["move", "delete", "keep"] = "move") -> None:
        """Watch the folder."""
        self._path = path
        self._after = after

    def read(self) -> Capture | None:
        """Return the next file."""
        return None
