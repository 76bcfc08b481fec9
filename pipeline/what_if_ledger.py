"""What a line would have said with another threshold, target or alarm: from its ledger.

Scores are those of the ledger. A threshold is held against them as it is; a target of
rejects goes through a judge of its own for each camera and recipe, which sees the scores one
after the other as the line's did. Approximate in either case: with another threshold other
parts vote, and scores move with them. Nor does a ledger tell everything: parts that shared a
defect taught the line's judge nothing, and teach this one; where a camera has regions only the
worst one's score is known; and a view that was missing stays missing.

A part fails if any of its views does, else it has a result only where each of its views has one:
with a view missing, or without result, a part is FAIL or NO_RESULT by its other views, and
which of both hangs on the setting. Rates are taken of the parts that have a result with it.
Parts that the line was not ready to judge are no parts here, as for alarms.
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
from pipeline.what_if import Decided, Known, Parts, WhatIf, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pipeline.config_alarm import Alarm
    from pipeline.config_method import JudgeSettings
    from pipeline.judge import Judge

Deciding: TypeAlias = Literal["raw", "rescored"]
Flags: TypeAlias = npt.NDArray[np.bool_]

APPROXIMATE = (
    "approximate: admission is frozen. With other settings other parts would have voted and "
    "scores been others; replay says which"
)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PARTS = (
    "select rowid, decided_at, verdict, reason, views, seen from parts where verdict is not null "
    "order by rowid desc limit ?"
)
_FRAMES = """
    select p.rowid as part, v.camera, v.boot, v.seq, v.recipe, v.verdict, v.score, v.rescored,
        v.threshold, v.window_n, v.state, v.admission,
        p.views = 1 or v.decided_at <= p.decided_at as in_time
    from parts p join verdicts v on v.part_id = p.part_id and (
        p.views > 1 and v.captured_at between p.captured_at and p.decided_at
        or p.views = 1 and (v.camera, v.boot, v.seq) = (p.worst_camera, p.worst_boot, p.worst_seq)
    )
    where p.rowid >= ? and v.score is not null
    order by v.captured_at, v.camera, v.seq, v.boot, p.rowid
"""
"""Frames beside the parts that they may be of: an id that comes back has several."""
_LEVELS = f"""
    with asked as ({_FRAMES})
    select a.*, h.level from asked a left join heatmaps h using (camera, boot, seq)
    where a.score != a.rescored
"""  # noqa: S608 - a constant
"""Frames whose two scores differ, with the level of their map."""


class Frame(NamedTuple):
    """A frame with a score, and its part."""

    key: FrameKey
    place: int
    """Of its part among those that were to be judged; -1 where it has none, or came too late."""
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
    missing: npt.NDArray[np.int64]
    """[n], views without a result."""
    frames: list[Frame]
    """In the order of their capture."""
    score: Deciding
    """The one that decides."""

    @property
    def judged(self) -> Flags:
        """[n], which have a result."""
        return np.asarray(self.verdicts != "NO_RESULT")

    def summary(self) -> str:
        """Return how many parts there are, in words."""
        judged = int(self.judged.sum())
        rest = len(self.verdicts) - judged
        return f"{judged} parts judged by {self.score} scores, {rest} without result"

    def decided(self, rejected: Flags) -> Decided:
        """Return what is said of the parts if these of the frames, [m], fail."""
        failed = np.zeros(len(self.verdicts), bool)
        usable = [frame.judged and frame.place >= 0 for frame in self.frames]
        places = np.array([frame.place for frame in self.frames], int)
        failed[places[rejected & np.array(usable, bool)]] = True
        return Decided(failed, failed | (self.missing == 0))


def read_parts(ledger: Path, limit: int, deciding: Deciding | None = None) -> LedgerParts:
    """Read the latest parts.

    Args:
        ledger: The file.
        limit: Parts at most.
        deciding: The score that its thresholds belong to; None to tell by its results.

    Raises:
        LedgerError: There is no such file, or it is not a ledger, or it does not tell
            which score decided.
    """
    rows = ask(ledger, _PARTS, [limit])[::-1]
    kept = [row for row in rows if row["reason"] not in UNJUDGED]
    places = {row["rowid"]: place for place, row in enumerate(kept)}
    first = [rows[0]["rowid"] if rows else 0]
    score = deciding or _deciding(ledger, ask(ledger, _LEVELS, first))
    seen = _each_of_one_part(ask(ledger, _FRAMES, first))
    frames = [_frame(row, places, score) for row in seen]
    return LedgerParts(
        places,
        np.array([row["verdict"] for row in kept], str),
        _times(kept),
        _missing(kept, frames),
        frames,
        score,
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
    own = Decided(parts.verdicts == "FAIL", parts.judged)
    ways = [("as judged", levels[-1] if levels else None, own)]
    ways += [(f"threshold={one:g}", one, parts.decided(scores >= one)) for one in thresholds]
    for settings in targets:
        rejected, level = _rejected(parts, settings, tick)
        name = f"rejects_per_1000={settings.rejects_per_1000:g}"
        ways.append((name, level, parts.decided(rejected)))
    return [_answered(*way, parts.at_ns, rules, known) for way in ways]


def _answered(
    setting: str,
    threshold: float | None,
    said: Decided,
    at_ns: npt.NDArray[np.int64],
    rules: Sequence[Alarm],
    known: Known | None,
) -> WhatIf:
    asked = Parts(np.where(said.judged, 0.0, np.nan), at_ns)
    found = answer(said.failed[None, :], asked, rules)
    rejects, judged = int(said.failed.sum()), int(said.judged.sum())
    return WhatIf(
        setting=setting,
        threshold=threshold,
        rejects=rejects,
        per_1000=1000 * rejects / judged if judged else None,
        recall=known.share(said, defective=True) if known else None,
        false_rejects=known.share(said, defective=False) if known else None,
        alarms={
            rule.name: (int(found.alarms[0, k]), int(found.alarmed[0, k]))
            for k, rule in enumerate(rules)
        },
    )


def ask(ledger: Path, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows that answer a query.

    Raises:
        LedgerError: There is no such file, or it is no ledger of this version.
    """
    return list(each(ledger, query, values))


