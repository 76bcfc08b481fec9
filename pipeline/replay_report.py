"""What a run has said, in numbers: its results, and how they stand beside known labels."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge.frame import FrameKey
from musc.metrics import auroc, average_precision
from pipeline.label_table import LabelError, read_label_table
from pipeline.ledger import open_for_reading
from pipeline.replay_sources import named
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run. Shares are 0 to 1, and None where there is nothing to take them of."""

    passed: int
    failed: int
    no_result: dict[str, int]
    """NO_RESULT by reason."""
    auroc: float | None
    """Of the deciding scores."""
    ap: float | None
    recall: float | None
    """Share of the defective frames with a verdict that FAIL."""
    false_reject_rate: float | None
    """Share of the good frames with a verdict that FAIL."""
    n: int
    """Frames with a label and a PASS or FAIL: what the figures are taken of."""
    defective: int
    """Those of them that are defective."""
    unlabelled: int
    """Frames without a label."""
    hash: str
    """``run_identity``."""

    def summary(self) -> dict[str, Any]:
        """Return what a program reads."""
        return {
            "pass": self.passed,
            "fail": self.failed,
            "no_result": sum(self.no_result.values()),
            "auroc": self.auroc,
            "ap": self.ap,
            "recall": self.recall,
            "false_reject_rate": self.false_reject_rate,
            "n": self.n,
            "hash": self.hash,
        }


def match_labels(table: Path, names: Mapping[str, Sequence[FrameKey]]) -> dict[FrameKey, bool]:
    """Return which frames a table of labels calls defective.

    Args:
        table: CSV with ``path`` or ``part``, and ``label``.
        names: The frames of each name.

    Raises:
        LabelError: The table cannot be read, or names what is no frame, or calls a frame
            both good and defective; with their number.
    """
    labels: dict[FrameKey, bool] = {}
    unknown, both = [], []
    for row in read_label_table(table):
        if row.name not in names:
            unknown.append(f"{row.name} (line {row.line})")
        frames = names.get(row.name, ())
        if any(labels.setdefault(key, row.defective) != row.defective for key in frames):
            both.append(f"{row.name} (line {row.line})")
    faults = {"labels are of no frame": unknown, "frames are called good and defective": both}
    told = "; ".join(named(kind, places) for kind, places in faults.items() if places)
    if told:
        msg = f"{table}: {told}"
        raise LabelError(msg)
    return labels


def report(
    ledger: Path, deciding: Literal["raw", "rescored"], labels: Mapping[FrameKey, bool]
) -> RunReport:
    """Read a run's numbers from its ledger.

    Args:
        ledger: The file.
        deciding: Which score its thresholds belong to.
        labels: Whether a frame is defective; frames may lack one.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    judged: list[tuple[bool, bool, float]] = []
    frames = 0
    with closing(open_for_reading(ledger)) as db:
        for camera, boot, seq, verdict, reason, raw, rescored in db.execute(
            "select camera, boot, seq, verdict, reason, score, rescored from verdicts"
        ):
            frames += 1
            counts[verdict] += 1
            label = labels.get(FrameKey(camera, boot, seq))
            if verdict == "NO_RESULT":
                reasons[reason] += 1
            elif label is not None:
                judged.append((label, verdict == "FAIL", raw if deciding == "raw" else rescored))
    truth, scores = [label for label, _, _ in judged], [score for _, _, score in judged]
    both = 0 < sum(truth) < len(truth)
    return RunReport(
        passed=counts["PASS"],
        failed=counts["FAIL"],
        no_result=dict(sorted(reasons.items())),
        auroc=auroc(truth, scores) if both else None,
        ap=average_precision(truth, scores) if both else None,
        recall=_share(failed for label, failed, _ in judged if label),
        false_reject_rate=_share(failed for label, failed, _ in judged if not label),
        n=len(judged),
        defective=sum(truth),
        unlabelled=frames - len(labels),
        hash=run_hash(ledger),
    )


def _share(hits: Iterable[bool]) -> float | None:
    known = list(hits)
    return sum(known) / len(known) if known else None
