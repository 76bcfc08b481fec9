"""What an earlier gate or an earlier ingest left behind, brought to its one result.

A gate that was killed leaves open rows and half-seen parts; an ingest that was
killed leaves numbers that it counted and never announced. All of them get a
result from whoever comes next, so that the account balances.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.frame import Announcement
from pipeline.parts import REMEMBERED_PARTS

if TYPE_CHECKING:
    from edge.frame import FrameKey
    from edge.wire import Begins
    from pipeline.gate import Gate
    from pipeline.gate_pass import Pass
    from pipeline.ledger import Ledger
    from pipeline.parts import PartAssembler
    from pipeline.results import FrameResult, Moment

GAP_FRAMES = 256
"""Frames of a gap that one pass closes: some milliseconds of work."""


class Recovery:
    """Closes what was left open; works inside the transaction of one pass."""

    def __init__(self, gate: Gate, parts: PartAssembler, ledger: Ledger) -> None:
        """Work on the gate's state and the open ledger."""
        self._gate = gate
        self._parts = parts
        self._ledger = ledger
        self._begun: dict[str, Begins] = {}
        """The latest start of each camera; frames up to its count are closed, or being closed."""

    def settle_leftovers(self, work: Pass) -> None:
        """Close the frames and parts that an earlier gate left open."""
        if not self._parts.single_view:
            for part_id, seen_by in self._ledger.parts_short_of_views(REMEMBERED_PARTS):
                self._parts.recall(part_id, seen_by)
        owed = self._ledger.frames_owed_a_part()
        for seen in owed:
            work.parts += self._parts.add(self._at_restart(seen, work.moment), work.moment)
        for announcement in self._ledger.rows_left_open():
            self._gate.announce(announcement, work.moment)
            detail = "the gate was restarted before the result"
            result = self._gate.lose(announcement, "gate_restart", detail, work.moment)
            if result is not None:
                past = self._at_restart(result, work.moment)
                work.results.append(past)
                work.parts += self._parts.add(past, work.moment)
        work.parts += self._parts.close_all(work.moment)
        # Also those of a camera that is no view any more.
        self._ledger.owe_part((seen.key for seen in owed), owed=False)

    def _at_restart(self, result: FrameResult, now: Moment) -> FrameResult:
        """Return a result of an earlier gate; after a restart of the host nobody waits for it.

        The monotonic clock has begun again then, and a capture may seem to lie ahead.
        """
        return replace(result, live=result.announcement.captured_ns <= now.monotonic_ns)

    def fill_gap(self, work: Pass, note: Begins) -> bool:
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
            self._gate.announce(announcement, work.moment)
            detail = "counted, but its ingest ended before it was announced"
            lost = self._gate.lose(announcement, "camera_lost", detail, work.moment)
            if lost is not None:
                past = replace(lost, live=False)
                work.results.append(past)
                work.parts += self._parts.add(past, work.moment) if self._parts.single_view else []
        if missing:
            gap = {"first": missing[0], "frames": min(len(missing), GAP_FRAMES)}
            self._ledger.add_event(work.moment.utc, "gap_filled", note.camera, gap)
        return len(missing) <= GAP_FRAMES

    def was_filled(self, key: FrameKey) -> bool:
        """Tell whether a notice comes from an ingest that has been answered for already."""
        begun = self._begun.get(key.camera)
        if begun is None or key.boot == begun.boot or key.seq > begun.seq:
            return False
        return self._ledger.has_number(key.camera, key.seq)
