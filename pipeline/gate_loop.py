"""The gate process: sockets and clock around the gate's decisions.

Each pass takes what has arrived, decides, commits everything in one
transaction, and only then tells it. Images are another thread's work and never
delay a verdict, and neither does a broker that is away.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from typing import TYPE_CHECKING

import zmq

from edge.contract import Topics
from edge.wakeup import Wakeup
from pipeline.alarm_conditions import LineSight
from pipeline.broker_login import broker_settings
from pipeline.command_desk import CommandDesk
from pipeline.command_verbs import LineVerbs
from pipeline.disk import free_disk_bytes
from pipeline.evidence import EvidenceStore
from pipeline.evidence_worker import EvidenceWorker
from pipeline.gate import Gate
from pipeline.gate_intake import Intake
from pipeline.gate_pass import Pass
from pipeline.gate_sockets import GateSockets
from pipeline.journal import Journal
from pipeline.ledger import Ledger, LedgerBusyError, LedgerError
from pipeline.line_memory import LineMemory
from pipeline.line_recorder import LineRecorder
from pipeline.outbox import Outbox
from pipeline.parts import PartAssembler
from pipeline.publisher import Publisher
from pipeline.recovery import Recovery
from pipeline.results import LineIdentity, Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.contract import State
    from edge.frame import FrameKey
    from edge.recorder import Recorder
    from edge.sockets import Context
    from pipeline.config import Config

log = logging.getLogger(__name__)

POLL_MS = 50
HEARTBEAT_NS = 1_000_000_000
SUMMARY_NS = 10_000_000_000
DISK_NS = 5_000_000_000
COUNTS_NS = 5_000_000_000
FAULT_POLL_MS = 200
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
        self,
        config: Config,
        clock: Clock,
        context: Context,
        on_confirmed: Callable[[FrameKey, int], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Open ledger, evidence and sockets; the broker is connected to in the background.

        ``on_confirmed`` is the publisher's. A ``recorder`` gets what the line does.

        Raises:
            LedgerError: The ledger is not writable.
            EvidenceError: The evidence folder is not writable.
            EndpointError: An endpoint cannot be bound.
            KeysError: The keys of the line cannot be read.
            BrokerError: The login or the certificates cannot be read.
        """
        self._config = config
        self._clock = clock
        now = self._moment()
        deadline_ms, deciding, line = config.part.deadline_ms, config.judge.score, config.line
        boot = secrets.token_hex(8)
        identity = LineIdentity(config.digest, boot, deadline_ms, deciding)
        self._identity = {"boot": boot, "cfg": config.digest}
        topics = Topics(config.mqtt.prefix, line.site, line.area, line.line, line.station)
        self._wakeup = Wakeup()
        settings = broker_settings(config.mqtt, f"gate-{boot}")
        self._publisher = Publisher(settings, topics, identity, on_confirmed)
        self._ledger = Ledger(config.ledger.path, config.ledger.synchronous, identity)
        memory = LineMemory(self._ledger.db)
        self._gate = Gate(
            deadline_ms, config.window.min_peers, deciding, memory.recipe(line.recipe)
        )
        self._parts = PartAssembler(config.views, deadline_ms)
        self._evidence = EvidenceWorker(
            EvidenceStore(config.evidence.path, config.evidence.max_bytes)
        )
        self._sockets = GateSockets.bind(config, context)
        cameras = [camera.id for camera in config.camera]
        self._recovery = Recovery(self._gate, self._parts, self._ledger)
        self._intake = Intake(
            self._gate, self._parts, self._ledger, self._recovery, clock, self._sockets, cameras
        )
        self._outbox = Outbox(self._ledger.db, config.outbox, now.monotonic_ns)
        self._recorder = LineRecorder(recorder, self._gate, identity, now) if recorder else None
        self._journal = Journal(
            config, self._ledger, memory, self._outbox, self._parts, self._evidence,
            self._publisher, self._moment, recorder=self._recorder,
        )  # fmt: skip
        self._alarms = memory.alarm_book(config.alarm, self._ledger, now)
        self._verbs = LineVerbs(
            config, self._gate, self._alarms, self._intake.scorer, self._ledger, memory,
            self._intake.cameras,
        )  # fmt: skip
        self._desk = CommandDesk(topics, self._ledger, memory, self._wakeup.set, now.monotonic_ns)
        self._free_bytes: int | None = None
        self._busy = False
        self._broker_was_there: bool | None = None
        """None until it was there once."""
        self._next_heartbeat_ns = self._next_summary_ns = self._next_disk_ns = 0
        self._next_counts_ns = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Close what an earlier gate left open, then work until ``stop``.

        Raises:
            LedgerError: The ledger could not be written, as when the disk is full;
                raised when it can be again. What was in hand is lost here, not
                in the rows that are still open nor in ingest's notices.
        """
        for name, state in self._alarms.states.items():
            self._publisher.alarm(name, state)
        self._publisher.start(self._desk.receive)
        poller = self._poller()
        try:
            while not stop() and not self._begin():
                continue  # each try waits for the lock
            while not stop():
                poller.poll(self._wait_ms())
                self.step()
        except LedgerError as error:
            self._wait_in_fault(error, stop)
            raise
        until = self._clock.monotonic_ns() + DRAIN_LIMIT_NS
        while poller.poll(QUIET_MS) and self._clock.monotonic_ns() < until:
            self.step()
        work = self._new_pass()
        self._intake.close_all(work)
        self._commit_last(work, "gate_stopped")
        self._evidence.close(EVIDENCE_LIMIT_S)
        self._commit_last(self._new_pass())

    def step(self) -> None:
        """One pass: take, decide, commit, tell."""
        self._wakeup.clear()
        work = self._new_pass()
        try:
            with self._ledger.transaction():
                self._intake.take_all(work)
                self._take_commands(work)
                self._conclude(work)
        except LedgerBusyError as error:
            # Nothing was taken from the sockets yet: the next pass tries again.
            self._note_busy(error)
            return
        self._busy = False
        self._tell(work)
        for image in work.images:
            self._evidence.put(*image)
        self._every_second(work.moment)

    def close(self, last: State = "STOPPED") -> None:
        """Publish the last state, wait for the broker's confirmations, let go of everything."""
        self._publisher.close(CONFIRM_LIMIT_S, last)
        with contextlib.suppress(LedgerError), self._ledger.transaction():
            self._journal.settle_outbox(self._moment())
        if self._outbox.waiting > 0:
            log.warning("%d messages are kept for the next start", self._outbox.waiting)
        self._log_summary()
        if self._recorder is not None:
            self._recorder.close(self._moment())
        self._sockets.close()
        self._ledger.close()
        self._wakeup.close()

    def _wait_in_fault(self, error: LedgerError, stop: Callable[[], bool]) -> None:
        """Say FAULT, and nothing else, until the ledger can be written or the line stops.

        What cannot be written must not be said; the PLC rejects every part meanwhile.
        """
        log.error("%s; no part has a result until it can be written", error)
        self._publisher.state("FAULT")
        poller = zmq.Poller()
        poller.register(self._wakeup.fileno(), zmq.POLLIN)
        while not stop():
            poller.poll(FAULT_POLL_MS)
            self._wakeup.clear()
            now = self._moment()
            try:
                with self._ledger.transaction():
                    self._ledger.add_event(now.utc, "ledger_failed", None, {"error": str(error)})
            except LedgerError:
                self._every_second(now)
            else:
                return

    def _begin(self) -> bool:
        """Close what an earlier gate left open; False while another program writes."""
        work = self._new_pass()
        try:
            with self._ledger.transaction():
                self._recovery.settle_leftovers(work)
                self._ledger.add_event(work.moment.utc, "gate_started", None, self._identity)
                self._conclude(work)
        except LedgerBusyError as error:
            self._note_busy(error)
            return False
        self._tell(work)
        return True

    def _note_busy(self, error: LedgerBusyError) -> None:
        """Log once that another program writes."""
        if not self._busy:
            log.error("%s; waiting for it", error)
        self._busy = True

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        self._sockets.register(poller)
        poller.register(self._wakeup.fileno(), zmq.POLLIN)
        return poller

    def _wait_ms(self) -> int:
        due = [self._gate.next_due_ns(), self._parts.next_due_ns(), self._next_heartbeat_ns]
        first = min(moment for moment in due if moment is not None)
        # Rounded up: a pass a fraction of a millisecond early would only spin.
        return max(0, min(POLL_MS, -((self._clock.monotonic_ns() - first) // 1_000_000)))

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.monotonic_ns())

    def _new_pass(self) -> Pass:
        return Pass(self._moment())

    def _take_commands(self, work: Pass) -> None:
        work.answers += self._desk.take(self._verbs, work.moment)
        for ordered in work.ordered:
            result = self._desk.finish(ordered, work.moment)
            work.answers += [result] if result is not None else []

    def _conclude(self, work: Pass) -> None:
        """Let the alarms see the pass, and write it."""
        work.transitions += self._verbs.transitions
        work.told_parts += self._verbs.told_parts
        self._verbs.transitions, self._verbs.told_parts = [], []
        for part in work.parts:
            self._alarms.part(part.verdict, part.why, work.moment)
        cameras_known = self._intake.cameras.all_known(work.moment.monotonic_ns)
        sight = LineSight(
            cameras_lost=self._gate.cameras_lost if cameras_known else None,
            scorer_down=self._gate.scorer_down,
            free_bytes=self._free_bytes,
            regime_change=self._gate.degraded,
        )
        work.transitions += self._alarms.update(sight, work.moment)
        self._note_broker(work.moment)
        self._journal.write(work)

    def _note_broker(self, now: Moment) -> None:
        """Make an event of a broker that goes or comes back."""
        connected = self._publisher.connected
        if connected == self._broker_was_there or (
            self._broker_was_there is None and not connected
        ):
            return
        if self._broker_was_there is not None:
            kind = "broker_back" if connected else "broker_lost"
            detail = {"messages_kept": max(0, self._outbox.waiting), "why": self._publisher.fault}
            self._ledger.add_event(now.utc, kind, None, detail)
        self._broker_was_there = connected

    def _commit_last(self, work: Pass, event: str = "") -> None:
        """Commit at the end, within a limit; the next gate closes what stays open."""
        until = self._clock.monotonic_ns() + LAST_COMMIT_NS
        while True:
            try:
                with self._ledger.transaction():
                    self._journal.write(work)
                    if event:
                        self._ledger.add_event(work.moment.utc, event, None, self._identity)
                break
            except LedgerBusyError as error:
                if self._clock.monotonic_ns() > until:
                    log.error("%s; %d results stay open", error, len(work.results))
                    return
        self._tell(work)

    def _tell(self, work: Pass) -> None:
        self._intake.acknowledge(work)
        self._intake.tell_parts(work)
        self._journal.tell(work)
        self._journal.drain()
        for camera, state in self._intake.cameras.states(work.moment.monotonic_ns).items():
            self._publisher.camera(camera, state)
        self._publisher.state(self._gate.state)
        if self._verbs.rebirth_is_due:
            self._verbs.rebirth_is_due = False
            self._publisher.rebirth()

    def _every_second(self, moment: Moment) -> None:
        now_ns = moment.monotonic_ns
        if now_ns >= self._next_heartbeat_ns:
            self._next_heartbeat_ns = now_ns + HEARTBEAT_NS
            self._publisher.heartbeat()
        if now_ns >= self._next_counts_ns:
            self._next_counts_ns = now_ns + COUNTS_NS
            for camera, counts in self._intake.cameras.counts().items():
                self._publisher.camera_counts(camera, counts)
        if now_ns >= self._next_disk_ns:
            self._next_disk_ns = now_ns + DISK_NS
            self._free_bytes = free_disk_bytes(
                self._config.ledger.path.parent, self._config.evidence.path
            )
        if now_ns >= self._next_summary_ns:
            self._next_summary_ns = now_ns + SUMMARY_NS
            self._log_summary()

    def _log_summary(self) -> None:
        counts = ", ".join(f"{name} {n}" for name, n in sorted(self._journal.counts.items()))
        kept = f"; broker {self._publisher.fault}" if self._publisher.fault else ""
        kept += f"; {self._outbox.waiting} messages kept" if self._outbox.waiting > 0 else ""
        state, still_open = self._gate.state, self._gate.open_frames
        log.info("%s, %d open; %s%s", state, still_open, counts or "no frames", kept)
