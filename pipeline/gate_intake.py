"""What comes in at the gate: notices, inspections, and the loss of a scorer.

Messages become openings and results here, inside the transaction of one pass;
nothing is acknowledged, published or committed by this module.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from edge.frame import Announcement, FrameKey
from edge.sockets import receive_all, try_send
from edge.wire import (
    DETAIL_LIMIT,
    Acknowledged,
    Announced,
    Begins,
    CameraHere,
    CameraLeft,
    Happened,
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
from pipeline.allowance import Allowance
from pipeline.camera_watch import CameraWatch
from pipeline.inspection import Inspection, decode_evidence, decode_inspection
from pipeline.results import FrameResult, Moment
from pipeline.scorer_link import ScorerLink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.clock import Clock
    from pipeline.gate import Gate
    from pipeline.gate_pass import Pass
    from pipeline.gate_sockets import GateSockets
    from pipeline.ledger import Ledger
    from pipeline.parts import PartAssembler
    from pipeline.recovery import Recovery

log = logging.getLogger(__name__)

START_GRACE_NS = 60_000_000_000
"""A scorer imports torch and reads its weights first."""
SILENCE_NS = 3_000_000_000
"""A scorer says five times a second that it is there, unless one frame takes it longer."""
WARNING_NS = 10_000_000_000
REFUSALS_AT_ONCE, REFUSALS_PER_S = 20, 0.2
"""Refused messages that are logged and become an event each; the others are counted."""
EVENTS_REMEMBERED = 1024
"""Camera events whose acknowledgement may still be on its way."""
HEATMAPS_HELD = 256
"""Inspections whose image has not come yet; each holds one small grid."""


class Intake:
    """Turns messages into the gate's decisions."""

    def __init__(
        self,
        gate: Gate,
        parts: PartAssembler,
        ledger: Ledger,
        recovery: Recovery,
        clock: Clock,
        sockets: GateSockets,
        cameras: Sequence[str],
    ) -> None:
        """Work on the gate's state and the open ledger."""
        self._silence_ns = max(SILENCE_NS, 2 * gate.deadline_ns)
        self.gate = gate
        self.parts = parts
        self._ledger = ledger
        self._recovery = recovery
        self._clock = clock
        self._notices = sockets.notices
        self._inspections = sockets.inspections
        self._scorers = sockets.scorers
        self._scorer_peers = 0
        self._next_warning_ns = 0
        self._awaiting_image: OrderedDict[FrameKey, Inspection] = OrderedDict()
        self._events_noted: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._heard_ns = self._started_ns = clock.monotonic_ns()
        self.cameras = CameraWatch(cameras, self._started_ns, START_GRACE_NS)
        self.scorer = ScorerLink(sockets.inspections)
        self._refusals = Allowance(REFUSALS_AT_ONCE, REFUSALS_PER_S, self._started_ns)
        self._not_noted = 0

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

    def tell_parts(self, work: Pass) -> None:
        """Tell cameras of which part their next frame is."""
        for camera, part_id in work.told_parts:
            try_send(self._notices, [camera.encode(), encode_note(PartAt(part_id=part_id))])

    def _take_notices(self, work: Pass) -> None:
        for parts in receive_all(self._notices):
            try:
                note = decode_note(parts[-1])
                self._check_camera(note)
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
        if isinstance(note, Begins) and self._recovery.fill_gap(work, note):
            return Acknowledged(boot=note.boot, seq=note.seq, notice=note.kind)
        if isinstance(note, Happened):
            self._note_event(note)
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

    def _note_event(self, note: Happened) -> None:
        """Write a camera's event once, however often it is told to this gate."""
        key = (note.camera, note.boot, note.seq)
        if key in self._events_noted:
            return
        self._events_noted[key] = None
        while len(self._events_noted) > EVENTS_REMEMBERED:
            self._events_noted.popitem(last=False)
        detail = {"boot": note.boot, **note.detail}
        self._ledger.add_event(note.at, note.event, note.camera, detail)

    def _check_camera(self, note: Note | Inspection) -> None:
        """Refuse what is of a camera that this line does not have.

        Raises:
            WireError: With its name.
        """
        announcement = getattr(note, "announcement", None)
        camera = announcement.camera if announcement else getattr(note, "camera", None)
        if camera is not None and not self.cameras.is_one(camera):
            msg = f"camera {camera}: not of this line"
            raise WireError(msg)

    def _open(self, work: Pass, announcement: Announcement) -> None:
        key = announcement.key
        now_ns = self._clock.monotonic_ns()
        if announcement.captured_ns > now_ns:
            # Another host's clock, or nonsense: its deadline would never come.
            announcement = announcement.model_copy(update={"captured_ns": now_ns})
        if self.gate.is_open(key) or self._ledger.has_frame(key) or self._recovery.was_filled(key):
            return
        self._ledger.open_frame(announcement)
        self.gate.announce(announcement, work.moment)

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
        self._check_camera(inspection)
        self._heard_ns = work.moment.monotonic_ns
        work.heard.append(inspection)
        key = inspection.announcement.key
        # The two sockets are independent: the inspection may overtake the notice.
        self._open(work, inspection.announcement)
        now = self.moment()
        self.cameras.inspected(key.camera, stale=inspection.why == "stale")
        self.gate.cameras_lost = self.cameras.lost(now.monotonic_ns)
        result = self.gate.inspected(inspection, now)
        self.conclude(work, [result] if result else [], now)
        if result is None or result.why == "late":
            self._warn_late(inspection, now)
            detail = {"boot": key.boot, "seq": key.seq, "score": inspection.score}
            self._ledger.add_event(work.moment.utc, "late_inspection", key.camera, detail)
        note_stream(self._ledger, inspection, work.moment)
        if inspection.evidence:
            self._awaiting_image[key] = inspection
            while len(self._awaiting_image) > HEATMAPS_HELD:
                self._awaiting_image.popitem(last=False)

    def _take_scorers_note(self, work: Pass, identity: bytes, note: Note) -> None:
        self._heard_ns = work.moment.monotonic_ns
        if isinstance(note, ScorerUp) and self._scorer_peers:
            self.gate.scorer_up()
            self.scorer.heard(identity, note)
            work.heard.append(note)
        elif isinstance(note, ScorerLeft):
            self.gate.scorer_left(work.moment)
        elif isinstance(note, Ordered):
            work.heard.append(self.scorer.told_of(note))
            answer = self.scorer.answered(note)
            work.ordered += [answer] if answer else []

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
        elif (lost or silent or self._scorer_peers == 0) and self.cameras.all_left:
            self.gate.scorer_left(work.moment)  # the line is ending; it was slow to say goodbye
        elif lost or silent or self._scorer_peers == 0:
            self.gate.scorer_lost(work.moment)
            self._ledger.add_event(work.moment.utc, "scorer_lost", None, {})
            log.warning("the scorer is gone")

    def _refuse(self, work: Pass, what: str, error: WireError) -> None:
        if not self._refusals.spend(work.moment.monotonic_ns):
            self._not_noted += 1
            return
        log.warning("refused %s: %s", what, error)
        detail = {"error": str(error)[:DETAIL_LIMIT], "others_not_noted": self._not_noted}
        self._not_noted = 0
        self._ledger.add_event(work.moment.utc, "message_refused", None, detail)


def note_stream(ledger: Ledger, inspection: Inspection, now: Moment) -> None:
    """Write what a frame has shown of its stream, and second looks at earlier frames."""
    key = inspection.announcement.key
    for event in inspection.events:
        log.warning("camera %s: %s", key.camera, event.kind)
        detail = {"boot": key.boot, "seq": key.seq, **event.detail}
        ledger.add_event(now.utc, event.kind, key.camera, detail)
    for refined in inspection.refined:
        ledger.refine(key.camera, refined)
