"""Figures of a stream: what of the defective parts was found, and what of the good ones lost.

Shares are floats and counts are ints: over seeds counts are added up and shares
averaged, so that each seed weighs the same. A figure that a stream cannot have is
None, and is left out of the average.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from musc.metrics import auroc
from pipeline.proportion import Proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.stress_line import Reading, Side

SAME_DEFECT, REGIME_CHANGE = "same_defect", "regime_change"
"""Kinds of events that call a person."""
Figures: TypeAlias = dict[str, int | float | None]

BY_SEED = ("recall", "auroc")
"""Figures that are also given for each seed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One part, what it is, and what a line said of it."""

    defective: bool
    reading: Reading


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both lines made of one stream, or of several of a seed."""

    scenario: str
    params: Mapping[str, float | str]
    figures: Mapping[Side, Figures]
    faults: tuple[str, ...] = ()
    """Why the figures are not what they should be."""


@dataclass(slots=True)
class Collected:
    """One stream of all seeds."""

    scenario: str
    params: Mapping[str, float | str]
    outcomes: list[Outcome] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return one JSON object: scenario, params, and the figures of each line."""
        sides = self.outcomes[0].figures
        whole: dict[str, Any] = {"scenario": self.scenario, "params": self.params}
        whole |= {side: combined([one.figures[side] for one in self.outcomes]) for side in sides}
        if self.faults:
            whole["faults"] = self.faults
        return whole

    @property
    def faults(self) -> list[str]:
        """Faults of all seeds."""
        return [fault for one in self.outcomes for fault in one.faults]


def collect(outcomes: Sequence[Outcome]) -> list[Collected]:
    """Put together what belongs to the same stream, in the order of appearance."""
    found: dict[str, Collected] = {}
    for one in outcomes:
        key = f"{one.scenario} {one.params}"
        found.setdefault(key, Collected(one.scenario, one.params)).outcomes.append(one)
    return list(found.values())


def figures(seen: Sequence[Seen], threshold: float) -> Figures:
    """Return the figures that every stream has.

    Args:
        seen: The parts that count.
        threshold: On-arrival score that 5 % of good parts reach in an undisturbed stream.
    """
    bad = [one.reading for one in seen if one.defective]
    good = [one.reading for one in seen if not one.defective]
    return {
        "recall": share(one.reaches(threshold) for one in bad),
        "false_reject_rate": share(one.reaches(threshold) for one in good),
        "auroc": separation(seen),
        "n": len(seen),
        "judge_recall": share(one.verdict == "FAIL" for one in bad),
        "judge_false_rejects": share(one.verdict == "FAIL" for one in good),
        "passed": share(one.verdict == "PASS" for one in bad),
        "no_result": share(one.reading.verdict == "NO_RESULT" for one in seen),
    }


def separation(seen: Sequence[Seen]) -> float | None:
    """Return the AUROC of the on-arrival scores; None without parts of both kinds."""
    scored = [(one.defective, one.reading.score) for one in seen if one.reading.score is not None]
    labels = [label for label, _ in scored]
    return auroc(labels, [score for _, score in scored]) if 0 < sum(labels) < len(labels) else None


def share(hits: Iterable[bool]) -> float | None:
    """Return how many of them are true, from 0 to 1; None of nothing."""
    known = list(hits)
    return sum(known) / len(known) if known else None


def mean_score(readings: Sequence[Reading]) -> float | None:
    """Return the mean of the on-arrival scores; None where there are none."""
    scores = [one.score for one in readings if one.score is not None]
    return fmean(scores) if scores else None


def first_with(event: str, readings: Sequence[Reading]) -> int | None:
    """Return the index of the first part that shows an event; None where none does."""
    return next((i for i, one in enumerate(readings) if event in one.events), None)


def combined(each: Sequence[Figures]) -> dict[str, Any]:
    """Return the figures of all seeds: counts added up, shares averaged."""
    whole: dict[str, Any] = {}
    for name in dict.fromkeys(key for one in each for key in one):
        values = [one[name] for one in each if one.get(name) is not None]
        whole[name] = _combined([value for value in values if value is not None])
    if whole.get("of"):
        low, high = Proportion(whole["rejects"], whole["of"]).interval
        whole["rejects_interval"] = [_rounded(low), _rounded(high)]
    for name in BY_SEED:
        if whole.get(name) is not None:
            whole[f"{name}_by_seed"] = [_rounded(one.get(name)) for one in each]
    return whole


def _combined(values: Sequence[int | float]) -> int | float | None:
    if not values:
        return None
    if all(isinstance(value, int) for value in values):
        return sum(values)
    return _rounded(fmean(values))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
