"""What a line would have said with another threshold, target or alarm: from its ledger.

Scores are those of the ledger. A threshold is held against them as it is; a target of
rejects goes through a judge of its own for each camera and recipe, which sees the scores one
after the other as the line's did. Approximate in either case: with another threshold other
parts vote, and scores move with them. Nor does a ledger tell everything: parts that shared a
defect taught the line's judge nothing, and teach this one; where a camera has regions only the
worst one's score is known; and a view that was missing stays missing.

Parts that the line was not ready to judge are no parts here, as for alarms; those that went
without a result for another reason have none under any setting.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from edge.frame import FrameKey
from pipeline.alarm_conditions import UNJUDGED
from pipeline.judge import make_judge
from pipeline.ledger import LedgerError, open_for_reading
from pipeline.results import moment_of
from pipeline.what_if import Parts, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeline.config_alarm import Alarm
    from pipeline.config_method import JudgeSettings
    from pipeline.judge import Judge

Deciding: TypeAlias = Literal["raw", "rescored"]
Flags: TypeAlias = npt.NDArray[np.bool_]

SHOWN = ("setting", "threshold", "rejects", "per_1000", "recall", "false_rejects")
"""Columns of a table, before those of the rules."""
APPROXIMATE = (
    "approximate: admission is frozen. With other settings other parts would have voted and "
    "scores been others; replay says which"
)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PARTS = (
    "select rowid, decided_at, verdict, reason from parts where verdict is not null "
    "order by rowid desc limit ?"
)
_FRAMES = """
    select p.rowid as part, v.camera, v.boot, v.seq, v.recipe, v.verdict, v.score, v.rescored,
        v.threshold, v.window_n, v.state, v.admission
    from parts p join verdicts v on v.part_id = p.part_id and (
        p.views > 1 and v.captured_at between p.captured_at and p.decided_at
        or p.views = 1 and (v.camera, v.boot, v.seq) = (p.worst_camera, p.worst_boot, p.worst_seq)
    )
    where p.rowid >= ? and v.score is not null order by v.captured_at, v.camera, v.seq
"""


class Frame(NamedTuple):
    """A frame with a score, and its part."""

    key: FrameKey
    place: int
    """Of its part among those that were to be judged; -1 where it was not."""
    judged: bool
    """Whether it passed or failed."""
    score: float
    """The one that decides."""
    threshold: float | None
    stream: tuple[str, str]
    """Camera and recipe."""
    peers: int
    teaches: bool
    """Whether a judge learns by it."""


@dataclass(frozen=True, slots=True)
class LedgerParts:
    """The parts of a ledger that were to be judged, in their order."""

    places: dict[int, int]
    """Of each of them, by its row."""
    verdicts: npt.NDArray[np.str_]
    """[n], what was said."""
    at_ns: npt.NDArray[np.int64]
    """[n], when, never falling."""
    frames: list[Frame]
    """In the order of their capture."""

    @property
    def judged(self) -> Flags:
        """[n], which have a result."""
        return np.asarray(self.verdicts != "NO_RESULT")

    def summary(self) -> str:
        """Return how many parts there are, in words."""
        judged = int(self.judged.sum())
        return f"{judged} parts judged, {len(self.verdicts) - judged} without result"

    def failed(self, rejected: Flags) -> Flags:
        """Return which parts fail, [n], if these of the frames do."""
        failed = np.zeros(len(self.verdicts), bool)
        usable = [frame.judged and frame.place >= 0 for frame in self.frames]
        places = np.array([frame.place for frame in self.frames], int)
        failed[places[rejected & np.array(usable, bool)]] = True
        return failed & self.judged


class Known(NamedTuple):
    """What some of the parts really were."""

    defective: Flags
    """[n], false also where nobody knows."""
    weights: npt.NDArray[np.float64]
    """[n], how many parts each stands for; 0 where nobody knows."""
    said: str
    """How many are known, and whence."""
    whole: bool = True
    """Whether they stand for all: no share can be taken of rejects alone."""

    def share(self, failed: Flags, *, defective: bool) -> float | None:
        """Return which share of the defective parts, or of the good ones, fails; None of none."""
        own = self.weights * (self.defective == defective)
        return float(own[failed].sum() / own.sum()) if self.whole and own.any() else None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One setting, and what the line would have said."""

    setting: str
    threshold: float | None
    """The latest; None while there was none."""
    rejects: int
    per_1000: float | None
    """Of the parts with a result."""
    recall: float | None
    """Share of the defective parts that fail."""
    false_rejects: float | None
    """Share of the good parts that fail."""
    alarms: dict[str, tuple[int, int]]
    """By rule: how often its cause comes, and during how many parts it is there."""

    def row(self) -> dict[str, Any]:
        """Return what a program reads."""
        return {
            "setting": self.setting,
            "threshold": self.threshold,
            "rejects": self.rejects,
            "per_1000": self.per_1000,
            "recall": self.recall,
            "false_rejects": self.false_rejects,
            "alarms": {
                name: {"times": times, "parts": parts}
                for name, (times, parts) in self.alarms.items()
            },
            "approximate": "admission is frozen",
        }

    def cells(self) -> list[str]:
        """Return a row of a table: ``SHOWN``, then each rule as times (parts)."""
        figures = (self.threshold, self.rejects, self.per_1000, self.recall, self.false_rejects)
        alarms = [f"{times} ({parts})" for times, parts in self.alarms.values()]
        return [self.setting, *("" if one is None else f"{one:.4g}" for one in figures), *alarms]


