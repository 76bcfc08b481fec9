"""A run's numbers, and how its scores stand beside known labels."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from edge.frame import FrameKey
from pipeline.label_table import LabelError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.replay_report import match_labels, report

if TYPE_CHECKING:
    from pathlib import Path

BOOT = "0" * 16
RESULTS = [
    ("NO_RESULT", "warming", 0.9),
    ("PASS", "score", 0.1),
    ("PASS", "score", 0.4),
    ("FAIL", "score", 0.6),
    ("PASS", "score", 0.3),
    ("FAIL", "score", 0.8),
]
"""Frames 1 to 6."""


def key(seq: int) -> FrameKey:
    """The key of a frame."""
    return FrameKey("c1", BOOT, seq)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with the six results; rescored, the scores are the other way round."""
    path = tmp_path / "ledger.db"
    with closing(Database(path)) as db:
        migrations.apply(db)
        for seq, (verdict, why, score) in enumerate(RESULTS, 1):
            row = {"camera": "c1", "boot": BOOT, "seq": seq, "verdict": verdict, "reason": why}
            insert_row(db, "verdicts", row | {"score": score, "rescored": 1 - score})
        db.conn.commit()
    return path


def test_figures_beside_labels(ledger: Path) -> None:
    """Figures are of frames with a label and a PASS or FAIL; the others are counted apart."""
    labels = {key(1): True, key(2): False, key(3): True, key(4): False, key(6): True}

    done = report(ledger, "raw", labels)

    assert (done.passed, done.failed, done.no_result) == (3, 2, {"warming": 1})
    assert (done.n, done.unlabelled) == (4, 1)
    assert done.auroc == 0.75  # of 0.4 and 0.8 above 0.1 and 0.6 three pairs are in order
    assert done.ap == pytest.approx((1 + 2 / 3) / 2)
    assert (done.recall, done.false_reject_rate) == (0.5, 0.5)


def test_deciding_score(ledger: Path) -> None:
    """With a judge of rescored scores those are what is measured."""
    labels = {key(seq): seq in {3, 6} for seq in range(2, 7)}

    raw, rescored = (report(ledger, which, labels).auroc for which in ("raw", "rescored"))

    assert raw is not None
    assert rescored == pytest.approx(1 - raw)


def test_one_kind_alone_has_no_auroc(ledger: Path) -> None:
    """What cannot be measured is None, never 0."""
    done = report(ledger, "raw", {key(2): False, key(4): False})

    assert (done.auroc, done.ap, done.recall, done.false_reject_rate) == (None, None, None, 0.5)


def test_what_a_program_reads(ledger: Path) -> None:
    """The summary has each figure under its name, without labels as None."""
    summary = report(ledger, "raw", {}).summary()

    assert list(summary) == [
        "pass", "fail", "no_result", "auroc", "ap", "recall", "false_reject_rate", "n", "hash"
    ]  # fmt: skip
    assert (summary["pass"], summary["fail"], summary["no_result"], summary["n"]) == (3, 2, 1, 0)
    assert len(summary["hash"]) == 64


def test_labels_by_file_or_part(tmp_path: Path) -> None:
    """A label of a name is the label of all its frames."""
    table = tmp_path / "labels.csv"
    table.write_text("part,label\nA,1\nB,0\n")

    labels = match_labels(table, {"A": [key(1), key(3)], "B": [key(2)], "C": [key(4)]})

    assert labels == {key(1): True, key(3): True, key(2): False}


def test_labels_of_nothing_are_named_and_counted(tmp_path: Path) -> None:
    """Labels of unknown files stop the run, with their number and the first of them."""
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nA,1\n" + "".join(f"x{i},0\n" for i in range(7)))

    with pytest.raises(LabelError, match=r"7 labels are of no frame: x0 \(line 3\), .*, \.\.\."):
        match_labels(table, {"A": [key(1)]})


def test_contradicting_labels_are_named(tmp_path: Path) -> None:
    """A frame cannot be good and defective."""
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nA.png,1\nA,0\n")

    with pytest.raises(LabelError, match=r"1 frames are called good and defective: A \(line 3\)"):
        match_labels(table, {"A.png": [key(1)], "A": [key(1)]})
