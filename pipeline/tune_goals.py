"""What a search is after: one number of a run, the higher the better.

With labels it is what the labels say. Without, nobody knows which part is defective, and
three things can still be told: whether the highest scores stand apart from the others,
whether a part scores on arrival as it does once later parts have come, and whether as
many parts are rejected as are tolerated.
"""

from __future__ import annotations

import math
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from pipeline.ledger import open_for_reading
from pipeline.robust_z import bulk

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.replay_report import RunReport

Goal = Literal["auroc", "ap", "cost", "separation", "stability", "rejects"]
LABELLED: tuple[Goal, ...] = ("auroc", "ap", "cost")
"""Goals that need labels."""
GOALS: tuple[Goal, ...] = get_args(Goal)
MISSED_COSTS = 10.0
"""What a missed defect costs in false rejects, unless it is said."""
LEAST_SCORES = 30
"""With fewer scores nothing is told of them."""
LEAST_REJECTS = 0.5
"""What no rejects at all count as: their logarithm is asked for."""

Numbers = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """One run, as far as a search is concerned."""

    goal: float | None
    """The number that counts; None where it cannot be told."""
    figures: dict[str, Any]
    """What else is worth knowing, by name."""


def measure(
    goal: Goal, ledger: Path, config: Config, report: RunReport, missed_costs: float = MISSED_COSTS
) -> Measured:
    """Return what a run has reached.

    Args:
        goal: What counts.
        ledger: Of the run.
        config: Of the run.
        report: Of the run.
        missed_costs: What a missed defect costs, in false rejects.
    """
    scores, first, second = _scores(ledger, config.judge.score)
    judged = report.passed + report.failed
    without = sum(report.no_result.values())
    reached: dict[str, float | None] = {
        "auroc": report.auroc,
        "ap": report.ap,
        "cost": _cost(report, missed_costs),
        "separation": separation(scores),
        "stability": stability(first, second),
        "rejects": _rejects(report.failed, judged, config.judge.rejects_per_1000),
    }
    figures = {
        **reached,
        "recall": report.recall,
        "false_reject_rate": report.false_reject_rate,
        "rejected": report.failed / judged if judged else None,
        "no_result": without,
        "hash": report.hash,
    }
    return Measured(reached[goal], figures)


def separation(scores: Numbers) -> float | None:
    """Return how far the highest of the scores stand above the others.

    The mean of the highest fiftieth of ln(score), less the median, in deviations of the
    middle half: 2.4 for a Gaussian without defects, more where some stand apart.
    """
    if len(scores) < LEAST_SCORES:
        return None
    logs = np.sort(np.log(scores))
    spread = bulk(logs)
    highest = logs[-max(1, len(logs) // 50) :]
    return float((highest.mean() - spread.median) / spread.sigma)


def stability(first: Numbers, second: Numbers) -> float | None:
    """Return the rank correlation (Spearman) of scores on arrival and at the second look."""
    if len(first) < LEAST_SCORES:
        return None
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (first, second)]
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def _cost(report: RunReport, missed_costs: float) -> float | None:
    """Return what a part costs on average in false rejects, below 0; what is missed costs more."""
    if report.recall is None or report.false_reject_rate is None or not report.n:
        return None
    missed = (1 - report.recall) * report.defective
    false = report.false_reject_rate * (report.n - report.defective)
    return -(missed_costs * missed + false) / report.n


def _rejects(rejected: int, judged: int, per_1000: float) -> float | None:
    """Return minus how many times too many, or too few, are rejected, as a logarithm."""
    if not judged:
        return None
    wanted = judged * per_1000 / 1000
    return -abs(math.log(max(rejected, LEAST_REJECTS) / max(wanted, LEAST_REJECTS)))


def _scores(ledger: Path, deciding: str) -> tuple[Numbers, Numbers, Numbers]:
    """Return the deciding scores of judged frames; and both looks at those that had two."""
    column = "score" if deciding == "raw" else "rescored"
    query = (
        f"select {column}, score, refined_score from verdicts "  # noqa: S608 - our own columns
        f"where verdict != 'NO_RESULT' and {column} > 0 order by camera, boot, seq"
    )
    with closing(open_for_reading(ledger)) as db:
        rows = db.execute(query).fetchall()
    twice = [(one, two) for _, one, two in rows if two is not None]
    first, second = (np.array([pair[i] for pair in twice], float) for i in (0, 1))
    return np.array([row[0] for row in rows], float), first, second
