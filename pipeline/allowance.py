"""An allowance: so many at once, so many a second, and a count of the rest."""

from __future__ import annotations


class Allowance:
    """A token bucket; the caller brings the time."""

    def __init__(self, at_once: int, per_s: float, now_ns: int) -> None:
        """Begin with ``at_once`` to spend; it fills again with ``per_s`` a second."""
        self._at_once = self._left = float(at_once)
        self._per_s = per_s
        self._filled_ns = now_ns

    def left(self, now_ns: int) -> int:
        """Return how many may be spent now."""
        self._left = min(
            self._at_once, self._left + self._per_s * max(0, now_ns - self._filled_ns) / 1e9
        )
        self._filled_ns = now_ns
        return int(self._left)

    def spend(self, now_ns: int, count: int = 1) -> bool:
        """Spend ``count``, if there are so many; tell whether there were."""
        if self.left(now_ns) < count:
            return False
        self._left -= count
        return True
