"""Evidence: images and overlays on disk, within a byte budget.

Files lie at camera/boot/seq.png beside their overlay seq.heatmap.png. When the
budget is reached the oldest go first, by the time they were written.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from edge.errors import LineError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import FrameKey


class EvidenceError(LineError):
    """An image cannot be written; the message names path and reason."""


class EvidenceStore:
    """Writes images below one folder and keeps their sum below a limit."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        """Open the folder and count what is there.

        Raises:
            EvidenceError: The folder cannot be made or read.
        """
        self._root = root
        self._max_bytes = max_bytes
        try:
            root.mkdir(parents=True, exist_ok=True)
            found = [(path.stat(), path) for path in root.rglob("*.png")]
        except OSError as error:
            msg = f"evidence {root}: {error.strerror}"
            raise EvidenceError(msg) from error
        found.sort(key=lambda item: item[0].st_mtime_ns)
        self._files = deque((path, stat.st_size) for stat, path in found)
        self._bytes = sum(size for _, size in self._files)

    def write(self, key: FrameKey, image: bytes, heatmap: bytes | None) -> str:
        """Write a frame's image and overlay; return the image's path below the root.

        Raises:
            EvidenceError: The disk is full or the folder is gone.
        """
        relative = f"{key}.png"
        path = self._root / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, image)
            if heatmap is not None:
                self._write(path.with_suffix(".heatmap.png"), heatmap)
            self._trim()
        except OSError as error:
            msg = f"evidence {path}: {error.strerror}"
            raise EvidenceError(msg) from error
        return relative

    def _write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._files.append((path, len(data)))
        self._bytes += len(data)

    def _trim(self) -> None:
        while self._bytes > self._max_bytes and self._files:
            path, size = self._files.popleft()
            path.unlink(missing_ok=True)
            self._bytes -= size
