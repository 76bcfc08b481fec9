"""Two runs are the same where their results are, bit by bit, and only there."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlite_utils import Database

from pipeline.ledger import LedgerError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

ROW: dict[str, Any] = {
    "camera": "c1",
    "boot": "0" * 16,
    "seq": 1,
    "part_id": "P1",
    "verdict": "PASS",
    "reason": "score",
    "score": 0.1 + 0.2,
    "rescored": 0.5,
    "threshold": None,
    "window_n": 31,
}


def ledger(path: Path, *changes: dict[str, Any]) -> Path:
    """Write a ledger with one row for each change of ``ROW``."""
    with closing(Database(path)) as db:
        migrations.apply(db)
        for change in changes:
            insert_row(db, "verdicts", ROW | change)
        db.conn.commit()
    return path


def test_text_that_is_hashed(tmp_path: Path) -> None:
    """One JSON array a line, floats as the shortest decimals of the same float64, NULL as null."""
    path = ledger(tmp_path / "a.db", {"seq": 2, "verdict": "NO_RESULT", "score": None}, {})

    text = (
        '["c1",1,"P1","PASS","score",0.30000000000000004,0.5,null,31]\n'
        '["c1",2,"P1","NO_RESULT","score",null,0.5,null,31]\n'
    )
    assert run_hash(path) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"camera": "c2"},
        {"seq": 3},
        {"part_id": "P2"},
        {"verdict": "FAIL"},
        {"reason": "late"},
        {"score": 0.3},
        {"rescored": 0.25},
        {"threshold": 0.7},
        {"window_n": 30},
    ],
)
def test_each_result_counts(tmp_path: Path, change: dict[str, Any]) -> None:
    """Another result, be it by the last bit of a score, is another run."""
    one, other = ledger(tmp_path / "a.db", {}), ledger(tmp_path / "b.db", change)

    assert run_hash(one) != run_hash(other)


@pytest.mark.parametrize(
    "change", [{"boot": "f" * 16}, {"decided_at": "2026"}, {"latency_ms": 7}, {"compute_ms": 1.5}]
)
def test_times_and_boots_do_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    """When and how fast results came is no part of what they are."""
    one, other = ledger(tmp_path / "a.db", {}), ledger(tmp_path / "b.db", change)

    assert run_hash(one) == run_hash(other)


def test_order_of_writing_does_not_count(tmp_path: Path) -> None:
    """Rows are taken by camera and number, whoever was written first."""
    cameras = [{"camera": "c2"}, {"seq": 2}, {}]
    one, other = ledger(tmp_path / "a.db", *cameras), ledger(tmp_path / "b.db", *cameras[::-1])

    assert run_hash(one) == run_hash(other)


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """A file that is not there has no identity."""
    with pytest.raises(LedgerError, match=r"none\.db: no such file"):
        run_hash(tmp_path / "none.db")
