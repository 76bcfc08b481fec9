"""What the gate does with a pass: first the ledger, then the world.

``write`` runs inside the transaction and puts every result beside the messages
that tell it; ``tell`` runs after the commit. So what the plant hears is on
disk, and what the broker misses is kept. A PASS that took too long to reach
the disk is corrected there to NO_RESULT before anybody hears of it.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pipeline.gate import part_too_late, too_late
from pipeline.ledger import LedgerBusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import Config
    from pipeline.evidence_worker import EvidenceWorker
    from pipeline.gate_pass import Pass
    from pipeline.ledger import Ledger
    from pipeline.line_memory import LineMemory
    from pipeline.line_recorder import LineRecorder
    from pipeline.outbox import Outbox
    from pipeline.parts import PartAssembler
    from pipeline.publisher import Publisher
    from pipeline.results import FrameResult, Moment, PartVerdict

log = logging.getLogger(__name__)

SETTLE_NS = 1_000_000_000


class _KeptFrame(NamedTuple):
    result: FrameResult
    payload: bytes
    number: int


class _KeptPart(NamedTuple):
    part: PartVerdict
    payload: bytes
    number: int


class Journal:
    """Writes passes to the ledger and tells them."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        memory: LineMemory,
        outbox: Outbox,
        parts: PartAssembler,
        evidence: EvidenceWorker,
        publisher: Publisher,
        moment: Callable[[], Moment],
        *,
        recorder: LineRecorder | None = None,
    ) -> None:
        """Work on the open ledger; ``recorder`` gets each pass that is told."""
        self._deadline_ms = config.part.deadline_ms
        self._heatmaps = config.mqtt.heatmaps
        self._ledger = ledger
        self._memory = memory
        self._outbox = outbox
        self._parts = parts
        self._evidence = evidence
        self._publisher = publisher
        self._moment = moment
        self._recorder = recorder
        self._next_settle_ns = 0
        self._kept_frames: list[_KeptFrame] = []
        self._kept_parts: list[_KeptPart] = []
        # A PASS that was on disk too late, as what it became; the ledger is to be corrected.
        self._late_frames: list[_KeptFrame] = []
        self._late_parts: list[_KeptPart] = []
        self.counts: Counter[str] = Counter()
        """Results so far: PASS, FAIL, and NO_RESULT by reason."""

    def write(self, work: Pass) -> None:
        """Put a pass into the open transaction."""
        self._correct()
        for result in work.results:
            self._ledger.close_frame(result)
        for part in work.parts:
            self._ledger.close_part(part)
        if not self._parts.single_view:
            waiting = self._parts.waiting()
            self._ledger.owe_part(r.key for r in work.results if r.key in waiting)
        self._kept_parts = [self._keep_part(part, work.moment) for part in work.parts]
        self._kept_frames = [self._keep_frame(result, work.moment) for result in work.results]
        for transition in work.transitions:
            self._memory.keep_transition(transition)
        self._note_evidence(work)
        for fault in self._recorder.take_faults() if self._recorder else []:
            self._ledger.add_event(work.moment.utc, fault.kind, None, fault.detail)
        self._publisher.settle(self._outbox, work.moment.monotonic_ns)
        # Deleting is a write to disk: with the results, or once a second.
        if work.results or work.moment.monotonic_ns >= self._next_settle_ns:
            self.settle_outbox(work.moment)

    def tell(self, work: Pass) -> None:
        """Publish a pass that is committed."""
        self._judge_late()
        for part, payload, number in self._kept_parts:
            now_ns = self._moment().monotonic_ns
            self._publisher.part(part, payload, number, self._outbox, now_ns)
        for result, payload, number in self._kept_frames:
            now_ns = self._moment().monotonic_ns
            self._publisher.frame(result, payload, number, self._outbox, now_ns)
            self.counts[result.verdict if result.verdict != "NO_RESULT" else result.why] += 1
        if self._recorder is not None:
            self._recorder.tell(work, [kept.result for kept in self._kept_frames])
        self._kept_frames, self._kept_parts = [], []
        for one in work.stored:
            if one.heatmap is not None and self._heatmaps == "fail":
                self._publisher.heatmap(one.key, one.heatmap)
        for transition in work.transitions:
            log.warning("alarm %s: %s", transition.name, transition.after)
            self._publisher.alarm(transition.name, transition.after)
        for answer in work.answers:
            self._publisher.answer(answer)

    def drain(self) -> None:
        """Send what an outage kept back to history, as much as may go now."""
        if not self._publisher.connected or self._uncorrected():
            return
        for kept in self._outbox.due(self._moment().monotonic_ns):
            try:
                taken = self._publisher.history(kept, self._outbox)
            except ValueError as error:
                log.error("outbox: message %d is no result and is given up: %s", kept.id, error)
                self._outbox.outcome(kept.id, confirmed=True)
                continue
            if not taken:
                return

    def settle_outbox(self, now: Moment) -> None:
        """Delete from the outbox what is confirmed or over a limit; in the open transaction."""
        self._next_settle_ns = now.monotonic_ns + SETTLE_NS
        self._publisher.settle(self._outbox, now.monotonic_ns)
        for given_up in self._outbox.settle(now):
            log.error(
                "outbox.%s reached: %d messages will never be sent; the ledger has their results",
                given_up.limit,
                given_up.messages,
            )
            detail = {"messages": given_up.messages, "limit": given_up.limit}
            self._ledger.add_event(now.utc, "outbox_given_up", None, detail)

    def _keep_part(self, part: PartVerdict, now: Moment) -> _KeptPart:
        payload = self._publisher.part_payload(part)
        captured_at = part.first.announcement.captured_at
        return _KeptPart(part, payload, self._outbox.put("part", payload, now, captured_at))

    def _keep_frame(self, result: FrameResult, now: Moment) -> _KeptFrame:
        payload = self._publisher.frame_payload(result)
        captured_at = result.announcement.captured_at
        return _KeptFrame(result, payload, self._outbox.put("verdict", payload, now, captured_at))

    def _judge_late(self) -> None:
        """Turn what cannot be said in time any more into NO_RESULT, on disk first."""
        now = self._moment()
        for index, (part, _, number) in enumerate(self._kept_parts):
            late_part = part_too_late(part, self._deadline_ms, now)
            if late_part is not None:
                payload = self._publisher.part_payload(late_part)
                self._kept_parts[index] = _KeptPart(late_part, payload, number)
                self._late_parts.append(self._kept_parts[index])
        for index, (result, _, number) in enumerate(self._kept_frames):
            late = too_late(result, self._deadline_ms, now)
            if late is not None:
                payload = self._publisher.frame_payload(late)
                self._kept_frames[index] = _KeptFrame(late, payload, number)
                self._late_frames.append(self._kept_frames[index])
        if self._uncorrected():
            # Where another program writes meanwhile, the next pass corrects it.
            with suppress(LedgerBusyError), self._ledger.transaction():
                self._correct()

    def _uncorrected(self) -> bool:
        return bool(self._late_frames or self._late_parts)

    def _correct(self) -> None:
        for result, payload, number in self._late_frames:
            self._ledger.revoke_pass(result)
            self._outbox.replace(number, payload)
        for part, payload, number in self._late_parts:
            self._ledger.revoke_part_pass(part)
            self._outbox.replace(number, payload)
        self._late_frames, self._late_parts = [], []

    def _note_evidence(self, work: Pass) -> None:
        work.stored = self._evidence.collect()
        for one in work.stored:
            if one.path is not None:
                self._ledger.set_evidence(one.key, one.path)
                continue
            log.error("evidence of %s: %s", one.key, one.error)
            detail = {"boot": one.key.boot, "seq": one.key.seq, "error": one.error}
            self._ledger.add_event(work.moment.utc, "evidence_lost", one.key.camera, detail)
