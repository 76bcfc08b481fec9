"""What a report shows of a run: its rows as columns, its worst frames, its alarms and events."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.frame import FrameKey
from pipeline.evidence_encoder import shown
from pipeline.heatmap import overlay
from pipeline.ledger import open_for_reading, read_heatmap
from pipeline.page import jpeg, shrunk
from pipeline.regions import on_picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlite_utils import Database

    from edge.frame import Frame
    from pipeline.inspection import PatchScores
    from pipeline.replay_sources import ReplaySource

WORST = 24
"""Frames of the contact sheet."""
SHOWN_PX = 240
"""Longer side of a picture in it."""
COLUMNS = (
    "camera", "seq", "part_id", "captured_at", "verdict", "reason", "score", "rescored",
    "threshold", "refined_score", "warn", "window_n", "latency_ms", "compute_ms",
)  # fmt: skip
EVENTS_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Worst:
    """One frame of the contact sheet."""

    key: FrameKey
    part: str
    verdict: str
    score: float
    threshold: float | None
    patches: PatchScores
    affine: Any
    """From the patch grid to sensor pixels."""
    level: float


@dataclass(frozen=True, slots=True)
class RunData:
    """One run, in the order of its frames."""

    columns: dict[str, list[Any]]
    """The ledger's columns of that name, and ``deciding``: the score that the threshold is of."""
    worst: list[Worst]
    """Highest above their threshold first."""
    alarms: list[dict[str, Any]]
    events: list[dict[str, Any]]
    """The latest, with their detail as text."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.columns["seq"])


def read_run(ledger: Path, deciding: str) -> RunData:
    """Read what a report shows from a ledger.

    Args:
        ledger: The file.
        deciding: "raw" or "rescored", the score that its thresholds belong to.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    score = "score" if deciding == "raw" else "rescored"
    with closing(open_for_reading(ledger)) as db:
        rows = list(
            db.query(f"select {', '.join(COLUMNS)} from verdicts order by captured_at, camera, seq")  # noqa: S608 - fixed names
        )
        columns = {name: [row[name] for row in rows] for name in COLUMNS}
        columns["deciding"] = columns[score]
        alarms = list(db.query('select time, name, "before", "after", by from alarms order by id'))
        events = list(
            db.query(
                "select time, kind, camera, detail from events order by id desc limit ?",
                [EVENTS_SHOWN],
            )
        )
        return RunData(columns, _worst(db, score), alarms, events[::-1])


def _worst(db: Database, score: str) -> list[Worst]:
    query = (
        "select v.camera, v.boot, v.seq, v.part_id, v.verdict, v.threshold, "  # noqa: S608 - fixed names
        f"v.{score} as deciding, h.rows, h.columns, h.scores, h.affine, h.level from verdicts v "
        "join heatmaps h using (camera, boot, seq) "
        f"where v.{score} > 0 and h.level > 0 "
        f"order by v.{score} / coalesce(v.threshold, 1e9) desc, v.{score} desc limit ?"
    )
    return [
        Worst(
            FrameKey(row["camera"], row["boot"], row["seq"]),
            row["part_id"],
            row["verdict"],
            row["deciding"],
            row["threshold"],
            read_heatmap(row),
            tuple(json.loads(row["affine"])),
            row["level"],
        )
        for row in db.query(query, [WORST])
    ]


def pictures(source: ReplaySource, worst: Sequence[Worst]) -> dict[FrameKey, bytes]:
    """Return the worst frames with their heatmap as JPEG, for those that are still there."""
    wanted = {one.key: one for one in worst}
    return {frame.key: _picture(frame, wanted[frame.key]) for frame in source.frames(wanted.keys())}


def _picture(frame: Frame, worst: Worst) -> bytes:
    pixels = shown(frame)
    placed = on_picture(worst.affine, frame.offset_px)
    return jpeg(shrunk(overlay(pixels, worst.patches, worst.level, placed), SHOWN_PX))
