"""The gate process: sockets and clock around the gate's decisions.

Each pass takes what has arrived, decides, commits everything in one
transaction, and only then acknowledges to ingest and publishes: what the plant
hears is on disk, and what ingest forgets is, too. A PASS that took too long to
reach the disk is said as NO_RESULT, and corrected there. Images are another
thread's work and never delay a verdict.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import zmq

from edge.clock import Clock, SystemClock
from edge.contract import Topics
from edge.sockets import (
    HIGH_WATER_IMAGES,
    Context,
    PeerWatch,
    bind_router,
    try_send,
)
from edge.stopping import announce_ready, stage_stop_flag
from edge.wire import (
    encode_note,
)
from pipeline.evidence import EvidenceStore
from pipeline.evidence_worker import EvidenceWorker
from pipeline.gate import Gate, part_too_late, too_late
from pipeline.gate_intake import GateSockets, Intake, Pass
from pipeline.ledger import Ledger, LedgerBusyError
from pipeline.parts import PartAssembler
from pipeline.publisher import Publisher, broker_settings
from pipeline.results import FrameResult, LineIdentity, Moment, PartVerdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import Config

log = logging.getLogger(__name__)

POLL_MS = 50
HEARTBEAT_NS = 1_000_000_000
SUMMARY_NS = 10_000_000_000
QUIET_MS = 100
"""At the end the gate listens for inspections until it is quiet for so long."""
DRAIN_LIMIT_NS = 400_000_000
LAST_COMMIT_NS = 300_000_000
EVIDENCE_LIMIT_S = 0.2
CONFIRM_LIMIT_S = 0.3
"""The limits of the end; together below the 1.7 s that the supervisor allows."""


class GateLoop:
    """Joins announcements and inspections into results, once and in time."""

    def __init__(
        self, config: Config, clock: Clock, context: Context, *, broker_required: bool = True
    ) -> None:
        """Open ledger, evidence and sockets, and connect to the broker.

        A gate that comes back (``broker_required`` False) closes frames into
        the ledger even while the broker is away.

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
        deciding = config.judge.score
        identity = LineIdentity(config.line.recipe, config.digest, boot, deadline_ms, deciding)
        self._gate = Gate(deadline_ms, config.window.min_peers, deciding)
        self._parts = PartAssembler(config.views, deadline_ms)
        self._ledger = Ledger(config.ledger.path, config.ledger.synchronous, identity)
        self._evidence = EvidenceWorker(
            EvidenceStore(config.evidence.path, config.evidence.max_bytes)
        )
        self._notices = bind_router(context, config.endpoint("notices"))
        self._inspections = bind_router(context, config.endpoint("inspections"), HIGH_WATER_IMAGES)
        self._scorers = PeerWatch(self._inspections)
        sockets = GateSockets(self._notices, self._inspections, self._scorers)
        self._intake = Intake(self._gate, self._parts, self._ledger, clock, sockets)
        line = config.line
        topics = Topics(config.mqtt.prefix, line.site, line.area, line.line, line.station)
        self._publisher = Publisher(broker_settings(config.mqtt, f"gate-{boot}"), topics, identity)
        self._publisher.connect(required=broker_required)
        self._busy = False
        # A PASS that came too late to be said was said as NO_RESULT; the next pass corrects it.
        self._unheard_frames: list[FrameResult] = []
        self._unheard_parts: list[PartVerdict] = []
        self._counts: Counter[str] = Counter()
        self._next_heartbeat_ns = self._next_summary_ns = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Close what an earlier gate left open, then work until ``stop``."""
        work = self._new_pass()
        with self._ledger.transaction():
            self._intake.settle_leftovers(work)
            self._write(work)
        self._tell(work)
        poller = self._poller()
        while not stop():
            poller.poll(self._wait_ms())
            self.step()
        until = self._clock.monotonic_ns() + DRAIN_LIMIT_NS
        while poller.poll(QUIET_MS) and self._clock.monotonic_ns() < until:
            self.step()
        work = self._new_pass()
        self._intake.close_all(work)
        self._commit_last(work)
        self._evidence.close(EVIDENCE_LIMIT_S)
        self._commit_last(self._new_pass())

    def step(self) -> None:
        """One pass: take, decide, commit, acknowledge, publish."""
        work = self._new_pass()
        try:
            with self._ledger.transaction():
                self._intake.take_all(work)
                self._write(work)
        except LedgerBusyError as error:
            # Nothing was taken from the sockets yet: the next pass tries again.
            if not self._busy:
                log.error("%s; waiting for it", error)
            self._busy = True
            return
        self._busy = False
        self._unheard_frames, self._unheard_parts = [], []
        self._tell(work)
        for image in work.images:
            self._evidence.put(*image)
        self._every_second(work.moment)

    def close(self) -> None:
        """Publish STOPPED, wait for the broker's confirmations, let go of everything."""
        self._publisher.close(CONFIRM_LIMIT_S)
        if self._publisher.unsent:
            log.warning("MQTT: %d messages not confirmed by the broker", self._publisher.unsent)
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

    def _new_pass(self) -> Pass:
        return Pass(self._intake.moment())

    def _write(self, work: Pass) -> None:
        for late in self._unheard_frames:
            self._ledger.revoke_pass(late)
        for late_part in self._unheard_parts:
            self._ledger.revoke_part_pass(late_part)
        for result in work.results:
            self._ledger.close_frame(result)
        for part in work.parts:
            self._ledger.close_part(part)
        work.stored = self._evidence.collect()
        for one in work.stored:
            if one.path is not None:
                self._ledger.set_evidence(one.key, one.path)
                continue
            log.error("evidence of %s: %s", one.key, one.error)
            detail = {"boot": one.key.boot, "seq": one.key.seq, "error": one.error}
            self._ledger.add_event(work.moment.utc, "evidence_lost", one.key.camera, detail)

    def _commit_last(self, work: Pass) -> None:
        """Commit at the end, within a limit; what cannot be written is said all the same.

        A row that stays open is closed as ``gate_restart`` by the next gate.
        """
        until = self._clock.monotonic_ns() + LAST_COMMIT_NS
        while True:
            try:
                with self._ledger.transaction():
                    self._write(work)
                self._unheard_frames, self._unheard_parts = [], []
                break
            except LedgerBusyError as error:
                if self._clock.monotonic_ns() > until:
                    log.error("%s; %d results stay open", error, len(work.results))
                    break
        self._tell(work)

    def _tell(self, work: Pass) -> None:
        for identity, ack in work.acknowledgements:
            try_send(self._notices, [identity, encode_note(ack)])
        # A frame is judged late at the moment its part was: the two must not contradict each other.
        told: dict[str, Moment] = {}
        for part in work.parts:
            told[part.part_id] = self._intake.moment()
            self._tell_part(part, told[part.part_id])
        for result in work.results:
            now = told.get(result.announcement.part_id) or self._intake.moment()
            self._tell_frame(result, now)
            self._counts[result.verdict if result.verdict != "NO_RESULT" else result.why] += 1
        for one in work.stored:
            if one.heatmap is not None and self._config.mqtt.heatmaps == "fail":
                self._publisher.heatmap(one.key, one.heatmap)
        self._publisher.state(self._gate.state)

    def _tell_part(self, part: PartVerdict, now: Moment) -> None:
        """Publish a part verdict; a PASS whose deadline has passed by now as NO_RESULT."""
        late = part_too_late(part, self._config.part.deadline_ms, now)
        if late is not None:
            self._unheard_parts.append(late)
        self._publisher.part(late or part)

    def _tell_frame(self, result: FrameResult, now: Moment) -> None:
        """Publish a frame result, as :meth:`_tell_part`."""
        late = too_late(result, self._config.part.deadline_ms, now)
        if late is not None:
            self._unheard_frames.append(late)
        self._publisher.frame(late or result)

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


def run_gate(config: Config, *, supervised: bool, again: bool = False) -> None:
    """Run the gate until it is told to stop; ``again`` after an earlier gate of the same line."""
    stop = stage_stop_flag(supervised=supervised)
    context: Context = zmq.Context()
    loop = GateLoop(config, SystemClock(), context, broker_required=not again)
    announce_ready(supervised=supervised)
    try:
        loop.run(stop.is_set)
    finally:
        loop.close()
        context.term()
