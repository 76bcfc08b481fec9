"""The gate's part of a recording: what the scorer did, in its own order, and each result.

A pass is recorded after its commit and after it is told, so that what is recorded is what
the ledger has. Within a pass, what was heard from the scorer comes first, in the order in
which it was heard; it all comes over one connection, which keeps the scorer's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from edge.recording_lines import (
    GateSaid,
    Inspected,
    OrderDone,
    RecipeSaid,
    Result,
    ScorerSaid,
)
from edge.wire import ScorerUp
from pipeline.inspection import Inspection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.recorder import Recorder, RecordingFault
    from pipeline.gate import Gate
    from pipeline.gate_pass import Pass
    from pipeline.results import FrameResult, LineIdentity, Moment
    from pipeline.scorer_link import Answered

CLOSE_LIMIT_S = 0.1
"""Lines are written in far less, and the gate has 1.7 s to stop."""
FIGURES = set(Inspected.model_fields) - {"kind", "camera", "boot", "seq"}


class LineRecorder:
    """Writes the line of a recording as the gate goes on."""

    def __init__(self, recorder: Recorder, gate: Gate, identity: LineIdentity, now: Moment) -> None:
        """Begin with the start of this gate; ``recorder`` is closed with it."""
        self._recorder = recorder
        self._gate = gate
        self._identity = identity
        self._recipe = gate.recipe
        self._scorer: ScorerUp | None = None
        """The scorer that is there, as it came."""
        self._say_gate("started", now)

    def tell(self, work: Pass, results: Iterable[FrameResult]) -> None:
        """Record a pass that is committed; ``results`` are as they finally are."""
        for heard in work.heard:
            if isinstance(heard, Inspection):
                self._recorder.put(inspected_line(heard))
            elif isinstance(heard, ScorerUp):
                self._hear_scorer(heard, work.moment)
            else:
                self._recorder.put(order_line(heard))
        self._see_gate(work.moment)
        for result in results:
            self._recorder.put(result_line(result))

    def take_faults(self) -> list[RecordingFault]:
        """Return what the ledger should know, once."""
        return self._recorder.take_faults()

    def close(self, now: Moment) -> None:
        """End with the stop of this gate."""
        self._say_gate("stopped", now)
        self._recorder.close(CLOSE_LIMIT_S)

    def _say_gate(self, event: Literal["started", "stopped"], now: Moment) -> None:
        self._recorder.put(
            GateSaid(
                event=event,
                at=now.utc,
                boot=self._identity.gate_boot,
                config_digest=self._identity.config_hash,
                recipe=self._gate.recipe,
            )
        )

    def _hear_scorer(self, up: ScorerUp, now: Moment) -> None:
        """Record a scorer once, though it says all the time that it is there."""
        if self._scorer is None or up.scorer != self._scorer.scorer:
            self._recorder.put(
                ScorerSaid(
                    event="up", at=now.utc, scorer=up.scorer, model=up.model, recipe=up.recipe
                )
            )
            self._scorer = up

    def _see_gate(self, now: Moment) -> None:
        """Record what this pass has changed in the gate's mind."""
        if self._gate.recipe != self._recipe:
            self._recipe = self._gate.recipe
            self._recorder.put(RecipeSaid(recipe=self._recipe, at=now.utc, at_ns=now.monotonic_ns))
        if self._scorer is not None and not self._gate.has_scorer:
            event: Literal["lost", "left"] = "lost" if self._gate.scorer_down else "left"
            self._recorder.put(ScorerSaid(event=event, at=now.utc, scorer=self._scorer.scorer))
            self._scorer = None


def inspected_line(inspection: Inspection) -> Inspected:
    """Return what is recorded of an inspection: what a replay must come to again."""
    key = inspection.announcement.key
    return Inspected(
        camera=key.camera,
        boot=key.boot,
        seq=key.seq,
        **inspection.model_dump(include=FIGURES),
    )


def order_line(answered: Answered) -> OrderDone:
    """Return what is recorded of an order that the scorer has answered."""
    order, note = answered.order, answered.note
    return OrderDone(
        order=note.order,
        verb=order.verb if order else None,
        recipe=order.recipe if order else None,
        camera=order.camera if order else None,
        boot=order.boot if order else None,
        seq=order.seq if order else None,
        txn=answered.txn,
        ok=note.ok,
        code=note.code,
        detail=note.detail,
    )


def result_line(result: FrameResult) -> Result:
    """Return what is recorded of a frame's result."""
    key = result.key
    return Result(
        camera=key.camera,
        boot=key.boot,
        seq=key.seq,
        part_id=result.announcement.part_id,
        verdict=result.verdict,
        why=result.why,
        detail=result.detail,
        recipe=result.recipe,
        scored=result.inspection is not None,
    )
