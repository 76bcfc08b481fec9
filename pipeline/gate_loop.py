"""The gate process: sockets and clock around the gate's decisions.

Each pass takes what has arrived, decides, commits everything in one
transaction, and only then acknowledges to ingest and publishes: what the plant
hears is on disk, and what ingest forgets is, too. Evidence comes last, after
every result is out.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq

from edge.clock import Clock, SystemClock
from edge.contract import Topics
from edge.sockets import Context, PeerWatch, bind_router, receive_all, try_send
from edge.stopping import announce_ready, stage_stop_flag
from edge.wire import (
    Acknowledged,
    Announced,
    Lost,
    ScorerLeft,
    ScorerUp,
    WireError,
    decode_note,
    encode_note,
)
from pipeline.evidence import EvidenceError, EvidenceStore
from pipeline.gate import Gate, Moment
from pipeline.heatmap import HeatmapError, decode_8bit, encode_png, overlay
from pipeline.inspection import Inspection, decode_evidence, decode_inspection
from pipeline.ledger import Ledger
from pipeline.parts import PartAssembler
from pipeline.publisher import Publisher, broker_settings
from pipeline.results import FrameResult, LineIdentity, PartVerdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Announcement, FrameKey
    from pipeline.config import Config

log = logging.getLogger(__name__)

POLL_MS = 50
HEARTBEAT_NS = 1_000_000_000
SUMMARY_NS = 10_000_000_000
QUIET_MS = 200
"""At the end the gate listens this long for inspections that are on their way."""
CONFIRM_LIMIT_S = 1.0
HEATMAPS_HELD = 256
"""Inspections whose image has not come yet; each holds one small grid."""


@dataclass(slots=True)
class _Pass:
    """What one pass of the loop has to commit, acknowledge and publish."""

    moment: Moment
    results: list[FrameResult] = field(default_factory=list)
    parts: list[PartVerdict] = field(default_factory=list)
    acknowledgements: list[tuple[bytes, Acknowledged]] = field(default_factory=list)


class GateLoop:
    """Joins announcements and inspections into results, once and in time."""

    def __init__(self, config: Config, clock: Clock, context: Context) -> None:
        """Open ledger, evidence and sockets, and connect to the broker.

        Raises:
            LedgerError: The ledger is not writable.
            EvidenceError: The evidence folder is not writable.
            EndpointError: An endpoint cannot be bound.
            BrokerError: The broker cannot be reached or refuses.
        """
        self._config = config
        self._clock = clock
        deadline_ms = config.part.deadline_ms
        boot = secrets.token_hex(8)
        identity = LineIdentity(config.line.recipe, config.digest, boot, deadline_ms)
        self._gate = Gate(deadline_ms)
        self._parts = PartAssembler(config.views, deadline_ms)
        self._ledger = Ledger(config.ledger.path, config.ledger.synchronous, identity)
        self._evidence = EvidenceStore(config.evidence.path, config.evidence.max_bytes)
        self._notices = bind_router(context, config.endpoint("notices"))
        self._inspections = bind_router(context, config.endpoint("inspections"))
        self._scorers = PeerWatch(self._inspections)
        line = config.line
        topics = Topics(config.mqtt.prefix, line.site, line.area, line.line, line.station)
        self._publisher = Publisher(broker_settings(config.mqtt, f"gate-{boot}"), topics, identity)
        self._publisher.connect()
        self._awaiting_image: OrderedDict[FrameKey, Inspection] = OrderedDict()
        self._images: list[tuple[FrameKey, bytes]] = []
        self._counts: Counter[str] = Counter()
        self._next_heartbeat_ns = self._next_summary_ns = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Close what an earlier gate left open, then work until ``stop``."""
        self._settle_leftovers()
        poller = self._poller()
        while not stop():
            poller.poll(self._wait_ms())
            self.step()
        while poller.poll(QUIET_MS):
            self.step()
        work = self._new_pass()
        self._conclude(work, self._gate.close_all("the line was stopped", work.moment))
        work.parts += self._parts.close_all(work.moment.monotonic_ns)
        self._commit(work)
        self._store_images()

    def step(self) -> None:
        """One pass: take, decide, commit, acknowledge, publish."""
        work = self._new_pass()
        with self._ledger.transaction():
            self._take_notices(work)
            self._take_inspections(work)
            self._watch_scorers(work)
            self._conclude(work, self._gate.due(work.moment))
            work.parts += self._parts.due(work.moment.monotonic_ns)
            self._write(work)
        self._tell(work)
        self._store_images()
        self._every_second(work.moment)

    def close(self) -> None:
        """Publish STOPPED, wait for the broker's confirmations, let go of everything."""
        left = self._publisher.close(CONFIRM_LIMIT_S)
        if left or self._publisher.unsent:
            log.warning("MQTT: %d not confirmed, %d not sent", left, self._publisher.unsent)
        self._log_summary()
        self._scorers.close()
        self._notices.close()
        self._inspections.close()
        self._ledger.close()

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        for socket in (self._notices, self._inspections, self._scorers.monitor):
            poller.register(socket, zmq.POLLIN)
        return poller

    def _wait_ms(self) -> int:
        due = [self._gate.next_due_ns(), self._parts.next_due_ns(), self._next_heartbeat_ns]
        first = min(moment for moment in due if moment is not None)
        # Rounded up: a pass a fraction of a millisecond early would only spin.
        return max(0, min(POLL_MS, -((self._clock.monotonic_ns() - first) // 1_000_000)))

    def _new_pass(self) -> _Pass:
        return _Pass(Moment(self._clock.now(), self._clock.monotonic_ns()))

    def _settle_leftovers(self) -> None:
        work = self._new_pass()
        for announcement in self._ledger.rows_left_open():
            self._gate.announce(announcement, work.moment)
            detail = "the gate was restarted before the result"
            result = self._gate.lose(announcement, "gate_restart", detail, work.moment)
            self._conclude(work, [result] if result else [])
        work.parts += self._parts.close_all(work.moment.monotonic_ns)
        self._commit(work)

    def _take_notices(self, work: _Pass) -> None:
        for parts in receive_all(self._notices):
            try:
                note = decode_note(parts[-1])
            except WireError as error:
                self._refuse(work, "notice", error)
                continue
            if not isinstance(note, Announced | Lost):
                continue
            announcement = note.announcement
            if not self._gate.is_open(announcement.key):
                self._open(work, announcement)
            if isinstance(note, Lost):
                lost = self._gate.lose(announcement, note.why, note.detail, work.moment)
                self._conclude(work, [lost] if lost else [])
            ack = Acknowledged(boot=announcement.boot, seq=announcement.seq, notice=note.kind)
            work.acknowledgements.append((bytes(parts[0]), ack))

    def _open(self, work: _Pass, announcement: Announcement) -> None:
        if not self._ledger.has_frame(announcement.key):
            self._ledger.open_frame(announcement)
            self._gate.announce(announcement, work.moment)

    def _take_inspections(self, work: _Pass) -> None:
        for parts in receive_all(self._inspections):
            try:
                self._take_inspection(work, [bytes(part) for part in parts[1:]])
            except WireError as error:
                self._refuse(work, "inspection", error)

    def _take_inspection(self, work: _Pass, parts: list[bytes]) -> None:
        if len(parts) == 1:
            note = decode_note(parts[0])
            if isinstance(note, ScorerUp):
                self._gate.scorer_up()
            elif isinstance(note, ScorerLeft):
                self._gate.scorer_left(work.moment)
            return
        kind, *body = parts
        if kind == b"evidence":
            self._images.append(decode_evidence(body))
            return
        inspection = decode_inspection(body)
        key = inspection.announcement.key
        if not self._gate.is_open(key):
            # The two sockets are independent: the inspection may overtake the notice.
            self._open(work, inspection.announcement)
        result = self._gate.inspected(inspection, work.moment)
        self._conclude(work, [result] if result else [])
        if result is None or result.why == "late":
            detail = {"boot": key.boot, "seq": key.seq, "score": inspection.score}
            self._ledger.add_event(work.moment.utc, "late_inspection", key.camera, detail)
        if inspection.evidence:
            self._awaiting_image[key] = inspection
            while len(self._awaiting_image) > HEATMAPS_HELD:
                self._awaiting_image.popitem(last=False)

    def _watch_scorers(self, work: _Pass) -> None:
        peers, lost = self._scorers.update()
        if lost and peers == 0 and self._gate.has_scorer:
            self._gate.scorer_lost(work.moment)
            self._ledger.add_event(work.moment.utc, "scorer_lost", None, {})
            log.warning("the scorer is gone")

    def _conclude(self, work: _Pass, results: list[FrameResult]) -> None:
        for result in results:
            work.results.append(result)
            work.parts += self._parts.add(result, work.moment.monotonic_ns)

    def _write(self, work: _Pass) -> None:
        for result in work.results:
            self._ledger.close_frame(result)
        for part in work.parts:
            self._ledger.close_part(part)

    def _commit(self, work: _Pass) -> None:
        with self._ledger.transaction():
            self._write(work)
        self._tell(work)

    def _tell(self, work: _Pass) -> None:
        for identity, ack in work.acknowledgements:
            try_send(self._notices, [identity, encode_note(ack)])
        for part in work.parts:
            self._publisher.part(part)
        for result in work.results:
            self._publisher.frame(result)
            self._counts[result.verdict if result.verdict != "NO_RESULT" else result.why] += 1
        self._publisher.state(self._gate.state)

    def _store_images(self) -> None:
        images, self._images = self._images, []
        for key, image in images:
            inspection = self._awaiting_image.pop(key, None)
            try:
                self._store_image(key, image, inspection)
            except (EvidenceError, HeatmapError) as error:
                log.error("%s", error)
                with self._ledger.transaction():
                    now = self._clock.now()
                    self._ledger.add_event(now, "evidence_lost", key.camera, {"error": str(error)})

    def _store_image(self, key: FrameKey, image: bytes, inspection: Inspection | None) -> None:
        heatmap = _fail_heatmap(key, image, inspection)
        relative = self._evidence.write(key, image, heatmap)
        with self._ledger.transaction():
            self._ledger.set_evidence(key, relative)
        if heatmap is not None and self._config.mqtt.heatmaps == "fail":
            self._publisher.heatmap(key, heatmap)

    def _every_second(self, moment: Moment) -> None:
        if moment.monotonic_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns = moment.monotonic_ns + HEARTBEAT_NS
            self._publisher.heartbeat()
        if moment.monotonic_ns >= self._next_summary_ns:
            self._next_summary_ns = moment.monotonic_ns + SUMMARY_NS
            self._log_summary()

    def _log_summary(self) -> None:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items()))
        log.info("%s, %d open; %s", self._gate.state, self._gate.open_frames, counts or "no frames")

    def _refuse(self, work: _Pass, what: str, error: WireError) -> None:
        log.warning("refused %s: %s", what, error)
        self._ledger.add_event(work.moment.utc, "message_refused", None, {"error": str(error)})


def _fail_heatmap(key: FrameKey, image: bytes, inspection: Inspection | None) -> bytes | None:
    """Render the overlay of a failed frame; other frames have nothing above the threshold."""
    if inspection is None or inspection.verdict != "FAIL":
        return None
    scores, level, affine = inspection.patch_scores, inspection.map_level, inspection.affine
    if scores is None or level is None or affine is None:
        return None
    return encode_png(overlay(decode_8bit(image, str(key)), scores, level, affine))


def run_gate(config: Config, *, supervised: bool) -> None:
    """Run the gate until it is told to stop."""
    stop = stage_stop_flag(supervised=supervised)
    context: Context = zmq.Context()
    loop = GateLoop(config, SystemClock(), context)
    announce_ready(supervised=supervised)
    try:
        loop.run(stop.is_set)
    finally:
        loop.close()
        context.term()
