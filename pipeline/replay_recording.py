"""A recorded line as the source of a replay: what its scorer saw, in the scorer's order.

A frame that the scorer saw is shown to the inspector at its place, whatever became of it;
one that it never saw gets the NO_RESULT that it had. With the recording's own settings
what came too late is too late again. With other settings it is asked what would have been
said, and lateness of the past does not apply unless it is asked for.

What damage does to a replay: indexes that are torn or damaged and pixels that are missing
are refused, because every later result may be another; what lies apart from the scorer's
frames is a warning.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edge.frame import Announcement, FrameKey
from edge.recording import RecordedFrame, Recording
from edge.recording_files import RecordingError
from edge.recording_lines import GateSaid, Head, OrderDone, RecipeSaid, ScorerSaid
from edge.wire import Order
from pipeline.config import Config
from pipeline.replay_sources import (
    Fate,
    GateBegins,
    Ordered,
    RecipeBegins,
    ReplayError,
    Seen,
    Step,
    Unseen,
)
from pipeline.results import Moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edge.recording_files import ProblemKind
    from edge.recording_lines import Result

FATAL: frozenset[ProblemKind] = frozenset(
    {"torn_line", "damaged_line", "missing_file", "damaged_file", "missing_camera"}
)
NAMED_LIMIT = 5
"""Faults of a kind that a message names; it counts all."""


class RecordingReplay:
    """A recording, with its own settings or with others."""

    def __init__(self, folder: Path, config: Config | None, *, late: bool | None = None) -> None:
        """Open the recording and look for what is wrong with it.

        Args:
            folder: The recording.
            config: Other settings; without it the recording's own.
            late: Whether what came too late is too late again; None where that is so with
                the recording's own settings only.

        Raises:
            RecordingError: It is no recording of this version.
            ReplayError: It is damaged, or cannot be replayed with these settings.
        """
        self._recording = Recording(folder)
        head = self._recording.head
        self.config = config or _own_config(head, folder)
        self._late = self.config.digest == head.config_digest if late is None else late
        self.boot = hashlib.sha256(head.model_dump_json().encode()).hexdigest()[:16]
        self.name = folder.resolve().name
        self.windows = self._recording.windows
        self._steps = list(self._recording.steps())
        self._has_line = bool(self._recording.line)
        if not self._has_line:
            # Frames of several cameras come as they were captured; no scorer had an order.
            self._steps = sorted(
                self._frames(), key=lambda frame: _announcement(frame).captured_at
            )
        self._refuse_damage(folder)
        self._refuse_settings(folder)
        self.warnings = self._find_warnings()

    def __len__(self) -> int:
        """Return the number of frames."""
        return sum(1 for _ in self._frames())

    def names(self) -> dict[str, list[FrameKey]]:
        """Return the frames of each file that pictures came from, and of each part."""
        found: dict[str, list[FrameKey]] = {}
        for frame in self._frames():
            announcement = _announcement(frame)
            for name in dict.fromkeys((announcement.origin, announcement.part_id)):
                if name:
                    found.setdefault(name, []).append(frame.key)
        return found