def each(ledger: Path, query: str, values: Sequence[Any] = ()) -> Iterator[dict[str, Any]]:
    """Yield the rows that answer a query; errors are those of :func:`ask`."""
    with closing(open_for_reading(ledger)) as db:
        try:
            yield from db.query(query, values)
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


def _each_of_one_part(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each frame once, of the earliest part that has none of its camera yet.

    As the line did: the same view again is another part under an id that came back, and a
    view whose result came when its part was closed is of no part.
    """
    taken: set[tuple[int, str]] = set()
    frames: dict[FrameKey, dict[str, Any]] = {}
    for row in rows:
        view = (row["part"], row["camera"])
        key = FrameKey(row["camera"], row["boot"], row["seq"])
        own = frames.setdefault(key, row | {"part": None})
        if own["part"] is None and row["in_time"] and view not in taken:
            taken.add(view)
            own["part"] = row["part"]
    return list(frames.values())


def _missing(parts: Sequence[dict[str, Any]], frames: Sequence[Frame]) -> npt.NDArray[np.int64]:
    """Return how many views of each part have no result, [n]."""
    views = np.array([part["views"] for part in parts], np.int64)
    seen = np.array([part["seen"] for part in parts], np.int64)
    places = [frame.place for frame in frames if frame.judged and frame.place >= 0]
    judged = np.bincount(np.array(places, np.int64), minlength=len(parts))
    return views - np.minimum(seen, judged)


def _frame(row: dict[str, Any], places: dict[int, int], score: Deciding) -> Frame:
    return Frame(
        key=FrameKey(row["camera"], row["boot"], row["seq"]),
        place=places.get(row["part"], -1),
        judged=row["verdict"] in {"PASS", "FAIL"},
        score=row["score" if score == "raw" else "rescored"],
        threshold=row["threshold"],
        stream=(row["camera"], row["recipe"]),
        peers=row["window_n"],
        teaches=row["admission"] != "duplicate" and row["state"] != "DEGRADED",
    )


def _deciding(ledger: Path, frames: Sequence[dict[str, Any]]) -> Deciding:
    """Tell which score the thresholds belong to, by frames whose two scores differ.

    A frame fails where the one that decides is at its threshold; and the level of its map is
    the threshold where that is the raw one, and moved where it is the other.

    Raises:
        LedgerError: No frame tells, or some tell one and some the other.
    """
    said: set[Deciding] = set()
    for one in frames:
        threshold, fails = one["threshold"], one["verdict"] == "FAIL"
        if one["verdict"] == "NO_RESULT" or not threshold:
            continue
        if (raw := one["score"] >= threshold) != (one["rescored"] >= threshold):
            said.add("raw" if raw == fails else "rescored")
        # Of a score of 0 the map's level is the threshold whichever decides.
        if one["level"] is not None and one["score"] and one["rescored"]:
            said.add("raw" if one["level"] == threshold else "rescored")
    if not frames:
        return "raw"
    if len(said) == 1:
        return said.pop()
    why = "some results are by raw scores, some by rescored" if said else "no result tells"
    msg = f"ledger {ledger}: {why}: which score decides must be given (--config)"
    raise LedgerError(msg)


def _times(parts: Sequence[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """Return when each part got its verdict, ns, never falling."""
    each = [
        (moment_of(one["decided_at"]) - EPOCH) // timedelta(microseconds=1) * 1000 for one in parts
    ]
    return np.maximum.accumulate(np.array(each, np.int64)) if each else np.zeros(0, np.int64)
