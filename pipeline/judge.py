"""From a score to PASS or FAIL: the threshold now in force.

A judge needs no labels. Every on-arrival score with enough peers is kept, with
the threshold that was in force when it came (``score_history``). While they are
few, median and spread set the threshold (``robust_z``); once hundreds are there,
their tail does (``tail``). It knows nothing of windows, cameras or messages.

What is kept is the rate of rejects among good parts. Where more than one part in
twenty is defective and scores hardly higher than good ones, the tail takes some
of them for good: of solar cells, 15 % of them defective, ``robust_z`` found 42 %
at 20 in a thousand, and the tail 22 %, each with 4 false rejects in a thousand.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from pipeline.config_method import CALIBRATION_PEERS, scores_needed
from pipeline.proportion import Proportion
from pipeline.robust_z import bulk
from pipeline.score_history import NO_THRESHOLD, ScoreHistory
from pipeline.tail import fit_tail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.config_method import JudgeSettings
    from pipeline.robust_z import Bulk
    from pipeline.score_history import Scores

Method = Literal["fixed", "robust_z", "tail"]

WARN_TIMES = 3.0
"""A score that this many times the tolerated rejects would reach is worth a warning."""
MOST_WARNINGS_PER_1000 = 400.0
"""Beyond that a warning says nothing, and the median is near."""


LEAST_HELD, HELD_TIMES = 2000, 4
"""A judge holds four times the scores that its rejects need, 2000 at least: more would know the
tail better and follow a drift later. Of scores that rose by 10 % in 6000 parts it rejected up to
34 in a thousand of the good with 2000 held, and up to 42 with 5000, where 20 were tolerated."""
EACH_UNTIL, REFIT_LEAST, REFITS = 200, 10, 50
"""The levels follow each of the first scores, then every tenth, and at last every fiftieth part
of what is held: a fit takes 3 ms, and a fiftieth moves no quantile by more than its own error."""
TAIL_FROM, TAIL_ALONE = 100, 300
"""Scores from which the tail has a say, and from which it alone sets the threshold."""
LARGEST_LOG = 700.0
"""What floats can hold: scores that differ by hundreds of orders of magnitude set no finer one."""


class Support(NamedTuple):
    """How far the threshold in force can be relied on."""

    method: Method
    """What set it."""
    scores: int
    """Scores that are held."""
    low: float
    """Low end of the 95 % interval of the rejects per 1000 at the threshold."""
    high: float
    """High end; 0 to 1000 while there is no threshold or no score."""
    more_needed: int
    """Scores that are still missing before the tolerated rejects can be told; 0 if none."""


class Judge(Protocol):
    """Sets thresholds; a score at or above the threshold fails."""

    def threshold(self) -> float | None:
        """Return the threshold for the next frame, or None while too little is known."""
        ...

    def warning(self) -> float | None:
        """Return from where up to the threshold a score is worth a warning, None if unknown."""
        ...

    def p_value(self, score: float) -> float | None:
        """Return the share of the held scores, and itself, that are no lower; None while few."""
        ...

    def learn(self, score: float, peers: int) -> None:
        """Take note of an on-arrival score, after it was judged, and the number of its peers."""
        ...

    def support(self) -> Support:
        """Return how far the threshold can be relied on."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a restart needs: text, numbers, and numpy arrays of float64 [n]."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Answer from now on as the judge that gave ``state``.

        Raises:
            ValueError: It is not the state of a judge with these settings; the
                message names what is wrong, and nothing has changed.
        """
        ...


class Levels(NamedTuple):
    """What is in force until the next score."""

    threshold: float | None
    warning: float | None
    method: Method


class _Remembering:
    """What all judges have in common: the scores that came, and the levels in force."""

    def __init__(
        self, kind: str, levels: Levels, min_scores: int, history_scores: int, needed: int
    ) -> None:
        self._kind = kind
        self._levels = levels
        self._min_scores = min_scores
        self._needed = needed
        self._history = ScoreHistory(history_scores)

    def threshold(self) -> float | None:
        """Return the threshold for the next frame, or None while too little is known."""
        return self._levels.threshold

    def warning(self) -> float | None:
        """Return from where up to the threshold a score is worth a warning, None if unknown."""
        return self._levels.warning

    def p_value(self, score: float) -> float | None:
        """Return the share of the held scores, and itself, that are no lower; None while few.

        The rank among n scores that came before, rejected ones included, is at or
        below p in no more than p of all good parts, whatever their distribution;
        it is never below 1/(n + 1). Source: Vovk, Gammerman and Shafer,
        "Algorithmic Learning in a Random World", 2005, conformal p-values.
        """
        held = len(self._history)
        if held < self._min_scores:
            return None
        return (1 + self._history.count_from(score)) / (held + 1)

    def learn(self, score: float, peers: int) -> None:
        """Keep a positive score that had enough peers to be comparable.

        A score of 0 repeats a peer exactly; a stopped belt gives nothing else, and
        would soon be all that is held.
        """
        if peers >= CALIBRATION_PEERS and 0 < score < math.inf:
            self._history.add(score, self._levels.threshold)
            self._learned()

    def support(self) -> Support:
        """Return how far the threshold can be relied on.

        The interval is that of the held scores which reach the threshold in force:
        without labels rejects can be counted, false rejects cannot.
        """
        held, level = len(self._history), self._levels.threshold
        rejects = self._history.count_from(level) if level is not None else 0
        low, high = Proportion(rejects, held if level is not None else 0).interval
        missing = max(0, self._needed - held)
        return Support(self._levels.method, held, 1000 * low, 1000 * high, missing)

    def state(self) -> dict[str, Any]:
        """Return what a restart needs: text, numbers, and numpy arrays of float64 [n]."""
        levels = self._levels._asdict()
        return {"judge": self._kind, "levels": levels, **self._history.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Answer from now on as the judge that gave ``state``.

        Raises:
            ValueError: It is not the state of a judge with these settings; the
                message names what is wrong, and nothing has changed.
        """
        if state.get("judge") != self._kind:
            msg = f"judge: the state is of {state.get('judge')!r}, this judge is {self._kind!r}"
            raise ValueError(msg)
        levels = _levels(state.get("levels"))
        self._history.restore(state)
        self._levels = levels

    def _learned(self) -> None:
        """Move the levels after a score was learnt, where they move at all."""


