"""How far other scores are from the exact ones: in rank, and in what they tell apart.

A rank correlation needs no labels. An AUROC does, and is known only as well as the
parts at hand allow; so its change is told with a 95 % interval of the paired
bootstrap: parts are drawn anew with replacement, good ones among the good and
defective ones among the defective, and both ways to score are judged on the same
draw. A part that several streams share is drawn for all of them at once, because
it is no further part.

Sources: Spearman, American Journal of Psychology 15, 1904; Efron and Tibshirani, An
introduction to the bootstrap, 1993, sections 8 and 13. With the parts' scores fixed,
the AUROC of a draw is a weighted mean over the pairs of a good and a defective part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Numbers: TypeAlias = NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class ScoredStream:
    """The scored parts of one stream, and each one's score by each way."""

    names: Sequence[str]
    """Which part it is; streams share parts of the same name."""
    labels: Sequence[int]
    """0 for good, 1 for defective; at least one of each."""
    scores: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and where it lies 95 times in 100 if other parts had come."""

    value: float
    low: float
    high: float

    @property
    def excludes_0(self) -> bool:
        """Whether chance alone does not explain the figure."""
        return self.low > 0 or self.high < 0


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's coefficient of two rows of n >= 2 numbers; 0 where one row is constant."""
    first, second = (_centred_ranks(np.asarray(row, np.float64)) for row in (one, other))
    lengths = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / lengths if lengths else 0.0


def auroc_intervals(
    streams: Sequence[ScoredStream], exact: str, seed: int = 0, draws: int = DRAWS
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """AUROC by each way, and its change against the exact way, with 95 % intervals.

    It is taken over the pairs of a good and a defective part of the same stream; for
    streams of as many of each, that is the mean of their AUROCs.

    Args:
        streams: At least one; all are scored in the same ways.
        exact: The way that the others are compared with.
        seed: Of the draws.
        draws: How often parts are drawn.
    """
    weights = _drawn_weights(streams, seed, draws)
    drawn = {name: _aurocs(streams, weights, name) for name in streams[0].scores}
    areas = {name: _interval(rows) for name, rows in drawn.items()}
    changes = {name: _interval(rows - drawn[exact]) for name, rows in drawn.items()}
    return areas, changes


def _centred_ranks(row: Numbers) -> Numbers:
    """Mid-ranks less their mean."""
    _, tie, counts = np.unique(row, return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(counts) - (counts - 1) / 2.0)[tie]
    ranks -= ranks.mean()
    return ranks


def _drawn_weights(streams: Sequence[ScoredStream], seed: int, draws: int) -> dict[str, Numbers]:
    """How often each part is drawn, [1 + draws] by name; once in the first row."""
    rng = np.random.default_rng(seed)
    labels = {
        name: label
        for stream in streams
        for name, label in zip(stream.names, stream.labels, strict=True)
    }
    weights: dict[str, Numbers] = {}
    for wanted in sorted(set(labels.values())):
        parts = [name for name, label in labels.items() if label == wanted]
        counts = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), draws)
        rows = np.vstack([np.ones(len(parts)), counts]).T
        weights |= dict(zip(parts, rows, strict=True))
    return weights


def _aurocs(streams: Sequence[ScoredStream], weights: Mapping[str, Numbers], name: str) -> Numbers:
    """AUROC of each draw, [1 + draws], over the pairs of all streams, each within its own."""
    won = pairs = np.zeros(len(next(iter(weights.values()))))
    for stream in streams:
        drawn = np.stack([weights[part] for part in stream.names], axis=1)
        bad = np.asarray(stream.labels, bool)
        scores = np.asarray(stream.scores[name], np.float64)
        above = scores[bad][:, None] - scores[~bad]
        wins = (np.sign(above) + 1) / 2
        won = won + ((drawn[:, bad] @ wins) * drawn[:, ~bad]).sum(axis=1)
        pairs = pairs + drawn[:, bad].sum(axis=1) * drawn[:, ~bad].sum(axis=1)
    return won / pairs


def _interval(rows: Numbers) -> Interval:
    """The first row's figure, with the percentiles of the others."""
    low, high = np.percentile(rows[1:], [2.5, 97.5])
    return Interval(float(rows[0]), float(low), float(high))
