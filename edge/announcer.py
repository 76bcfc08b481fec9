"""What is told of a camera: every frame numbered, named, and announced or lost.

Each trigger gets its number before anything else happens, also one that yielded
no picture and one whose part was only told.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from edge.contract import CameraCounts
from edge.frame import ORIGIN_LIMIT, Announcement
from edge.part_ids import PartIds, ToldPart
from edge.wire import DETAIL_LIMIT, Announced, Happened, Lost, LostWhy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.camera import Picture
    from edge.clock import Clock
    from edge.counter import TriggerCounter
    from edge.notices import Notice
    from edge.sources import CameraEvent


class Notices(Protocol):
    """Whoever is told."""

    def put(self, note: Notice, now_ns: int) -> None:
        """Take a notice."""
        ...


class Announcer:
    """Numbers, names and tells the frames and events of one camera."""

    def __init__(
        self,
        camera: str,
        boot: str,
        part_ids: PartIds,
        counter: TriggerCounter,
        notices: Notices,
        clock: Clock,
    ) -> None:
        """Begin with nothing told."""
        self._camera = camera
        self._boot = boot
        self._part_ids = part_ids
        self._counter = counter
        self._notices = notices
        self._clock = clock
        self._losses: Counter[str] = Counter()
        self._frames = self._events = 0

    def announce(self, picture: Picture) -> Announcement | None:
        """Tell of a picture, after the triggers before it without one; None where it is lost."""
        capture = picture.capture
        told, unseen, given_up = self._part_ids.match(picture.captured_ns)
        self.miss(unseen, "a later picture came, and none that is certainly of this part")
        # Of a told part that was given up the result is out already.
        for seq in self._counter.take(max(0, picture.missed - given_up)):
            trigger = self._announcement(seq, self._part_ids.name(seq, None), picture, origin="")
            detail = "the camera counted a trigger, and no picture of it came"
            self.lose(trigger, "missed_trigger", detail)
        seq = self._counter.next()
        named = self._part_ids.name(seq, capture.part_id) if told is None else told.part_id
        announcement = self._announcement(seq, named, picture, capture.origin)
        why, fault = self._fault(picture)
        if why is not None:
            self.lose(announcement, why, fault)
            return None
        self._notices.put(Announced(announcement=announcement), self._clock.monotonic_ns())
        return announcement

    def miss(self, parts: Iterable[ToldPart], detail: str, why: LostWhy = "missed_trigger") -> None:
        """Count parts that were told and not seen: the trigger was the telling."""
        for part in parts:
            unseen = Announcement(
                camera=self._camera,
                boot=self._boot,
                seq=self._counter.next(),
                part_id=part.part_id,
                captured_at=part.told_at,
                captured_ns=part.told_ns,
            )
            self._frames += 1
            self.lose(unseen, why, detail)

    def lose(self, announcement: Announcement, why: LostWhy, detail: str) -> None:
        """Tell that a frame will never be seen by the scorer."""
        self._losses[why] += 1
        note = Lost(announcement=announcement, why=why, detail=detail[:DETAIL_LIMIT])
        self._notices.put(note, self._clock.monotonic_ns())

    def tell(self, events: Iterable[CameraEvent]) -> None:
        """Tell what happened to the camera."""
        for event in events:
            self._events += 1
            note = Happened(
                camera=self._camera,
                boot=self._boot,
                seq=self._events,
                at=self._clock.now(),
                event=event.kind,
                detail=event.detail,
            )
            self._notices.put(note, self._clock.monotonic_ns())

    def counts(self, of_camera: Counter[str]) -> CameraCounts:
        """Return the counts of this boot, with those of the camera itself."""
        counts = of_camera | self._losses
        known = {name: counts[name] for name in CameraCounts.model_fields if name in counts}
        return CameraCounts(**known | {"frames": self._frames})

    def _fault(self, picture: Picture) -> tuple[LostWhy | None, str]:
        """Say why a picture cannot be inspected, with its origin; None if it can."""
        why, fault, origin = picture.why, picture.fault, picture.capture.origin
        name_fault = self._part_ids.fault(picture.capture.part_id)
        if why is None and name_fault:
            why, fault = "corrupt", name_fault
        known = not origin or fault.startswith(origin)
        return why, fault if known else f"{origin}: {fault}"

    def _announcement(self, seq: int, part_id: str, picture: Picture, origin: str) -> Announcement:
        """Return the announcement of a trigger at the time of a picture."""
        self._frames += 1
        return Announcement(
            camera=self._camera,
            boot=self._boot,
            seq=seq,
            part_id=part_id,
            captured_at=picture.captured_at,
            captured_ns=picture.captured_ns,
            origin=origin[:ORIGIN_LIMIT],
        )
