"""Two runs of the same line, part by part: which verdicts differ, and what stands beside them.

Parts are matched by their id; one that comes several times is matched in order.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from pathlib import Path

PARTS = (
    "select p.part_id, p.verdict, p.reason, v.score, v.threshold from parts p "
    "left join verdicts v on v.camera = p.worst_camera and v.boot = p.worst_boot "
    "and v.seq = p.worst_seq order by p.rowid"
)
DIFF_SHOWN = (
    "part", "old", "new", "old_score", "new_score", "old_threshold", "new_threshold",
)  # fmt: skip
"""Columns of a table of differences."""

_Name = tuple[str, int]
"""A part's id, and the how-manieth of that id it is."""


class PartResult(NamedTuple):
    """A part's verdict, and the figures of the view that decided it."""

    verdict: str
    why: str
    score: float | None
    threshold: float | None

    def __str__(self) -> str:
        """The verdict, of NO_RESULT with its reason."""
        return f"{self.verdict} {self.why}" if self.verdict == "NO_RESULT" else self.verdict


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What differs between two runs."""

    differ: list[tuple[str, PartResult, PartResult]]
    """Part, and its old and new result, where the verdicts differ."""
    only_old: list[str]
    only_new: list[str]
    same: int
    """Parts with the same verdict."""

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of ``DIFF_SHOWN`` for each part that differs or is in one run only."""
        rows = [
            {
                "part": part,
                "old": str(old),
                "new": str(new),
                "old_score": old.score,
                "new_score": new.score,
                "old_threshold": old.threshold,
                "new_threshold": new.threshold,
            }
            for part, old, new in self.differ
        ]
        nothing = dict.fromkeys(DIFF_SHOWN)
        rows += [nothing | {"part": part, "old": "is there"} for part in self.only_old]
        return rows + [nothing | {"part": part, "new": "is there"} for part in self.only_new]

    def counts(self) -> dict[str, int]:
        """Return how many parts are the same, differ, or are in one run only."""
        return {
            "same": self.same,
            "differ": len(self.differ),
            "only_old": len(self.only_old),
            "only_new": len(self.only_new),
        }


def part_results(ledger: Path) -> dict[_Name, PartResult]:
    """Return the parts of a ledger in the order of their verdicts.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    found: dict[_Name, PartResult] = {}
    times: Counter[str] = Counter()
    with closing(open_for_reading(ledger)) as db:
        for part_id, *result in db.execute(PARTS):
            times[part_id] += 1
            found[part_id, times[part_id]] = PartResult(*result)
    return found


def compare(old: dict[_Name, PartResult], new: dict[_Name, PartResult]) -> RunDiff:
    """Match the parts of two runs."""
    both = [name for name in old if name in new]
    differ = [
        (name[0], old[name], new[name]) for name in both if old[name].verdict != new[name].verdict
    ]
    return RunDiff(
        differ=differ,
        only_old=[name[0] for name in old if name not in new],
        only_new=[name[0] for name in new if name not in old],
        same=len(both) - len(differ),
    )
