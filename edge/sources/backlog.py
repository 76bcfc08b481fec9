"""Pictures that wait between a camera's thread and ingest: few with pixels, each accounted for."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.sources import Capture

PICTURES = 16
"""With pixels; at 12 megapixels 200 MB."""
ACCOUNTS = 20_000
"""Without; an hour of parts at five a second, should ingest not read for so long."""


class Backlog:
    """A queue whose oldest pictures lose their pixels, and not their account, where it is long."""

    def __init__(self, *, freshest_only: bool) -> None:
        """Keep every picture, or only the freshest."""
        self._freshest_only = freshest_only
        self._waiting: deque[Capture] = deque()
        self._stripped = 0
        """How many of the oldest have no pixels any more."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def put(self, capture: Capture) -> tuple[int, int]:
        """Let a picture wait; return how many it replaced, and how many accounts were lost."""
        skipped = 0
        if self._freshest_only:
            skipped = len(self._waiting)
            self._waiting.clear()
        self._waiting.append(capture)
        if len(self._waiting) - self._stripped > PICTURES:
            oldest = self._waiting[self._stripped]
            if oldest.pixels is not None:
                fault = f"{PICTURES} pictures waited for ingest"
                stripped = replace(oldest, pixels=None, fault=fault, loss="dropped")
                self._waiting[self._stripped] = stripped
            self._stripped += 1
        if len(self._waiting) <= ACCOUNTS:
            return skipped, 0
        self.take()
        return skipped, 1

    def take(self) -> Capture | None:
        """Return the picture that has waited longest."""
        if not self._waiting:
            return None
        self._stripped = max(0, self._stripped - 1)
        return self._waiting.popleft()
