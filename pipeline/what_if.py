"""What if the threshold, or the rule of an alarm, were another: from scores that are known.

Each question is answered for all thresholds at once, without going through the parts one
by one: a row of booleans over the parts for each threshold, running sums over it, and of
each cause only where it begins and how long it is there. The answers are those of
``alarm_conditions``, which a line asks part by part; alarms that do not look at parts are
no question here.

Main path: ``answer``; ``held_naive`` asks the line's own condition, and tests hold the
first to the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.alarm_conditions import InARow, OfLatest, WithinPeriod, make_condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contract import Verdict
    from pipeline.config_alarm import Alarm

Flags: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.int64]
Counts: TypeAlias = npt.NDArray[np.int32]
_Condition: TypeAlias = OfLatest | InARow | WithinPeriod

_KEEP, _ON, _OFF = 0, 1, 2


SHOWN = ("setting", "threshold", "rejects", "per_1000", "recall", "false_rejects")
"""Columns of a table, before those of the rules."""


class Parts(NamedTuple):
    """The parts of a line that were to be judged, in their order."""

    scores: npt.NDArray[np.float64]
    """[n], NaN for a part without a result."""
    at_ns: Numbers
    """[n], when each got its verdict, on one clock, never falling."""


class Answer(NamedTuple):
    """What a line would have said."""

    rejects: Numbers
    """[thresholds], parts that fail."""
    alarms: Numbers
    """[thresholds, rules], how often the cause of each alarm would have come."""
    alarmed: Numbers
    """[thresholds, rules], parts during which it would have been there."""


class _Spans(NamedTuple):
    """Where causes are there: each span one row, in the order of ways and parts."""

    ways: Numbers
    """[spans]."""
    begins: Numbers
    """[spans], its first part."""
    lengths: Numbers
    """[spans], in parts."""

    def times(self, ways: int) -> Numbers:
        """Count how often a cause comes, [ways]."""
        return np.bincount(self.ways, minlength=ways)

    def parts(self, ways: int) -> Numbers:
        """Count the parts during which it is there, [ways]."""
        return np.bincount(self.ways, self.lengths, ways).astype(np.int64)

    def flags(self, shape: tuple[int, ...]) -> Flags:
        """Tell of each part, [ways, n]."""
        found = np.zeros(shape, bool)
        for way, begin, length in zip(*self, strict=True):
            found[way, begin : begin + length] = True
        return found


class Decided(NamedTuple):
    """What is said of the parts."""

    failed: Flags
    """[n]."""
    judged: Flags
    """[n], which have a result."""


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

    def share(self, said: Decided, *, defective: bool) -> float | None:
        """Return which share of the defective parts, or of the good ones, fails; None of none."""
        own = self.weights * (self.defective == defective) * said.judged
        return float(own[said.failed].sum() / own.sum()) if self.whole and own.any() else None


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
        return [self.setting, *map(_cell, figures), *alarms]


def what_if(parts: Parts, thresholds: Sequence[float], rules: Sequence[Alarm]) -> Answer:
    """Answer for every threshold with every rule.

    Args:
        parts: As they came.
        thresholds: A part with a score at or above fails.
        rules: Kinds that look at parts; their delays and latches do not matter to the cause.

    Raises:
        ValueError: A rule does not look at parts.
    """
    return answer(parts.scores[None, :] >= np.asarray(thresholds, float)[:, None], parts, rules)


def answer(fails: Flags, parts: Parts, rules: Sequence[Alarm]) -> Answer:
    """Answer for every way to decide with every rule.

    Args:
        fails: [ways, n], which parts fail; none without a result does.
        parts: As they came.
        rules: As :func:`what_if`.

    Raises:
        ValueError: A rule does not look at parts.
    """
    ways = len(fails)
    each = _spans([_condition(rule) for rule in rules], fails, parts)
    shape = (len(each), ways)
    return Answer(
        fails.sum(axis=1),
        np.array([one.times(ways) for one in each], np.int64).reshape(shape).T,
        np.array([one.parts(ways) for one in each], np.int64).reshape(shape).T,
    )


def held(rule: Alarm, fails: Flags, parts: Parts) -> Flags:
    """Tell for each part whether the cause of an alarm is there once it has its verdict.

    Args:
        rule: A kind that looks at parts.
        fails: [thresholds, n].
        parts: As they came.

    Returns:
        [thresholds, n].

    Raises:
        ValueError: The rule does not look at parts.
    """
    [spans] = _spans([_condition(rule)], fails, parts)
    return spans.flags(fails.shape)


def held_naive(rule: Alarm, threshold: float, parts: Parts) -> list[bool]:
    """Do what :func:`held` does for one threshold, as a line does it: part by part."""
    condition, said = make_condition(rule, holds=False), []
    for score, at_ns in zip(parts.scores.tolist(), parts.at_ns.tolist(), strict=True):
        verdict: Verdict = "FAIL" if score >= threshold else "PASS"
        condition.part("NO_RESULT" if score != score else verdict, "score", at_ns)  # noqa: PLR0124 - NaN
        said.append(condition.holds)
    return said


def _condition(rule: Alarm) -> _Condition:
    match make_condition(rule, holds=False):
        case OfLatest() | InARow() | WithinPeriod() as condition:
            return condition
    msg = f"alarm {rule.name}: kind {rule.kind} does not look at parts"
    raise ValueError(msg)


def _spans(conditions: Sequence[_Condition], fails: Flags, parts: Parts) -> list[_Spans]:
    """Return where the cause of each is there; what several count is counted once."""
    missing = np.isnan(parts.scores)[None, :]
    totals: dict[str, Counts] = {}
    for counted in {condition.counted for condition in conditions}:
        match counted:
            case "fail":
                counts = fails
            case "no_result":
                counts = np.broadcast_to(missing, fails.shape)
            case _:
                counts = fails | missing
        totals[counted] = _running(counts)
    return [_spans_of(condition, totals[condition.counted], parts) for condition in conditions]


def _spans_of(condition: _Condition, total: Counts, parts: Parts) -> _Spans:
    match condition:
        case OfLatest():
            found = _latest(total, condition.size)
            full = np.arange(1, found.shape[1] + 1) >= condition.size
            return _switched(
                (found >= condition.raise_at) & (full | condition.early),
                (found <= condition.clear_at) & full,
            )
        case InARow():
            on = _latest(total, condition.raise_at) >= condition.raise_at
            return _switched(on, ~on)
    return _within_period(condition, total, parts.at_ns)


def _within_period(condition: WithinPeriod, total: Counts, at_ns: Numbers) -> _Spans:
    begins_ns = at_ns - condition.period_ns
    before = np.searchsorted(at_ns, begins_ns, side="right")
    found = total[:, 1:] - np.take(total, before, axis=1)
    known = begins_ns >= at_ns[0] if len(at_ns) else np.zeros(0, bool)
    return _switched(found >= condition.raise_at, (found <= condition.clear_at) & known)


def _running(counts: Flags) -> Counts:
    """Count from the first part on, [ways, n + 1]."""
    total = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int32)
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total


def _latest(total: Counts, size: int) -> Counts:
    """Count among the latest parts, up to each part, [ways, n]."""
    found: Counts = total[:, 1:].copy()
    found[:, size:] -= total[:, 1:-size]
    return found


def _switched(on: Flags, off: Flags) -> _Spans:
    """Return from where to where it is on: until it is switched it stays, and on goes first.

    Most parts switch nothing, so only those are looked at where what is wanted changes.
    """
    ways, n = on.shape
    if not on.size:
        return _Spans(*(np.zeros(0, np.int64) for _ in range(3)))
    wanted = (on.view(np.uint8) | ((off > on).view(np.uint8) << 1)).ravel()
    changes = np.empty(wanted.size, bool)
    np.not_equal(wanted[1:], wanted[:-1], out=changes[1:])
    changes[::n] = True
    at = np.flatnonzero(changes)
    wants = wanted[at]
    rows = np.searchsorted(at, np.arange(ways) * n)
    wants[rows[wants[rows] == _KEEP]] = _OFF
    first = np.zeros(at.size, bool)
    first[rows] = True
    at, first, wants = (part[wants != _KEEP] for part in (at, first, wants))
    first[1:] |= wants[1:] != wants[:-1]
    at, wants = at[first], wants[first]
    ends = np.append(at[1:], ways * n)
    begins, ends = at[wants == _ON], ends[wants == _ON]
    return _Spans(begins // n, begins % n, ends - begins)


def _cell(figure: float | None) -> str:
    """Return a count as it is, and a measure with four digits."""
    if figure is None:
        return ""
    return str(figure) if isinstance(figure, int) else f"{figure:.4g}"
