"""From views to parts: FAIL if any view fails, PASS only if every view passes.

A part is open from its first view until all views are in or the first view's
deadline has passed; then it gets its one verdict. A view that comes later is
in the ledger, but changes nothing. Knows nothing of sockets or databases.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.results import FrameResult, Moment, PartVerdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.contract import Verdict, Why
    from edge.frame import FrameKey

REMEMBERED_PARTS = 1024
"""Closed parts whose late views are still recognised."""
SEVERITY: dict[Verdict, int] = {"FAIL": 2, "NO_RESULT": 1, "PASS": 0}
NO_PICTURE: frozenset[Why] = frozenset({"missed_trigger", "camera_lost"})
"""Of such a frame there is a result and no picture: its view is missing."""


@dataclass(slots=True)
class _OpenPart:
    due_ns: int
    results: dict[str, FrameResult] = field(default_factory=dict)


class PartAssembler:
    """Combines frame results into part verdicts."""

    def __init__(self, views: Sequence[str], deadline_ms: int) -> None:
        """Expect each of ``views`` once a part, within ``deadline_ms`` of the first capture."""
        self._views = tuple(views)
        self._deadline_ns = deadline_ms * 1_000_000
        self._open: OrderedDict[str, _OpenPart] = OrderedDict()
        self._closed: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._part_seq = 0

    @property
    def single_view(self) -> bool:
        """Tell whether a part is one frame."""
        return len(self._views) == 1

    def add(self, result: FrameResult, now: Moment) -> list[PartVerdict]:
        """Take a frame result; return the part verdicts that it completes."""
        camera, part_id = result.announcement.camera, result.announcement.part_id
        if camera not in self._views:
            return []
        verdicts: list[PartVerdict] = []
        part = self._open.get(part_id)
        if part is not None and camera in part.results:
            # The same view again is another part under a reused id.
            verdicts.append(self._close(part_id, now))
            part = None
        if part is None:
            missing_from_closed = self._closed.get(part_id)
            if missing_from_closed is not None and camera in missing_from_closed:
                self._closed[part_id] = missing_from_closed - {camera}
                return verdicts
            part = _OpenPart(result.announcement.captured_ns + self._deadline_ns)
            self._open[part_id] = part
        # The first capture counts, whichever view was judged first.
        part.due_ns = min(part.due_ns, result.announcement.captured_ns + self._deadline_ns)
        part.results[camera] = result
        if len(part.results) == len(self._views):
            verdicts.append(self._close(part_id, now))
        return verdicts

    def recall(self, part_id: str, seen_by: Iterable[str]) -> None:
        """Remember a part that an earlier gate closed with only these views."""
        self._closed[part_id] = frozenset(self._views) - frozenset(seen_by)

    def due(self, now: Moment) -> list[PartVerdict]:
        """Close the parts whose deadline has passed."""
        late = [part_id for part_id, part in self._open.items() if part.due_ns <= now.monotonic_ns]
        return [self._close(part_id, now) for part_id in late]

    def close_all(self, now: Moment) -> list[PartVerdict]:
        """Close every open part, at the end of the line."""
        return [self._close(part_id, now) for part_id in list(self._open)]

    def next_due_ns(self) -> int | None:
        """Return when the next part must be closed, or None."""
        return min((part.due_ns for part in self._open.values()), default=None)

    def waiting(self) -> set[FrameKey]:
        """Return the frames whose part waits for other views."""
        return {result.key for part in self._open.values() for result in part.results.values()}

    def _close(self, part_id: str, now: Moment) -> PartVerdict:
        results = self._open.pop(part_id).results
        self._closed[part_id] = frozenset(self._views) - results.keys()
        self._closed.move_to_end(part_id)
        while len(self._closed) > REMEMBERED_PARTS:
            self._closed.popitem(last=False)
        self._part_seq += 1
        first = min(results.values(), key=lambda result: result.announcement.captured_ns)
        worst = max(results.values(), key=lambda result: SEVERITY[result.verdict])
        seen = len(results)
        if not self.single_view:
            seen -= sum(result.why in NO_PICTURE for result in results.values())
        verdict, why, decider = _decide(worst, complete=seen == len(self._views))
        return PartVerdict(
            part_id=part_id,
            part_seq=self._part_seq,
            views=len(self._views),
            seen=seen,
            worst=decider,
            first=first,
            frames=tuple(result.key for result in results.values()),
            verdict=verdict,
            why=why,
            decided_at=now.utc,
            latency_ms=max(0, now.monotonic_ns - first.announcement.captured_ns) // 1_000_000,
        )


def _decide(worst: FrameResult, *, complete: bool) -> tuple[Verdict, Why, FrameResult | None]:
    if worst.verdict == "FAIL" or complete:
        return worst.verdict, worst.why, worst
    return "NO_RESULT", "missing_view", None
