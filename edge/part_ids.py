"""Part ids: what each frame is called, by the source, by counting, or as told.

With policy ``message`` the plant tells the part before the camera is
triggered, and the next frame bears that id. Where both sides count triggers,
the plant in its messages and the camera in its pictures, a frame bears the id
of its own trigger, however late the messages are. A part that was told and not
seen is never forgotten: it is handed back as missed, so that it gets a result
of its own. This module knows nothing of sockets and clocks.
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
"""Parts on their way from the sensor to the camera; beyond, the oldest is missed."""
_PART_ID: TypeAdapter[str] = TypeAdapter(PartId)


@dataclass(frozen=True, slots=True)
class ToldPart:
    """A part that a coming frame is of, and when that was told."""

    part_id: str
    told_at: datetime
    told_ns: int
    """The same moment on the monotonic clock."""
    trigger: int | None = None
    """The plant's own number of the trigger, where it counts them."""


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
            after_telling: The telling is the trigger: a picture from before it
                is of no told part.
        """
        self._camera = camera
        self._policy = policy
        self._wait_ms = wait_ms
        self._after_telling = after_telling
        self._told: deque[ToldPart] = deque()
        self._ahead: int | None = None
        """How far the plant's count of triggers is ahead of the camera's; None unknown."""
        self._last_trigger: int | None = None
        """Of the part that was told last."""
        self._opening = 0
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

    def tell(self, part: ToldPart) -> list[ToldPart]:
        """Expect a picture of ``part``; return the parts that it replaces, unseen.

        The part that is expected already, told once more by a reader that read it
        twice, stays one part. Without numbers one part is expected at a time.
        """
        if self._told and self._told[-1].part_id == part.part_id:
            return []
        missed: list[ToldPart] = []
        if part.trigger is None or self._last_trigger is None:
            missed = self.give_up()
        elif part.trigger <= self._last_trigger:
            # The plant counts anew: what was told before belongs to another count.
            missed, self._ahead = self.give_up(), None
        self._last_trigger = part.trigger
        self._told.append(part)
        if len(self._told) > TOLD_LIMIT:
            missed.append(self._told.popleft())
            self._given_up += 1
        return missed

    def overdue(self, now_ns: int) -> list[ToldPart]:
        """Give up the told parts, and return them, whose picture did not come in time."""
        late: list[ToldPart] = []
        while self._told and now_ns - self._told[0].told_ns >= self._wait_ms * 1_000_000:
            late.append(self._told.popleft())
        self._given_up += len(late)
        return late

    def give_up(self) -> list[ToldPart]:
        """Return the told parts that no frame has borne, and expect none."""
        unseen = list(self._told)
        self._told.clear()
        self._given_up += len(unseen)
        return unseen

    def match(
        self, captured_ns: int, counter: int | None, opening: int
    ) -> tuple[ToldPart | None, list[ToldPart], int]:
        """Find the told part of a frame, which is used up.

        Args:
            captured_ns: When it was taken, monotonic.
            counter: The camera's number of it, one more for each trigger.
            opening: Which opening of the camera that number belongs to.

        Returns:
            The part, None where none was told; the told parts before it, unseen;
            and how many were given up since the frame before, these included.
        """
        if opening != self._opening:
            self._opening, self._ahead = opening, None
        part, unseen = self._of_trigger(counter)
        if part is not None and self._after_telling and captured_ns < part.told_ns:
            self._told.appendleft(part)
            part = None
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

    def _of_trigger(self, counter: int | None) -> tuple[ToldPart | None, list[ToldPart]]:
        """Take the told part of a trigger, and those before it."""
        if not self._told:
            return None, []
        first = self._told[0].trigger
        if counter is None or first is None:
            unseen = list(self._told)
            self._told.clear()
            return unseen.pop(), unseen
        if self._ahead is None:
            if len(self._told) > 1:
                # Which of them it is nobody can say: a wrong name is worse than none.
                unseen = list(self._told)
                self._told.clear()
                return None, unseen
            self._ahead = first - counter
        number = counter + self._ahead
        unseen = []
        while self._told and (self._told[0].trigger or 0) < number:
            unseen.append(self._told.popleft())
        if self._told and self._told[0].trigger == number:
            return self._told.popleft(), unseen
        return None, unseen
