"""The same unusual spot on several parts: one event, not many; and how to tell a new regime.

A defect that repeats says that something upstream is wrong, and a person must hear of it
once, with the parts. A frame that is unusual nearly everywhere, and whose like come one
after the other, is no defect but another product, another light, another camera setting.
Which frames are alike is measured elsewhere (``lookalikes``); this is only the counting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.inspection import StreamEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

SAME_DEFECT_PARTS = 3
"""Parts with the same unusual spot that are no accident any more."""
REGIME_SHARE = 0.5
"""Share of a frame's patches that are unusual where it is another regime and no defect."""
REGIME_PARTS = 5
"""Such frames, alike, that are a regime change."""
PARTS_LISTED = 32
"""Parts that an event names, the latest."""
PARTS_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Spot:
    """A frame that failed: its part, and the share of its patches that are unusual."""

    part: str
    share: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One defect as long as it is seen again and again."""

    parts: tuple[str, ...] = ()
    count: int = 0
    told: int = 0
    """Parts that the last event counted."""
    quiet: int = 0
    """Frames since the last part with it."""

    def passed(self, frames: int) -> Episode:
        """Return the episode after a frame without the defect; over after so many."""
        quiet = self.quiet + 1
        return NO_EPISODE if quiet > frames else replace(self, quiet=quiet)

    def seen(self, part: str, tied: Sequence[str]) -> tuple[Episode, StreamEvent | None]:
        """Return the episode after a part that shares its spot with others, and what to tell.

        It is told when it is known, and again whenever the parts have doubled.
        """
        new = [one for one in dict.fromkeys([*tied, part]) if one not in self.parts]
        count = self.count + len(new)
        parts = (*self.parts, *new)[-PARTS_REMEMBERED:]
        due = count >= max(SAME_DEFECT_PARTS, 2 * self.told)
        told = Episode(parts, count, count if due else self.told)
        if not due:
            return told, None
        detail = {"parts": list(parts[-PARTS_LISTED:]), "count": count}
        return told, StreamEvent(kind="same_defect", detail=detail)


NO_EPISODE = Episode()


def is_regime(own: Spot, tied: Sequence[Spot]) -> bool:
    """Tell whether a frame and those it is alike are another regime."""
    wide = sum(one.share >= REGIME_SHARE for one in tied)
    return own.share >= REGIME_SHARE and 1 + wide >= REGIME_PARTS
