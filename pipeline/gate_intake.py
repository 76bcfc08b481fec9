"""What comes in at the gate: notices, inspections, and the loss of a scorer.

Messages become openings and results here, inside the transaction of one pass;
nothing is acknowledged, published or committed by this module.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edge.frame import Announcement, FrameKey
from edge.sockets import PeerWatch, Socket, receive_all, try_send
from edge.wire import (
    Acknowledged,
    Announced,
    Begins,
    CameraHere,
    CameraLeft,
    Lost,
    Note,
    Ordered,
    PartAt,
    ScorerLeft,
    ScorerUp,
    WireError,
    decode_note,
    encode_note,
)
from pipeline.camera_watch import CameraWatch
from pipeline.inspection import Inspection, decode_evidence, decode_inspection
from pipeline.results import FrameResult, Moment, PartVerdict
from pipeline.scorer_link import ScorerLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.clock import Clock
    from edge.commands import CommandResult
    from pipeline.alarm import Transition
    from pipeline.evidence_worker import Stored
    from pipeline.gate import Gate
    from pipeline.ledger import Ledger
    from pipeline.parts import PartAssembler
    from pipeline.scorer_link import Answer

log = logging.getLogger(__name__)

GAP_FRAMES = 256
"""Frames of a gap that one pass closes: some milliseconds of work."""
START_GRACE_NS = 60_000_000_000
"""A scorer imports torch and reads its weights first."""
SILENCE_NS = 3_000_000_000
"""A scorer says five times a second that it is there, unless one frame takes it longer."""
WARNING_NS = 10_000_000_000
HEATMAPS_HELD = 256
"""Inspections whose image has not come yet; each holds one small grid."""


@dataclass(slots=True)
class Pass:
    """What one pass of the gate has to commit, acknowledge and publish."""

    moment: Moment
    results: list[FrameResult] = field(default_factory=list)
    parts: list[PartVerdict] = field(default_factory=list)
    acknowledgements: list[tuple[bytes, Acknowledged]] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    """What became of images that were handed over earlier."""
    ordered: list[Answer] = field(default_factory=list)
    """What became of orders to the scorer."""
    answers: list[CommandResult] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    images: list[tuple[FrameKey, bytes, Inspection | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GateSockets:
    """The gate's two ROUTER sockets and the watch over the scorer's."""

    notices: Socket
    inspections: Socket
    scorers: PeerWatch


class Intake:
    """Turns messages into the gate's decisions."""

    def __init__(
        self,
        gate: Gate,
        parts: PartAssembler,
        ledger: Ledger,
        clock: Clock,
        sockets: GateSockets,
        cameras: Sequence[str],
    ) -> None:
        """Work on the gate's state and the open ledger."""
        self._silence_ns = max(SILENCE_NS, 2 * gate.deadline_ns)
        self.gate = gate
        self.parts = parts
        self._ledger = ledger
        self._clock = clock
        self._notices = sockets.notices
        self._inspections = sockets.inspections
        self._scorers = sockets.scorers
        self._scorer_peers = 0
        self._next_warning_ns = 0
        self._awaiting_image: OrderedDict[FrameKey, Inspection] = OrderedDict()
        self._begun: dict[str, Begins] = {}
        """The latest start of each camera; frames up to its count are closed, or being closed."""
        self._heard_ns = self._started_ns = clock.monotonic_ns()
        self.cameras = CameraWatch(cameras, self._started_ns, START_GRACE_NS)
        self.scorer = ScorerLink(sockets.inspections)

    def moment(self) -> Moment:
        """Return the time on both clocks."""
        return Moment(self._clock.now(), self._clock.monotonic_ns())

    def take_all(self, work: Pass) -> None:
        """Take what has arrived and close what is due; must run in a transaction."""
        self._take_notices(work)
        self._take_inspections(work)
        # After the messages: a scorer's farewell is read before its connection is missed.
        self._watch_scorers(work)
        now = self.moment()
        self.gate.cameras_lost = self.cameras.lost(now.monotonic_ns)
        work.ordered += self.scorer.tend(self.gate.recipe, now.monotonic_ns)
        self.conclude(work, self.gate.due(now), now)
        work.parts += self.parts.due(now)

    def settle_leftovers(self, work: Pass) -> None:
        """Close the frames and parts that an earlier gate left open."""
        for seen in self._ledger.frames_owed_a_part():
            work.parts += self.parts.add(seen, work.moment)
        for announcement in self._ledger.rows_left_open():
            self.gate.announce(announcement, work.moment)
            detail = "the gate was restarted before the result"
            result = self.gate.lose(announcement, "gate_restart", detail, work.moment)
            self.conclude(work, [result] if result else [])
        work.parts += self.parts.close_all(work.moment)

    def close_all(self, work: Pass) -> None:
        """Close everything that is still open, at the end of the line."""
        self.conclude(work, self.gate.close_all("the line was stopped", work.moment))
        work.parts += self.parts.close_all(work.moment)

    def conclude(self, work: Pass, results: list[FrameResult], now: Moment | None = None) -> None:
        """Add results and the part verdicts that they complete to a pass."""
        for result in results:
            work.results.append(result)
            work.parts += self.parts.add(result, now or work.moment)

    def acknowledge(self, work: Pass) -> None:
        """Tell ingest what is on disk."""
        for identity, acknowledged in work.acknowledgements:
            try_send(self._notices, [identity, encode_note(acknowledged)])

    def tell_part(self, camera: str, part_id: str) -> bool:
        """Tell a camera of which part its next frame is; False where it is not there."""
        now_ns = self._clock.monotonic_ns()
        if self.cameras.states(now_ns).get(camera, "LOST") == "LOST":
            return False
        return try_send(self._notices, [camera.encode(), encode_note(PartAt(part_id=part_id))])

    def _take_notices(self, work: Pass) -> None:
        for parts in receive_all(self._notices):
            try:
                note = decode_note(parts[-1])
            except WireError as error:
                self._refuse(work, "notice", error)
                continue
            acknowledged = self._take_note(work, note)
            if acknowledged is not None:
                work.acknowledgements.append((bytes(parts[0]), acknowledged))

    def _take_note(self, work: Pass, note: Note) -> Acknowledged | None:
        """Take one notice; return what is to be acknowledged after the commit."""
        if isinstance(note, Announced | Lost):
            self._take_notice(work, note)
            seq = note.announcement.seq
            return Acknowledged(boot=note.announcement.boot, seq=seq, notice=note.kind)
        if isinstance(note, Begins) and self._fill_gap(work, note):
            return Acknowledged(boot=note.boot, seq=note.seq, notice=note.kind)
        if isinstance(note, CameraHere):
            self.cameras.heard(note, work.moment.monotonic_ns)
        elif isinstance(note, CameraLeft):
            self.cameras.left(note, work.moment.monotonic_ns)
        return None

    def _take_notice(self, work: Pass, note: Announced | Lost) -> None:
        announcement = note.announcement
        self._open(work, announcement)
        if isinstance(note, Lost):
            lost = self.gate.lose(announcement, note.why, note.detail, work.moment)
            self.conclude(work, [lost] if lost else [])

    def _fill_gap(self, work: Pass, note: Begins) -> bool:
        """Close frames that an earlier ingest counted and never announced; False if more are left.

        A few at a time, so that no frame on the belt waits; ingest repeats its
        notice until all are closed. They are not said on live topics: nobody waits
        for them any more. Their part is known only where it has no other view.
        """
        self._begun[note.camera] = note
        missing = self._ledger.missing_frames(note.camera, note.seq, limit=GAP_FRAMES + 1)
        for seq in missing[:GAP_FRAMES]:
            announcement = Announcement(
                camera=note.camera,
                boot=note.boot,
                seq=seq,
                part_id=f"{note.camera}-{seq:08d}",
                captured_at=work.moment.utc,
                captured_ns=work.moment.monotonic_ns,
            )
            self._ledger.open_frame(announcement)
            self.gate.announce(announcement, work.moment)
            detail = "counted, but its ingest ended before it was announced"
            lost = self.gate.lose(announcement, "camera_lost", detail, work.moment)
            if lost is not None:
                past = replace(lost, live=False)
                work.results.append(past)
                work.parts += self.parts.add(past, work.moment) if self.parts.single_view else []
        if missing:
            gap = {"first": missing[0], "frames": min(len(missing), GAP_FRAMES)}
            self._ledger.add_event(work.moment.utc, "gap_filled", note.camera, gap)
        return len(missing) <= GAP_FRAMES

    def _open(self, work: Pass, announcement: Announcement) -> None:
        key = announcement.key
        if self.gate.is_open(key) or self._ledger.has_frame(key) or self._was_filled(key):
            return
        self._ledger.open_frame(announcement)
        self.gate.announce(announcement, work.moment)

    def _was_filled(self, key: FrameKey) -> bool:
        """Tell whether a notice comes from an ingest that has been answered for already."""
        begun = self._begun.get(key.camera)
        if begun is None or key.boot == begun.boot or key.seq > begun.seq:
            return False
        return self._ledger.has_number(key.camera, key.seq)

    def _take_inspections(self, work: Pass) -> None:
        for parts in receive_all(self._inspections):
            try:
                identity, *body = (bytes(part) for part in parts)
                self._take_inspection(work, identity, body)
            except WireError as error:
                self._refuse(work, "inspection", error)

    def _take_inspection(self, work: Pass, identity: bytes, parts: list[bytes]) -> None:
        if len(parts) == 1:
            self._take_scorers_note(work, identity, decode_note(parts[0]))
            return
        kind, *body = parts
        if kind == b"evidence":
            key, image = decode_evidence(body)
            work.images.append((key, image, self._awaiting_image.pop(key, None)))
            return
        inspection = decode_inspection(body)
        self._heard_ns = work.moment.monotonic_ns
        key = inspection.announcement.key
        # The two sockets are independent: the inspection may overtake the notice.
        self._open(work, inspection.announcement)
        now = self.moment()
        result = self.gate.inspected(inspection, now)
        self.conclude(work, [result] if result else [], now)
        if result is None or result.why == "late":
            self._warn_late(inspection, now)
            detail = {"boot": key.boot, "seq": key.seq, "score": inspection.score}
            self._ledger.add_event(work.moment.utc, "late_inspection", key.camera, detail)
        if inspection.evidence:
            self._awaiting_image[key] = inspection
            while len(self._awaiting_image) > HEATMAPS_HELD:
                self._awaiting_image.popitem(last=False)

    def _take_scorers_note(self, work: Pass, identity: bytes, note: Note) -> None:
        self._heard_ns = work.moment.monotonic_ns
        if isinstance(note, ScorerUp) and self._scorer_peers:
            self.gate.scorer_up()
            self.scorer.heard(identity, note)
        elif isinstance(note, ScorerLeft):
            self.gate.scorer_left(work.moment)
        elif isinstance(note, Ordered) and (answer := self.scorer.answered(note)):
            work.ordered.append(answer)

    def _warn_late(self, inspection: Inspection, now: Moment) -> None:
        if now.monotonic_ns >= self._next_warning_ns:
            self._next_warning_ns = now.monotonic_ns + WARNING_NS
            log.warning(
                "frames are late: scoring takes %.0f ms a frame here, part.deadline_ms is %d",
                inspection.compute_ms,
                self.gate.deadline_ns // 1_000_000,
            )

    def _watch_scorers(self, work: Pass) -> None:
        self._scorer_peers, lost = self._scorers.update()
        silent = work.moment.monotonic_ns - self._heard_ns > self._silence_ns
        # A gate that has just started gives the first scorer time to load.
        if not self.gate.has_scorer:
            if work.moment.monotonic_ns - self._started_ns > START_GRACE_NS:
                self.gate.scorer_is_due()
        elif lost or silent or self._scorer_peers == 0:
            self.gate.scorer_lost(work.moment)
            self._ledger.add_event(work.moment.utc, "scorer_lost", None, {})
            log.warning("the scorer is gone")

    def _refuse(self, work: Pass, what: str, error: WireError) -> None:
        log.warning("refused %s: %s", what, error)
        self._ledger.add_event(work.moment.utc, "message_refused", None, {"error": str(error)})
