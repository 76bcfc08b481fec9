"""Rates of rejects from the ledger: counted, and corrected by reviews."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.ledger import LedgerError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.proportion import Proportion
from pipeline.reject_rates import RejectRates, reject_rates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Return a ledger with 90 passes, 10 rejects, 2 without result, and reviews of some."""
    path = tmp_path / "ledger.db"
    verdicts = ["PASS"] * 90 + ["FAIL"] * 10 + ["NO_RESULT"] * 2
    labels = {0: "good", 1: "defect", 90: "good", 91: "good", 92: "defect", 100: "defect"}
    with closing(Database(path)) as db:
        migrations.apply(db)
        for seq, verdict in enumerate(verdicts):
            part = {"boot": "f" * 16, "part_seq": seq, "part_id": f"P{seq}", "verdict": verdict}
            insert_row(db, "parts", part)
        for seq, label in labels.items():
            insert_row(db, "reviews", {"part_id": f"P{seq}", "label": label, "by": "J"})
        db.conn.commit()
    return path


def test_counts_are_those_of_the_ledger(ledger: Path) -> None:
    """Rejects are counted among parts that were judged; reviews among parts of their verdict."""
    found = reject_rates(ledger)

    assert (found.passed, found.failed, found.no_result, found.reviewed) == (90, 10, 2, 5)
    assert found.rejects.value == 0.1
    assert found.good_of_failed == Proportion(2, 3)
    assert found.defective_of_passed == Proportion(1, 2)


def test_latest_review_counts(ledger: Path) -> None:
    """A part that is reviewed again counts once, as what was said last."""
    with closing(Database(ledger)) as db:
        insert_row(db, "reviews", {"part_id": "P90", "label": "defect", "by": "J"})
        db.conn.commit()

    found = reject_rates(ledger)

    assert found.good_of_failed == Proportion(1, 3)


def test_reviewed_parts_stand_for_all_of_their_verdict() -> None:
    """That rejects are reviewed more often than passes does not move the rates."""
    few = RejectRates(900, 100, 0, Proportion(20, 100), Proportion(1, 90))
    many = RejectRates(900, 100, 0, Proportion(20, 100), Proportion(10, 900))

    assert few.false_rejects.value == pytest.approx(20 / (20 + 890))
    assert few.misses.value == pytest.approx(10 / (10 + 80))
    assert many.misses.value == pytest.approx(few.misses.value)
    assert few.misses.high - few.misses.low > many.misses.high - many.misses.low


def test_without_reviews_nothing_is_claimed() -> None:
    """Where no pass was reviewed misses have no value, and may be all or none."""
    found = RejectRates(90, 10, 0, Proportion(10, 10), Proportion(0, 0))

    assert found.misses.value is None
    assert found.misses.low == 0
    assert found.misses.high == 1
    assert found.false_rejects.value is None


def test_rates_are_printed(ledger: Path) -> None:
    """``verdicts --rates`` says each rate with its interval and how many parts were reviewed."""
    done = CliRunner().invoke(app, ["verdicts", "--rates", "--ledger", str(ledger), "--json"])

    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [row["per_1000"] for row in rows] == [100.0, 129.03, 931.03]
    assert all(row["low"] < row["per_1000"] < row["high"] for row in rows)
    assert rows[0]["of"] == "100 parts judged, 2 without result"
    assert rows[1]["of"] == "3 of 10 rejects and 2 of 90 passes reviewed"


def test_file_that_is_no_ledger_is_said(tmp_path: Path) -> None:
    """A database without parts is an operator's error that names the file."""
    path = tmp_path / "other.db"
    with closing(Database(path)) as db:
        db.execute("create table other (a int)")

    with pytest.raises(LedgerError, match=r"other\.db"):
        reject_rates(path)
