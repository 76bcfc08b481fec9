"""Which cameras are there: a dead camera must not look like an empty belt.

Each ingest process says several times a second how its camera is. One that
falls silent is LOST; one that said goodbye is LOST too, but no fault. A camera
that repeats one picture is as good as lost: ingest sees it where the pictures are
equal, the scorer where they differ by noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.contract import CameraCounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.frame import CameraState
    from edge.wire import CameraHere, CameraLeft

SILENCE_NS = 2_000_000_000
"""Ten times the interval at which ingest says that it is there."""


@dataclass(frozen=True, slots=True)
class _Seen:
    state: CameraState
    heard_ns: int
    counts: CameraCounts = field(default_factory=CameraCounts)
    left: bool = False


class CameraWatch:
    """The cameras of a line, as their ingest processes tell."""

    def __init__(self, cameras: Iterable[str], now_ns: int, grace_ns: int) -> None:
        """Expect ``cameras``; each may take ``grace_ns`` to say its first word."""
        self._expected_ns = now_ns + grace_ns
        self._cameras = tuple(cameras)
        self._seen: dict[str, _Seen] = {}
        self._repeating: set[str] = set()

    def inspected(self, camera: str, *, stale: bool) -> None:
        """Take note of whether the scorer sees the same part in a camera's pictures."""
        if stale:
            self._repeating.add(camera)
        else:
            self._repeating.discard(camera)

    def heard(self, note: CameraHere, now_ns: int) -> None:
        """Take note of a camera of this line that is there."""
        self._seen[note.camera] = _Seen(note.state, now_ns, note.counts)

    def left(self, note: CameraLeft, now_ns: int) -> None:
        """Take note of a camera that stops as it was asked to."""
        self._seen[note.camera] = _Seen(
            "LOST", now_ns, self.counts().get(note.camera, CameraCounts()), left=True
        )

    def states(self, now_ns: int) -> dict[str, CameraState]:
        """Return the state of each camera that is known or overdue."""
        known: dict[str, CameraState] = {}
        for camera in self._cameras:
            seen = self._seen.get(camera)
            if seen is not None:
                known[camera] = "LOST" if now_ns - seen.heard_ns > SILENCE_NS else seen.state
                if known[camera] == "ONLINE" and camera in self._repeating:
                    known[camera] = "STALE"
            elif now_ns > self._expected_ns:
                known[camera] = "LOST"
        return known

    def is_one(self, camera: str) -> bool:
        """Tell whether a camera is of this line."""
        return camera in self._cameras

    @property
    def all_left(self) -> bool:
        """Tell whether every camera has stopped as it was asked to: the line is ending."""
        return all(camera in self._seen and self._seen[camera].left for camera in self._cameras)

    def all_known(self, now_ns: int) -> bool:
        """Tell whether each camera has been heard of, or is overdue."""
        return len(self.states(now_ns)) == len(self._cameras)

    def lost(self, now_ns: int) -> frozenset[str]:
        """Return the cameras that should be there and are not, or show the same for ever."""
        return frozenset(
            camera
            for camera, state in self.states(now_ns).items()
            if state in {"LOST", "STALE"} and not (camera in self._seen and self._seen[camera].left)
        )

    def deaf(self, camera: str, now_ns: int) -> bool:
        """Tell whether nobody is there to be told of a camera's parts."""
        seen = self._seen.get(camera)
        return seen is None or seen.left or now_ns - seen.heard_ns > SILENCE_NS

    def counts(self) -> dict[str, CameraCounts]:
        """Return what each camera that was heard of has counted."""
        return {camera: seen.counts for camera, seen in self._seen.items()}
