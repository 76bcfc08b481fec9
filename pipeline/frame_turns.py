"""Frames that wait for the scorer: a queue for each camera, and the cameras take turns.

Each camera gives one frame a turn, so a fast camera cannot starve a slow one: a
frame that is the first of its camera waits for one frame of every other camera
at most. The frames of one camera stay in their order.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.frame import Frame


class FrameTurns:
    """Frames by sender, first come first served among the senders."""

    def __init__(self) -> None:
        """Begin with no frame."""
        self._waiting: OrderedDict[bytes, deque[Frame]] = OrderedDict()

    def __len__(self) -> int:
        """Frames that wait."""
        return sum(map(len, self._waiting.values()))

    def put(self, sender: bytes, frame: Frame) -> None:
        """Let a frame wait; a sender without any takes the last turn."""
        self._waiting.setdefault(sender, deque()).append(frame)

    def heads(self, limit: int) -> list[Frame]:
        """Return the first frame of each of the first ``limit`` senders; all of them wait on.

        They are what ``take`` of as many returns, whatever is put in between.
        """
        return [frames[0] for frames in islice(self._waiting.values(), limit)]

    def take(self, limit: int) -> list[tuple[bytes, Frame]]:
        """Take at most ``limit`` frames, one a turn; a sender with more stands last."""
        taken: list[tuple[bytes, Frame]] = []
        while self._waiting and len(taken) < limit:
            sender, frames = self._waiting.popitem(last=False)
            taken.append((sender, frames.popleft()))
            if frames:
                self._waiting[sender] = frames
        return taken
