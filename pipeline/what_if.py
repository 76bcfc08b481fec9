"""What if the threshold, or the rule of an alarm, were another: from scores that are known.

Each question is answered for all thresholds at once, without going through the parts one
by one: a row of booleans over the parts for each threshold, and running sums over it. The
answers are those of ``alarm_conditions``, which a line asks part by part; alarms that
do not look at parts are no question here.

Main path: ``held``; ``held_naive`` asks the line's own condition, and tests hold the
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
    each = [held(rule, fails, parts) for rule in rules]
    shape = (len(fails), 0)
    return Answer(
        fails.sum(axis=1),
        np.stack([_begins(one) for one in each], axis=1) if each else np.zeros(shape, np.int64),
        np.stack([one.sum(axis=1) for one in each], axis=1) if each else np.zeros(shape, np.int64),
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
    condition = _condition(rule)
    missing = np.isnan(parts.scores)[None, :]
    match condition.counted:
        case "fail":
            counts = fails
        case "no_result":
            counts = np.broadcast_to(missing, fails.shape)
        case _:
            counts = fails | missing
    match condition:
        case OfLatest():
            return _of_latest(condition, counts)
        case InARow():
            return _in_a_row(condition, counts)
    return _within_period(condition, counts, parts.at_ns)


def held_naive(rule: Alarm, threshold: float, parts: Parts) -> list[bool]:
    """Do what :func:`held` does for one threshold, as a line does it: part by part."""
    condition, said = make_condition(rule, holds=False), []
    for score, at_ns in zip(parts.scores.tolist(), parts.at_ns.tolist(), strict=True):
        verdict: Verdict = "FAIL" if score >= threshold else "PASS"
        condition.part("NO_RESULT" if score != score else verdict, "score", at_ns)  # noqa: PLR0124 - NaN
        said.append(condition.holds)
    return said


def _condition(rule: Alarm) -> OfLatest | InARow | WithinPeriod:
    match make_condition(rule, holds=False):
        case OfLatest() | InARow() | WithinPeriod() as condition:
            return condition
    msg = f"alarm {rule.name}: kind {rule.kind} does not look at parts"
    raise ValueError(msg)


def _of_latest(condition: OfLatest, counts: Flags) -> Flags:
    number = np.arange(counts.shape[1])
    begins = np.maximum(number - condition.size + 1, 0)
    found = _between(counts, begins)
    full = number + 1 >= condition.size
    return _switched(
        (found >= condition.raise_at) & (full | condition.early),
        (found <= condition.clear_at) & full,
    )


def _in_a_row(condition: InARow, counts: Flags) -> Flags:
    number = np.arange(counts.shape[1])
    last_other = np.maximum.accumulate(np.where(counts, -1, number), axis=1)
    return _switched(number - last_other >= condition.raise_at, ~counts)


def _within_period(condition: WithinPeriod, counts: Flags, at_ns: Numbers) -> Flags:
    begins_ns = at_ns - condition.period_ns
    found = _between(counts, np.searchsorted(at_ns, begins_ns, side="right"))
    known = begins_ns >= at_ns[0] if len(at_ns) else np.zeros(0, bool)
    return _switched(found >= condition.raise_at, (found <= condition.clear_at) & known)


def _between(counts: Flags, begins: Numbers) -> Numbers:
    """Count from each part's own beginning up to itself, [thresholds, n]."""
    total = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total[:, 1:] - total[:, begins]


def _switched(on: Flags, off: Flags) -> Flags:
    """Return what is on after each part: until it is switched it stays, and on goes first."""
    number = np.arange(on.shape[1])
    last_on = np.maximum.accumulate(np.where(on, number, -1), axis=1)
    last_off = np.maximum.accumulate(np.where(off & ~on, number, -1), axis=1)
    return last_on > last_off


def _begins(holds: Flags) -> Numbers:
    """Count how often it begins, [thresholds]."""
    before = np.zeros_like(holds)
    before[:, 1:] = holds[:, :-1]
    begins: Numbers = (holds & ~before).sum(axis=1)
    return begins


def _cell(figure: float | None) -> str:
    """Return a count as it is, and a measure with four digits."""
    if figure is None:
        return ""
    return str(figure) if isinstance(figure, int) else f"{figure:.4g}"
