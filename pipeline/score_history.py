"""The latest on-arrival scores of one judge, each with the threshold then in force.

Every comparable score is kept, whatever its verdict was: a history of admitted
scores only would cut its own tail off, and each threshold set by it would be
lower than the one before. What a score was compared with is kept beside it,
because only that says which scores could be seen in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Scores = npt.NDArray[np.float64]

NO_THRESHOLD = 0.0
"""Stands for "none was in force": a threshold is always above 0."""


class ScoreHistory:
    """A ring of scores; the oldest is forgotten first."""

    def __init__(self, capacity: int) -> None:
        """Start empty, with room for ``capacity`` scores."""
        self._scores = np.zeros(capacity)
        self._thresholds = np.zeros(capacity)
        self._learned = 0

    def __len__(self) -> int:
        """Return how many scores are held."""
        return min(self._learned, len(self._scores))

    @property
    def learned(self) -> int:
        """Scores that ever came, the forgotten ones included."""
        return self._learned

    @property
    def scores(self) -> Scores:
        """The held scores [n], the oldest first."""
        return self._ordered(self._scores)

    @property
    def thresholds(self) -> Scores:
        """What they were compared with [n]; ``NO_THRESHOLD`` where there was none."""
        return self._ordered(self._thresholds)

    def add(self, score: float, threshold: float | None) -> None:
        """Keep a positive score and the threshold that was in force when it came."""
        place = self._learned % len(self._scores)
        self._scores[place] = score
        self._thresholds[place] = NO_THRESHOLD if threshold is None else threshold
        self._learned += 1

    def count_from(self, score: float) -> int:
        """Return how many of the held scores are at or above ``score``."""
        return int(np.count_nonzero(self._scores[: len(self)] >= score))

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, as numpy arrays and an int."""
        return {"scores": self.scores, "thresholds": self.thresholds, "learned": self._learned}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the history that gave ``state``.

        Raises:
            ValueError: Something is missing, no number, out of range or more
                than there is room for; nothing has changed.
        """
        scores, thresholds = (_column(state, name) for name in ("scores", "thresholds"))
        learned, room = _whole(state, "learned"), len(self._scores)
        if len(scores) != len(thresholds):
            msg = f"thresholds: {len(thresholds)} values for {len(scores)} scores"
            raise ValueError(msg)
        if not (scores > 0).all():
            msg = f"scores: the least is {scores.min()}, must be above 0"
            raise ValueError(msg)
        if not (thresholds >= 0).all():
            msg = f"thresholds: the least is {thresholds.min()}, must be 0 or above"
            raise ValueError(msg)
        if len(scores) != min(learned, room):
            msg = f"scores: {len(scores)} values, must be {min(learned, room)} of {learned} learned"
            raise ValueError(msg)
        # Place k % room holds the k-th score, as if they had come one after the other.
        places = np.arange(learned - len(scores), learned) % room
        self._scores[places], self._thresholds[places] = scores, thresholds
        self._learned = learned

    def _ordered(self, ring: Scores) -> Scores:
        oldest = max(0, self._learned - len(ring))
        return ring[np.arange(oldest, self._learned) % len(ring)]


def _column(state: Mapping[str, Any], name: str) -> Scores:
    try:
        column: Scores = np.asarray(state[name], np.float64)
    except KeyError:
        msg = f"{name}: missing"
        raise ValueError(msg) from None
    except (TypeError, ValueError) as error:
        msg = f"{name}: not numbers: {error}"
        raise ValueError(msg) from error
    if column.ndim != 1 or not np.isfinite(column).all():
        msg = f"{name}: must be one row of finite numbers, has shape {column.shape}"
        raise ValueError(msg)
    return column


def _whole(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        msg = f"{name} = {value!r}: must be a whole number of at least 0"
        raise ValueError(msg)
    return value
