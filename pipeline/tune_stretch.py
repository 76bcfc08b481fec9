"""A stretch of a source: some of its frames, from empty windows on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.replay_sources import Seen, Unseen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from edge.frame import Frame, FrameKey
    from pipeline.replay_sources import ReplaySource, Step


class Stretch:
    """Frames ``first`` to ``last`` of a source, counted from 0, ``last`` not included."""

    def __init__(self, source: ReplaySource, first: int, last: int) -> None:
        """Choose the frames; what lies between two of them comes along."""
        self._source = source
        self._first, self._last = first, min(last, len(source))
        self.config = source.config
        self.recipe = source.recipe
        self.boot = source.boot
        self.name = source.name
        self.begins_at = source.begins_at
        self.windows = source.windows if first == 0 else None
        self.warnings: Sequence[str] = source.warnings

    def __len__(self) -> int:
        """Return the number of frames."""
        return max(0, self._last - self._first)

    def names(self) -> Mapping[str, Sequence[FrameKey]]:
        """Return the frames of each name in the whole source: a table of labels is of all."""
        return self._source.names()

    def frames(self, keys: Collection[FrameKey]) -> Iterator[Frame]:
        """Yield these frames of the whole source."""
        return self._source.frames(keys)

    def steps(self) -> Iterator[Step]:
        """Yield the steps of the stretch, in order."""
        frames = 0
        for step in self._source.steps():
            is_frame = isinstance(step, Seen | Unseen)
            if is_frame and frames == self._last:
                return
            if frames >= self._first:
                yield step
            frames += is_frame
