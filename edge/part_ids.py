"""Part ids: what each frame is called, by the source, by counting, or as told.

With policy ``message`` the plant tells the part before the camera is
triggered, and the next frame bears that id. A part that was told and not seen
is never forgotten: it is handed back as missed, so that it gets a result of
its own. This module knows nothing of sockets and clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from edge.frame import PartId

if TYPE_CHECKING:
    from datetime import datetime

PartPolicy = Literal["source", "counter", "message"]
"""The source's own names (counted where it has none), counted always, or told by message."""

_PART_ID: TypeAdapter[str] = TypeAdapter(PartId)


@dataclass(frozen=True, slots=True)
class ToldPart:
    """A part that the next frame is of, and when that was told."""

    part_id: str
    told_at: datetime
    told_ns: int
    """The same moment on the monotonic clock."""


class PartIds:
    """Names the parts of one camera."""

    def __init__(self, camera: str, policy: PartPolicy, wait_ms: int) -> None:
        """Begin without any part told.

        Args:
            camera: Its id, the beginning of a counted part id.
            policy: Where part ids come from.
            wait_ms: How long the picture of a told part may take to come.
        """
        self._camera = camera
        self._policy = policy
        self._wait_ms = wait_ms
        self._told: ToldPart | None = None

    @property
    def listens(self) -> bool:
        """Whether parts are told by message at all."""
        return self._policy == "message"

    def tell(self, part: ToldPart) -> ToldPart | None:
        """Expect a picture of ``part`` next; return the part that this replaces, unseen.

        The part that is expected already, told once more by a reader that read it
        twice, stays one part.
        """
        if self._told is not None and self._told.part_id == part.part_id:
            return None
        replaced, self._told = self._told, part
        return replaced

    def overdue(self, now_ns: int) -> ToldPart | None:
        """Give up the told part, and return it, when its picture did not come in time."""
        if self._told is None or now_ns - self._told.told_ns < self._wait_ms * 1_000_000:
            return None
        return self.give_up()

    def give_up(self) -> ToldPart | None:
        """Return the told part that no frame has borne, and expect none."""
        unseen, self._told = self._told, None
        return unseen

    def take(self, seq: int, named: str | None) -> str:
        """Return the part id of frame ``seq``; a told one is used up.

        ``named`` is what the source calls the part; under policy ``source`` it
        counts, unless it has a fault.
        """
        told = self.give_up()
        if told is not None:
            return told.part_id
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
