"""The same passes written by hand with sqlite3: the least that stores the same rows.

Same tables, same journal mode, same synchronous, statements written out. The values
of a pass (times, JSON of the messages, compressed heatmap) are made in its
transaction, as the gate makes them, or lie ready. Left out beside the gate's own
passes are the looks whether a row is there already and, after the commit, the check
for results that came too late and the note of what is on its way to the broker.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.bench_commits import IDENTITY, NOW
from pipeline.ledger import Ledger
from pipeline.results import frame_columns, frame_message, part_message, part_row, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeline.bench_commits import Batch, Synchronous
    from pipeline.results import FrameResult

Row = tuple[Any, ...]

OPEN = (
    "insert into verdicts (camera, boot, seq, part_id, origin, captured_at, captured_ns) "
    "values (?, ?, ?, ?, ?, ?, ?)"
)
CLOSE = (
    "update verdicts set decided_at = ?, verdict = ?, code = ?, reason = ?, detail = ?, "
    "state = ?, latency_ms = ?, recipe = ?, config_hash = ?, score = ?, rescored = ?, "
    "threshold = ?, window_n = ?, window_size = ?, admitted = ?, admission = ?, "
    "warn = ?, p_value = ?, model = ?, compute_ms = ? "
    "where camera = ? and boot = ? and seq = ? and verdict is null"
)
HEATMAP = (
    "insert into heatmaps (camera, boot, seq, rows, columns, scores, affine, level) "
    "values (?, ?, ?, ?, ?, ?, ?, ?)"
)
PART = (
    "insert into parts (boot, part_seq, part_id, captured_at, decided_at, verdict, code, reason, "
    "views, seen, worst_camera, worst_boot, worst_seq, latency_ms, config_hash) "
    "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
PUT = "insert into outbox (topic, payload, captured_at, created_at) values (?, ?, ?, ?)"
DELETE = "delete from outbox where id = ?"


@dataclass(slots=True)
class RawBatch:
    """The rows of one batch, in the order of their statements' question marks."""

    closed: list[Row] = field(default_factory=list)
    heatmaps: list[Row] = field(default_factory=list)
    parts: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)


class RawPasses:
    """Passes on an empty ledger that no code of the ledger touches once it is made."""

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        batches: Sequence[Batch],
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        *,
        ready: bool = False,
    ) -> None:
        """Create the ledger and open the rows of the first batch.

        Args:
            path: File that is not there yet.
            synchronous: As the ledger's.
            batches: One a pass.
            clock_ns: Nanoseconds.
            ready: Make all values now, and not in the passes.

        Raises:
            LedgerError: The path is not writable.
        """
        self.commits_ns: list[int] = []
        """From begin to the end of the commit, a pass each."""
        self._clock_ns = clock_ns
        self._batches = batches
        self._made = [*map(_raw_batch, batches)] if ready else None
        self._done = 0
        self._confirmed: list[int] = []
        Ledger(path, synchronous, IDENTITY).close()
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute(f"pragma synchronous = {synchronous}")
        self._db.execute("begin immediate")
        self._open(0)
        self._db.execute("commit")

    def run(self, passes: int) -> None:
        """Do the next passes."""
        for _ in range(passes):
            begin_ns = self._clock_ns()
            self._db.execute("begin immediate")
            self._open(self._done + 1)
            self._write(self._done)
            self._db.execute("commit")
            self.commits_ns.append(self._clock_ns() - begin_ns)
            self._done += 1

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self, number: int) -> None:
        for result in self._batches[number].results if number < len(self._batches) else ():
            self._db.execute(OPEN, _opened(result))

    def _write(self, number: int) -> None:
        batch = self._made[number] if self._made else _raw_batch(self._batches[number])
        execute = self._db.execute
        for row in batch.closed:
            execute(CLOSE, row)
        for row in batch.heatmaps:
            execute(HEATMAP, row)
        for row in batch.parts:
            execute(PART, row)
        confirmed, self._confirmed = self._confirmed, []
        for row in batch.messages:
            self._confirmed.append(execute(PUT, row).lastrowid or 0)
        for message in confirmed:
            execute(DELETE, (message,))


def _opened(result: FrameResult) -> Row:
    note = result.announcement
    captured_at = timestamp(note.captured_at)
    return *_key(result), note.part_id, note.origin, captured_at, note.captured_ns


def _raw_batch(batch: Batch) -> RawBatch:
    raw = RawBatch()
    for part in batch.parts:
        raw.parts.append(tuple(part_row(part, IDENTITY).values()))
        message = part_message(part, IDENTITY).payload()
        raw.messages.append(_message("part", message, part.first))
    for result in batch.results:
        raw.closed.append((*frame_columns(result, IDENTITY).values(), *_key(result)))
        raw.heatmaps += _heatmaps(result)
        message = frame_message(result, IDENTITY).payload()
        raw.messages.append(_message("verdict", message, result))
    return raw


def _key(result: FrameResult) -> Row:
    note = result.announcement
    return note.camera, note.boot, note.seq


def _message(topic: str, payload: bytes, result: FrameResult) -> Row:
    captured_at = timestamp(result.announcement.captured_at)
    return topic, payload, captured_at, timestamp(NOW.utc)


def _heatmaps(result: FrameResult) -> list[Row]:
    seen = result.inspection
    if seen is None or seen.patch_scores is None:
        return []
    scores = zlib.compress(seen.patch_scores.astype("<f2").tobytes())
    grid = seen.patch_scores.shape
    return [(*_key(result), *grid, scores, json.dumps(seen.affine), seen.map_level)]
