"""What the ledger can say of rejects, and with reviews of false rejects and misses.

Without labels only rejects can be counted. A review says what a part really was,
but people look at rejects far more often than at parts that passed. So shares
are counted among rejected and among passed parts apart, and put together by how
many there are of each: reviewed parts stand for all of their verdict, and only
which of them were picked must not depend on what they are.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.ledger import LedgerError, open_for_reading
from pipeline.proportion import Proportion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_COUNTS = "select verdict, count(*) from parts where verdict is not null group by verdict"
_REVIEWED = """
    select parts.verdict, reviews.label, count(*) from reviews
    join parts on parts.rowid = (
        select max(rowid) from parts as same where same.part_id = reviews.part_id
    )
    where reviews.id in (select max(id) from reviews group by part_id)
    group by parts.verdict, reviews.label
"""
"""The latest review of each part, beside the latest verdict of that part."""

Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share in [0, 1] and the ends between which it lies; no value where nothing says it."""

    value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RejectRates:
    """Counts of a ledger, and the rates that follow from them."""

    passed: int
    failed: int
    no_result: int
    """Parts without a verdict of the method; they are in no rate."""
    good_of_failed: Proportion
    """Reviewed rejects that were good parts."""
    defective_of_passed: Proportion
    """Reviewed passes that were defective parts."""

    @property
    def reviewed(self) -> int:
        """Parts with a review and a verdict of the method."""
        return self.good_of_failed.of + self.defective_of_passed.of

    @property
    def rejects(self) -> Rate:
        """Rejects among the parts that were judged, with its 95 % interval."""
        found = Proportion(self.failed, self.passed + self.failed)
        return Rate(found.share, *found.interval)

    @property
    def false_rejects(self) -> Rate:
        """Rejects among good parts: P(FAIL | good)."""

        def rate(good: float, defective: float) -> float | None:
            return _share(self.failed * good, self.passed * (1 - defective))

        return self._combined(rate)

    @property
    def misses(self) -> Rate:
        """Passes among defective parts: P(PASS | defective)."""

        def rate(good: float, defective: float) -> float | None:
            return _share(self.passed * defective, self.failed * (1 - good))

        return self._combined(rate)

    def _combined(self, rate: Callable[[float, float], float | None]) -> Rate:
        """Put both shares together, at their counts and at the ends of their intervals.

        Each rate rises with both shares, so its ends lie where theirs do; both 95 %
        intervals at once hold in at least 90 of 100 ledgers.
        """
        good, defective = self.good_of_failed, self.defective_of_passed
        known = good.share, defective.share
        value = rate(known[0] or 0.0, known[1] or 0.0) if None not in known else None
        (low_good, high_good), (low_defective, high_defective) = good.interval, defective.interval
        low, high = rate(low_good, low_defective), rate(high_good, high_defective)
        return Rate(value, 0.0 if low is None else low, 1.0 if high is None else high)

    def rows(self) -> list[dict[str, Any]]:
        """Return the three rates as rows: rate, value and ends per 1000, and of what."""
        judged = self.passed + self.failed
        reviewed = (
            f"{self.good_of_failed.of} of {self.failed} rejects and "
            f"{self.defective_of_passed.of} of {self.passed} passes reviewed"
        )
        named = (
            ("rejects", self.rejects, f"{judged} parts judged, {self.no_result} without result"),
            ("false rejects of good parts", self.false_rejects, reviewed),
            ("misses of defective parts", self.misses, reviewed),
        )
        return [
            {
                "rate": name,
                "per_1000": None if one.value is None else round(1000 * one.value, 2),
                "low": round(1000 * one.low, 2),
                "high": round(1000 * one.high, 2),
                "of": of,
            }
            for name, one, of in named
        ]


RATES_SHOWN = ("rate", "per_1000", "low", "high", "of")


def reject_rates(ledger: Path) -> RejectRates:
    """Count the parts of a ledger by verdict and by their latest review.

    Raises:
        LedgerError: There is no such file, or it is no ledger with reviews.
    """
    with closing(open_for_reading(ledger)) as db:
        try:
            counts = dict(db.execute(_COUNTS).fetchall())
            reviewed = {(verdict, label): n for verdict, label, n in db.execute(_REVIEWED)}
        except sqlite3.Error as error:
            msg = f"ledger {ledger}: {error}"
            raise LedgerError(msg) from error

    def said(verdict: str, label: str, other: str) -> Proportion:
        count = reviewed.get((verdict, label), 0)
        return Proportion(count, count + reviewed.get((verdict, other), 0))

    return RejectRates(
        passed=counts.get("PASS", 0),
        failed=counts.get("FAIL", 0),
        no_result=counts.get("NO_RESULT", 0),
        good_of_failed=said("FAIL", "good", "defect"),
        defective_of_passed=said("PASS", "defect", "good"),
    )


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest else None
