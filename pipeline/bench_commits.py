"""Passes of a gate at work, without its sockets: what the ledger bench measures.

Each pass is one transaction, as the gate does it on a line that is busy all the
time: it opens the rows of the frames just announced, closes those of the pass
before with their heatmaps and parts, puts a message for each into the outbox and
deletes those that the broker has confirmed since. The code is the gate's own; the
broker confirms at once and needs no network.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge.contract import Topics
from edge.frame import Announcement
from edge.mqtt import BrokerSettings
from pipeline.config import Config
from pipeline.evidence import EvidenceStore
from pipeline.evidence_worker import EvidenceWorker
from pipeline.gate_pass import Pass
from pipeline.inspection import Inspection
from pipeline.journal import Journal
from pipeline.ledger import Ledger
from pipeline.line_memory import LineMemory
from pipeline.outbox import Outbox
from pipeline.parts import PartAssembler
from pipeline.publisher import Publisher
from pipeline.results import FrameResult, LineIdentity, Moment, PartVerdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Synchronous = Literal["FULL", "NORMAL"]

CAMERA, BOOT, MODEL, RECIPE = "c1", "0123456789abcdef", "a89d1abb", "default"
FIRST_CAPTURE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
INTERVAL, LATENCY_MS = timedelta(milliseconds=50), 120
GRID = (32, 32)
"""Patches of the default backbone's default image size."""
EVIDENCE_BYTES = 1_000_000_000
EVIDENCE_LIMIT_S = 1.0
IDENTITY = LineIdentity("91d0c0de", "b" * 16, deadline_ms=500)
NOW = Moment(FIRST_CAPTURE, 0)
"""The clock stands, so no PASS is too late and both sides store the same times."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pass closes."""

    results: tuple[FrameResult, ...]
    parts: tuple[PartVerdict, ...]


def make_batches(passes: int, results_a_pass: int, seed: int = 0) -> list[Batch]:
    """Return the results of a line that inspects every frame, a part each.

    Every result has a heatmap of GRID; one in ten is a FAIL.
    """
    random = np.random.default_rng(seed)
    parts = PartAssembler([CAMERA], IDENTITY.deadline_ms)
    batches = []
    for number in range(passes):
        first = number * results_a_pass + 1
        results = [_result(seq, random) for seq in range(first, first + results_a_pass)]
        verdicts = [part for result in results for part in parts.add(result, NOW)]
        batches.append(Batch(tuple(results), tuple(verdicts)))
    return batches


def _result(seq: int, random: np.random.Generator) -> FrameResult:
    announcement = Announcement(
        camera=CAMERA,
        boot=BOOT,
        seq=seq,
        part_id=f"A-{seq:06d}",
        captured_at=FIRST_CAPTURE + seq * INTERVAL,
        captured_ns=seq * 50_000_000,
        origin=f"parts/{seq:06d}.png",
    )
    scores = random.gamma(4.0, 0.05, GRID).astype(np.float32)
    fails = seq % 10 == 0
    inspection = Inspection(
        announcement=announcement,
        verdict="FAIL" if fails else "PASS",
        why="score",
        state="READY",
        score=float(scores.max()),
        rescored=float(scores.mean()),
        threshold=0.61,
        map_level=0.61,
        window_n=63,
        window_size=64,
        admission="quarantine" if fails else "peer",
        p_value=0.032,
        recipe=RECIPE,
        model=MODEL,
        compute_ms=31.25,
        box=(412, 96, 38, 22) if fails else None,
        affine=(60.0, 0.0, 30.0, 0.0, 33.75, 16.875),
        patch_scores=scores,
    )
    return FrameResult(
        announcement=announcement,
        verdict=inspection.verdict,
        why="score",
        detail="",
        state="READY",
        recipe=RECIPE,
        decided_at=announcement.captured_at + timedelta(milliseconds=LATENCY_MS),
        latency_ms=LATENCY_MS,
        inspection=inspection,
    )


class ConfirmingPublisher(Publisher):
    """A publisher whose broker takes and confirms every result at once."""

    def __init__(self) -> None:
        """Connect to nobody."""
        settings = BrokerSettings("127.0.0.1", 1, "3.1.1", "bench-ledger")
        super().__init__(settings, Topics("musc", "site", "area", "line", "station"), IDENTITY)
        self._said: list[int] = []

    def frame(
        self, _result: FrameResult, _payload: bytes, number: int, outbox: Outbox, _now_ns: int
    ) -> None:
        """Say a frame result."""
        outbox.sent_live(number)
        self._said.append(number)

    def part(
        self, _part: PartVerdict, _payload: bytes, number: int, outbox: Outbox, _now_ns: int
    ) -> None:
        """Say a part verdict."""
        outbox.sent_live(number)
        self._said.append(number)

    def settle(self, outbox: Outbox, _now_ns: int) -> None:
        """Confirm what was said."""
        for number in self._said:
            outbox.outcome(number, confirmed=True)
        self._said.clear()


class GatePasses:
    """The gate's own code: ledger, journal and outbox on an empty file."""

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        batches: Sequence[Batch],
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Create the ledger and open the rows of the first batch.

        Raises:
            LedgerError: The path is not writable.
        """
        self.commits_ns: list[int] = []
        """From begin to the end of the commit, a pass each."""
        self._clock_ns = clock_ns
        self._batches = batches
        self._done = 0
        self._ledger = Ledger(path, synchronous, IDENTITY)
        store = EvidenceStore(path.with_suffix(".evidence"), EVIDENCE_BYTES)
        self._evidence = EvidenceWorker(store)
        config = Config.model_validate(
            {"camera": [{"id": CAMERA, "kind": "synthetic", "interval_ms": 1}]}
        )
        outbox = Outbox(self._ledger.db, config.outbox, NOW.monotonic_ns)
        self._journal = Journal(
            config, self._ledger, LineMemory(self._ledger.db), outbox,
            PartAssembler([CAMERA], IDENTITY.deadline_ms), self._evidence,
            ConfirmingPublisher(), lambda: NOW,
        )  # fmt: skip
        with self._ledger.transaction():
            self._open(0)

    def run(self, passes: int) -> None:
        """Do the next passes: write, commit, tell."""
        for _ in range(passes):
            batch = self._batches[self._done]
            work = Pass(NOW, results=list(batch.results), parts=list(batch.parts))
            begin_ns = self._clock_ns()
            with self._ledger.transaction():
                self._open(self._done + 1)
                self._journal.write(work)
            self.commits_ns.append(self._clock_ns() - begin_ns)
            self._journal.tell(work)
            self._done += 1

    def close(self) -> None:
        """Close the file."""
        self._evidence.close(EVIDENCE_LIMIT_S)
        self._ledger.close()

    def _open(self, number: int) -> None:
        for result in self._batches[number].results if number < len(self._batches) else ():
            if not self._ledger.has_frame(result.key):
                self._ledger.open_frame(result.announcement)