class FixedThreshold(_Remembering):
    """A threshold that somebody chose; scores are held for their ranks only."""

    def __init__(
        self, threshold: float, min_scores: int = 16, history_scores: int = 10_000
    ) -> None:
        """Use ``threshold`` from the first score on."""
        levels = Levels(threshold, None, "fixed")
        super().__init__(f"fixed at {threshold}", levels, min_scores, history_scores, 0)


class RobustZ(_Remembering):
    """Median and spread of ln(score) over the latest scores, rejected ones included."""

    def __init__(
        self, rejects_per_1000: float, min_scores: int, history_scores: int, kind: str = "robust_z"
    ) -> None:
        """Set the quantile by the tolerated rejects in a thousand parts."""
        needed = scores_needed(rejects_per_1000)
        held = min(history_scores, max(LEAST_HELD, HELD_TIMES * needed, min_scores))
        kind = f"{kind} of {held} scores at {rejects_per_1000} rejects per 1000"
        super().__init__(kind, Levels(None, None, "robust_z"), min_scores, held, needed)
        self._rejects = rejects_per_1000
        self._warnings = min(WARN_TIMES * rejects_per_1000, MOST_WARNINGS_PER_1000)

    def _learned(self) -> None:
        held = len(self._history)
        every = max(held // REFITS, 1 if held <= EACH_UNTIL else REFIT_LEAST)
        if held >= self._min_scores and self._history.learned % every == 0:
            logs = np.log(self._history.scores)
            self._levels = self._fitted(logs, bulk(logs))

    def _fitted(self, _logs: Scores, most: Bulk) -> Levels:
        return _levels_at(*self._of_bulk(most), "robust_z")

    def _of_bulk(self, most: Bulk) -> tuple[float, float]:
        """Return ln of threshold and warning from median and spread.

        While the spread is uncertain the threshold lies high: what it would be were
        it exact is then where warnings begin.
        """
        warning = min(most.quantile(self._warnings), most.gaussian(self._rejects))
        return most.quantile(self._rejects), warning


class TailJudge(RobustZ):
    """A robust z while scores are few, and the tail of ln(score) once hundreds are there."""

    def __init__(self, rejects_per_1000: float, min_scores: int, history_scores: int) -> None:
        """Set the quantile by the tolerated rejects in a thousand parts."""
        super().__init__(rejects_per_1000, min_scores, history_scores, "tail")

    def _fitted(self, logs: Scores, most: Bulk) -> Levels:
        """Return the levels, those of the tail with a weight that grows from 0 to 1."""
        tail = (
            fit_tail(logs, self._limits(), most, self._rejects) if len(logs) > TAIL_FROM else None
        )
        if tail is None:
            return super()._fitted(logs, most)
        weight = min(1.0, (len(logs) - TAIL_FROM) / (TAIL_ALONE - TAIL_FROM))
        rates = self._rejects, self._warnings
        threshold, warning = (
            weight * tail.quantile(rate) + (1 - weight) * few
            for rate, few in zip(rates, self._of_bulk(most), strict=True)
        )
        return _levels_at(threshold, warning, "tail")

    def _limits(self) -> Scores:
        """Return ln of the threshold that each held score was compared with; inf without one."""
        thresholds = self._history.thresholds
        limits = np.full(len(thresholds), np.inf)
        return np.log(thresholds, out=limits, where=thresholds > NO_THRESHOLD)


def make_judge(settings: JudgeSettings) -> Judge:
    """Return the judge that the config asks for."""
    if settings.method == "fixed" and settings.fixed_threshold is not None:
        return FixedThreshold(
            settings.fixed_threshold, settings.min_scores, settings.history_scores
        )
    judge = TailJudge if settings.method == "auto" else RobustZ
    return judge(settings.rejects_per_1000, settings.min_scores, settings.history_scores)


def _levels_at(threshold: float, warning: float, method: Method) -> Levels:
    """Return levels from their logarithms; the warning is never above the threshold."""
    low, high = -LARGEST_LOG, LARGEST_LOG
    threshold = math.exp(min(max(threshold, low), high))
    return Levels(threshold, min(math.exp(min(max(warning, low), high)), threshold), method)


def _levels(state: object) -> Levels:
    """Return the levels of a state.

    Raises:
        ValueError: They are none; the message has them.
    """
    match state:
        case {"threshold": float() | None as level, "warning": float() | None as warning, **rest}:
            method = rest.get("method")
            usable = all(one is None or 0 < one < math.inf for one in (level, warning))
            for known in ("fixed", "robust_z", "tail"):
                if usable and method == known:
                    return Levels(level, warning, known)
    msg = f"levels = {state!r}: must be a threshold and a warning above 0, and the method"
    raise ValueError(msg)
