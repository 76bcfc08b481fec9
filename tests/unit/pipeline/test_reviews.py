"""Reviews are written beside a gate that writes, for parts that there are."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from factories import START
from sqlite_utils import Database

from pipeline.ledger import Ledger, LedgerBusyError, LedgerError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.queries import reviews
from pipeline.results import LineIdentity
from pipeline.reviews import add_review, insert_review

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger with one part, A-1."""
    path = tmp_path / "ledger.db"
    with closing(Database(path)) as db:
        db.enable_wal()
        migrations.apply(db)
        insert_row(db, "parts", {"boot": "f" * 16, "part_seq": 1, "part_id": "A-1"})
        db.conn.commit()
    return path


def said(path: Path) -> list[dict[str, Any]]:
    """Return all reviews."""
    return reviews(path, limit=9)


def test_review_is_kept(path: Path) -> None:
    """A review is a row with part, label, who, when and why."""
    add_review(path, "A-1", "defect", "Jürgen", "scratch", START)

    assert said(path) == [
        {
            "id": 1,
            "part_id": "A-1",
            "label": "defect",
            "by": "Jürgen",
            "at": "2026-01-02T03:04:05.678901Z",
            "note": "scratch",
        }
    ]


def test_second_opinion_is_another_row(path: Path) -> None:
    """A part may be reviewed again; the earlier statement stays, the latest is last."""
    add_review(path, "A-1", "defect", "J", "", START)
    add_review(path, "A-1", "good", "K", "only dust", START)

    assert [(row["label"], row["by"]) for row in said(path)] == [("defect", "J"), ("good", "K")]


def test_unknown_part_is_refused_by_name(path: Path) -> None:
    """A part without a verdict has no review; the message names it, nothing is written."""
    with pytest.raises(LedgerError, match="part A-2: no verdict"):
        add_review(path, "A-2", "good", "J", "", START)

    assert said(path) == []


def test_review_belongs_to_the_gates_transaction(path: Path) -> None:
    """A review inside the gate's transaction is there only if that is committed."""
    gate = Ledger(path, "NORMAL", LineIdentity("91d0aabb", "f" * 16, 100))

    def given_up() -> None:
        with gate.transaction():
            insert_review(gate.db, "A-1", "good", "J", "", START)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        given_up()
    before = said(path)
    with gate.transaction():
        insert_review(gate.db, "A-1", "defect", "J", "", START)
    gate.close()

    assert before == []
    assert [row["label"] for row in said(path)] == ["defect"]


def test_review_waits_for_the_gate(path: Path) -> None:
    """While the gate holds the ledger a review waits, and is then written."""
    gate = sqlite3.connect(path, isolation_level=None)
    gate.execute("begin immediate")
    review = threading.Thread(target=add_review, args=(path, "A-1", "good", "J", "", START))
    review.start()

    before = said(path)
    gate.execute("commit")
    review.join(20)
    gate.close()

    assert before == []
    assert [row["part_id"] for row in said(path)] == ["A-1"]


def test_endless_writer_is_said(path: Path) -> None:
    """A ledger that stays locked is an error that may be tried again, with the file's name."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")

        with pytest.raises(LedgerBusyError, match=r"ledger\.db: database is locked"):
            add_review(path, "A-1", "good", "J", "", START, busy_s=0.01)

    assert said(path) == []


def test_review_creates_no_ledger(tmp_path: Path) -> None:
    """A missing file, or one that is no ledger, is refused; nothing is made of it."""
    gone, text = tmp_path / "gone.db", tmp_path / "notes.txt"
    text.write_text("no database at all, but long enough to have a header of its own " * 20)

    with pytest.raises(LedgerError, match=r"gone\.db: no such file"):
        add_review(gone, "A-1", "good", "J", "", START)
    with pytest.raises(LedgerError, match=r"notes\.txt: file is not a database"):
        add_review(text, "A-1", "good", "J", "", START)
    assert not gone.exists()
