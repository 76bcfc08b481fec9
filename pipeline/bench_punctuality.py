"""What a run of the deadline bench came to: faults first, then how late the results were.

Pure: ledger rows, moments of arrival and the control timer's record in,
figures out. Lateness counts from the deadline, capture plus ``deadline_ms``, on
the monotonic clock that all processes of the host share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipeline.results import moment_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pipeline.bench_timer import TimerRecord

ALLOWED_MS = 20.0
"""What the gate may be late by at the 99.9th percentile, beside what the host is."""
SHOWN_FAULTS = 5


class Spread(NamedTuple):
    """Percentiles in ms; each is a value that was measured (nearest rank)."""

    p50: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class Punctuality:
    """What was measured; each spread but the timer's is time after the deadline."""

    frames: int
    fps_measured: float
    deadline_ms: int
    verdict: Spread
    """Arrival on ``verdict``."""
    plc: Spread
    """Arrival on ``plc``, which the gate sends before."""
    decided: Spread
    """The gate's decision, before its commit; on the wall clock."""
    timer: Spread
    """How late the control timer was."""
    early: int
    """Results that arrived before their deadline."""

    @property
    def limit_ms(self) -> float:
        """What the 99.9th percentile on ``verdict`` may be."""
        return round(ALLOWED_MS + self.timer.max, 3)

    def table(self) -> list[list[str]]:
        """Return a row of cells for each spread: name, p50, p99, p99.9, maximum."""
        spreads = {
            "arrival on verdict": self.verdict,
            "arrival on plc": self.plc,
            "decision, before its commit": self.decided,
            "control timer, after its instants": self.timer,
        }
        return [[name, *(f"{ms:.2f}" for ms in of)] for name, of in spreads.items()]

    def summary(self, fps: int) -> dict[str, Any]:
        """Return the JSON that the bench ends with; ``fps`` is what was asked for."""
        return {
            "frames": self.frames,
            "fps": fps,
            "fps_measured": self.fps_measured,
            "deadline_ms": self.deadline_ms,
            "over_p50_ms": self.verdict.p50,
            "over_p99_ms": self.verdict.p99,
            "over_p999_ms": self.verdict.p999,
            "over_max_ms": self.verdict.max,
            "plc_p999_ms": self.plc.p999,
            "decided_p999_ms": self.decided.p999,
            "early": self.early,
            "timer_max_ms": self.timer.max,
            "timer_p999_ms": self.timer.p999,
            "limit_ms": self.limit_ms,
            "held": self.verdict.p999 <= self.limit_ms,
        }


class Heard(NamedTuple):
    """When each message came, ns on the monotonic clock; more than once is a fault."""

    verdicts: Mapping[int, Sequence[int]]
    """By sequence number of the frame."""
    parts: Mapping[str, Sequence[int]]
    """By part id, on ``plc``."""


def find_faults(
    frames: int, counted: int, rows: Sequence[Mapping[str, Any]], heard: Heard
) -> list[str]:
    """Say what keeps count, ledger and messages from being one result a frame.

    Args:
        frames: Frames that the camera was to take.
        counted: Frames that the durable counter has.
        rows: The table ``verdicts``, whole.
        heard: What came from the broker.
    """
    faults = [
        f"{amount} of {frames} frames {where}"
        for where, amount in (("counted", counted), ("in the ledger", len(rows)))
        if amount != frames
    ]
    seqs, parts = {row["seq"] for row in rows}, {row["part_id"] for row in rows}
    found = {
        "of another result than NO_RESULT, scorer_down": [
            row["seq"]
            for row in rows
            if (row["verdict"], row["reason"]) != ("NO_RESULT", "scorer_down")
        ],
        "without a message on verdict": seqs - set(heard.verdicts),
        "without a message on plc": parts - set(heard.parts),
        "on verdict without a row": set(heard.verdicts) - seqs,
        "on plc without a row": set(heard.parts) - parts,
        "more than once on verdict": [s for s, came in heard.verdicts.items() if len(came) > 1],
        "more than once on plc": [p for p, came in heard.parts.items() if len(came) > 1],
    }
    return faults + [f"{_named(those)} {what}" for what, those in found.items() if those]


def measure(
    deadline_ms: int, rows: Sequence[Mapping[str, Any]], heard: Heard, record: TimerRecord
) -> Punctuality:
    """Compare the arrivals with the deadlines, and with the timer over the same time.

    Args:
        deadline_ms: From capture to deadline.
        rows: The table ``verdicts``; each row has its messages.
        heard: What came from the broker.
        record: The control timer's, from the first capture to the last arrival.
    """
    deadline_ns = deadline_ms * 1_000_000
    captured = [row["captured_ns"] for row in rows]
    verdicts = [heard.verdicts[row["seq"]][0] for row in rows]
    parts = [heard.parts[row["part_id"]][0] for row in rows]
    over = [came - begin - deadline_ns for came, begin in zip(verdicts, captured, strict=True)]
    plc = [came - begin - deadline_ns for came, begin in zip(parts, captured, strict=True)]
    first, last = min(captured), max(captured)
    return Punctuality(
        frames=len(rows),
        fps_measured=round((len(rows) - 1) * 1e9 / (last - first), 2) if last > first else 0.0,
        deadline_ms=deadline_ms,
        verdict=spread(over),
        plc=spread(plc),
        decided=spread([_waited_ns(row) - deadline_ns for row in rows]),
        timer=spread(record.between(first, max(verdicts))),
        early=sum(late_ns < 0 for late_ns in over + plc),
    )


def spread(values_ns: Sequence[int]) -> Spread:
    """Return the percentiles, in ms, of at least one value in ns."""
    quantiles = np.quantile(values_ns, (0.5, 0.99, 0.999, 1.0), method="inverted_cdf")
    return Spread(*(round(float(value) / 1e6, 3) for value in quantiles))


def _waited_ns(row: Mapping[str, Any]) -> int:
    """Return the time from capture to decision, on the wall clock."""
    waited = moment_of(row["decided_at"]) - moment_of(row["captured_at"])
    return round(waited.total_seconds() * 1e9)


def _named(those: Collection[object]) -> str:
    """Name the first few and count the rest."""
    names = [str(one) for one in those][:SHOWN_FAULTS]
    more = len(those) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
