"""Part ids: what each frame is called, by the source, by counting, or as told.

With policy ``message`` the plant tells each part when it triggers the camera,
and a frame bears the id that was told last before it was taken: by time, so
that a picture that comes late bears its own part's name or none, and never that
of the next. Where the times do not tell, no name is better than a wrong one. A
part that was told and not seen is never forgotten: it is handed back as missed,
so that it gets a result of its own. This module knows nothing of sockets and
clocks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from edge.frame import PartId

if TYPE_CHECKING:
    from datetime import datetime

PartPolicy = Literal["source", "counter", "message"]
"""The source's own names (counted where it has none), counted always, or told by message."""

TOLD_LIMIT = 64
"""Parts that may wait for their pictures; beyond, the oldest is missed."""
ON_THE_WAY_NS = 50_000_000
"""A message may come so long after the trigger that it tells of: broker and network."""
_PART_ID: TypeAdapter[str] = TypeAdapter(PartId)


@dataclass(frozen=True, slots=True)
class ToldPart:
    """A part that a coming frame is of, and when that was told."""

    part_id: str
    told_at: datetime
    told_ns: int
    """The same moment on the monotonic clock."""


class PartIds:
    """Names the parts of one camera."""

    def __init__(
        self, camera: str, policy: PartPolicy, wait_ms: int, *, after_telling: bool = False
    ) -> None:
        """Begin without any part told.

        Args:
            camera: Its id, the beginning of a counted part id.
            policy: Where part ids come from.
            wait_ms: How long the picture of a told part may take to come.
            after_telling: The telling is the trigger: no picture is from before it.
        """
        self._camera = camera
        self._policy = policy
        self._wait_ms = wait_ms
        self._slack_ns = 0 if after_telling else ON_THE_WAY_NS
        self._told: deque[ToldPart] = deque()
        self._given_up = 0
        """Told parts given up since the last frame."""

    @property
    def listens(self) -> bool:
        """Whether parts are told by message at all."""
        return self._policy == "message"

    @property
    def expects(self) -> bool:
        """Whether a told part waits for its picture."""
        return bool(self._told)

    def is_told(self, part_id: str) -> bool:
        """Tell whether this is the part that was told last, and still waits for its picture.

        A reader that reads a part twice makes no second part of it.
        """
        return bool(self._told) and self._told[-1].part_id == part_id

    def tell(self, part: ToldPart) -> list[ToldPart]:
        """Expect a picture of ``part``; return the parts that have waited for too long a queue."""
        self._told.append(part)
        return self._give_up(max(0, len(self._told) - TOLD_LIMIT))

    def overdue(self, now_ns: int) -> list[ToldPart]:
        """Give up the told parts, and return them, whose picture did not come in time."""
        limit_ns = now_ns - self._wait_ms * 1_000_000
        return self._give_up(sum(part.told_ns <= limit_ns for part in self._told))

    def give_up(self) -> list[ToldPart]:
        """Return the told parts that no frame has borne, and expect none."""
        return self._give_up(len(self._told))

    def match(self, captured_ns: int) -> tuple[ToldPart | None, list[ToldPart], int]:
        """Find the told part of a frame, which is used up.

        It is the one that was told last before the picture was taken. One that was
        told a moment after it, too: either may be meant, and the frame bears
        neither name.

        Args:
            captured_ns: When it was taken, monotonic.

        Returns:
            The part, None where none was told; the told parts that are not seen any
            more; and how many were given up since the frame before, these included.
        """
        before = sum(part.told_ns <= captured_ns for part in self._told)
        near = sum(part.told_ns <= captured_ns + self._slack_ns for part in self._told) - before
        certain = near == 0 if before else near == 1
        unseen = [self._told.popleft() for _ in range(before + near)]
        part = unseen.pop() if certain and unseen else None
        given_up, self._given_up = self._given_up + len(unseen), 0
        return part, unseen, given_up

    def name(self, seq: int, named: str | None) -> str:
        """Return the part id of frame ``seq`` that no message told.

        ``named`` is what the source calls the part; under policy ``source`` it
        counts, unless it has a fault.
        """
        if self._policy == "source" and named and not self.fault(named):
            return named
        return f"{self._camera}-{seq:08d}"

    def fault(self, named: str | None) -> str:
        """Say what is wrong with the source's name for a part; empty if it is not used."""
        if self._policy != "source" or not named:
            return ""
        try:
            _PART_ID.validate_python(named)
        except ValidationError:
            allowed = "1 to 48 visible ASCII characters without ; and quotes or backslashes"
            return f"part id {named!r} is not {allowed}"
        return ""

    def _give_up(self, count: int) -> list[ToldPart]:
        """Hand the oldest told parts back as missed."""
        self._given_up += count
        return [self._told.popleft() for _ in range(count)]