def read_parts(ledger: Path, limit: int, deciding: Deciding | None = None) -> LedgerParts:
    """Read the latest parts.

    Args:
        ledger: The file.
        limit: Parts at most.
        deciding: The score that its thresholds belong to; None to tell by its results.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    rows = ask(ledger, _PARTS, [limit])[::-1]
    kept = [row for row in rows if row["reason"] not in UNJUDGED]
    places = {row["rowid"]: place for place, row in enumerate(kept)}
    seen = ask(ledger, _FRAMES, [rows[0]["rowid"]]) if rows else []
    score = "score" if (deciding or _deciding(seen)) == "raw" else "rescored"
    return LedgerParts(
        places,
        np.array([row["verdict"] for row in kept], str),
        _times(kept),
        [_frame(row, places, score) for row in seen],
    )


def what_if_ledger(
    parts: LedgerParts,
    thresholds: Sequence[float],
    targets: Sequence[JudgeSettings],
    rules: Sequence[Alarm],
    known: Known | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[WhatIf]:
    """Answer for what was judged, each threshold and each target, in this order.

    Args:
        parts: Of the ledger.
        thresholds: A view with a score at or above fails, and its part with it.
        targets: Judges that set the threshold themselves.
        rules: Alarms; their delays and latches do not matter to the cause.
        known: What parts really were.
        tick: Called for each frame with each target.

    Raises:
        ValueError: A rule does not look at parts.
    """
    scores = np.array([frame.score for frame in parts.frames], float)
    levels = [one.threshold for one in parts.frames if one.threshold is not None]
    ways = [("as judged", levels[-1] if levels else None, parts.verdicts == "FAIL")]
    ways += [(f"threshold={one:g}", one, parts.failed(scores >= one)) for one in thresholds]
    for settings in targets:
        rejected, level = _rejected(parts, settings, tick)
        name = f"rejects_per_1000={settings.rejects_per_1000:g}"
        ways.append((name, level, parts.failed(rejected)))
    asked = Parts(np.where(parts.judged, 0.0, np.nan), parts.at_ns)
    found = answer(np.stack([failed for _, _, failed in ways]), asked, rules)
    judged = int(parts.judged.sum())
    return [
        WhatIf(
            setting=setting,
            threshold=level,
            rejects=int(failed.sum()),
            per_1000=1000 * int(failed.sum()) / judged if judged else None,
            recall=known.share(failed, defective=True) if known else None,
            false_rejects=known.share(failed, defective=False) if known else None,
            alarms={
                rule.name: (int(found.alarms[i, k]), int(found.alarmed[i, k]))
                for k, rule in enumerate(rules)
            },
        )
        for i, (setting, level, failed) in enumerate(ways)
    ]


def ask(ledger: Path, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows that answer a query.

    Raises:
        LedgerError: There is no such file, or it is no ledger of this version.
    """
    with closing(open_for_reading(ledger)) as db:
        try:
            return list(db.query(query, values))
        except sqlite3.Error as error:
            msg = f"ledger {ledger}: {error}"
            raise LedgerError(msg) from error


def _rejected(
    parts: LedgerParts, settings: JudgeSettings, tick: Callable[[], None]
) -> tuple[Flags, float | None]:
    """Return which frames judges of their own reject, [m], and the latest threshold."""
    judges: dict[tuple[str, str], Judge] = {}
    rejected = np.zeros(len(parts.frames), bool)
    level: float | None = None
    for i, frame in enumerate(parts.frames):
        if frame.stream not in judges:
            judges[frame.stream] = make_judge(settings)
        judge = judges[frame.stream]
        level = judge.threshold()
        rejected[i] = level is not None and frame.score >= level
        if frame.teaches:
            judge.learn(frame.score, frame.peers)
        tick()
    return rejected, level


def _frame(row: dict[str, Any], places: dict[int, int], score: str) -> Frame:
    return Frame(
        key=FrameKey(row["camera"], row["boot"], row["seq"]),
        place=places.get(row["part"], -1),
        judged=row["verdict"] in {"PASS", "FAIL"},
        score=row[score],
        threshold=row["threshold"],
        stream=(row["camera"], row["recipe"]),
        peers=row["window_n"],
        teaches=row["admission"] != "duplicate" and row["state"] != "DEGRADED",
    )


def _deciding(frames: Sequence[dict[str, Any]]) -> Deciding:
    """Tell which score the thresholds belong to: the one that no result contradicts."""

    def contradicted(score: str) -> bool:
        return any(
            (one[score] >= one["threshold"]) != (one["verdict"] == "FAIL")
            for one in frames
            if one["verdict"] != "NO_RESULT" and one["threshold"] is not None
        )

    return "rescored" if contradicted("score") and not contradicted("rescored") else "raw"


def _times(parts: Sequence[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """Return when each part got its verdict, ns, never falling."""
    each = [
        (moment_of(one["decided_at"]) - EPOCH) // timedelta(microseconds=1) * 1000 for one in parts
    ]
    return np.maximum.accumulate(np.array(each, np.int64)) if each else np.zeros(0, np.int64)
