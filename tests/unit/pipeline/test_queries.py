"""Questions to the ledger: results, events, alarms, reviews, and whether every trigger has one."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from factories import START, announcement, inspection, moment
from sqlite_utils import Database

from pipeline.gate import Gate
from pipeline.ledger import Ledger, LedgerError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.queries import alarms, audit, audit_text, cell, events, latest, reviews
from pipeline.results import LineIdentity, timestamp

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger with a PASS, a FAIL and a frame that is still open."""
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, "NORMAL", LineIdentity("91d0aabb", "f" * 16, 100))
    gate = Gate(100)
    with ledger.transaction():
        ledger.missing_frames("c1", 0, limit=1)
        for seq, verdict in ((1, "PASS"), (2, "FAIL"), (3, None)):
            note = announcement(seq)
            ledger.open_frame(note)
            gate.announce(note, moment(0))
            if verdict is not None:
                result = gate.inspected(inspection(seq, verdict=verdict), moment(1))
                assert result is not None
                ledger.close_frame(result)
    ledger.close()
    return path


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """Return a ledger with three of each: events a second apart, alarm steps, reviews."""
    path = tmp_path / "past.db"
    with closing(Database(path)) as db:
        migrations.apply(db)
        for second, kind in enumerate(["start", "recipe", "start"]):
            time = timestamp(START + timedelta(seconds=second))
            detail = json.dumps({"to": f"lid-{second}"})
            insert_row(db, "events", {"time": time, "kind": kind, "detail": detail})
        for name in ("disk_low", "no_result", "disk_low"):
            step = {"name": name, "before": "NORMAL", "after": "ACTIVE_UNACK", "detail": None}
            insert_row(db, "alarms", step)
        for part, label in (("A", "good"), ("B", "good"), ("A", "defect")):
            insert_row(db, "reviews", {"part_id": part, "label": label, "by": "J", "note": ""})
        db.conn.commit()
    return path


def test_events_filter(past: Path) -> None:
    """By kind, from a moment on, and by how many; the latest last, details as objects."""
    second = timedelta(seconds=1)

    assert [row["detail"] for row in events(past, limit=2)] == [{"to": "lid-1"}, {"to": "lid-2"}]
    assert [row["id"] for row in events(past, limit=9, kind="start")] == [1, 3]
    assert [row["id"] for row in events(past, limit=9, since=START + second)] == [2, 3]
    assert [row["id"] for row in events(past, limit=9, kind="recipe", since=START)] == [2]
    assert events(past, limit=9, since=START + 3 * second) == []


def test_alarms_filter(past: Path) -> None:
    """By name and by how many steps; a step without detail has an empty one."""
    assert [row["name"] for row in alarms(past, limit=2)] == ["no_result", "disk_low"]
    assert [row["id"] for row in alarms(past, limit=9, name="disk_low")] == [1, 3]
    assert alarms(past, limit=1)[0]["detail"] == {}
    assert alarms(past, limit=9, name="") == []


def test_reviews_filter(past: Path) -> None:
    """By part and by how many; the one that counts is the last."""
    assert [row["part_id"] for row in reviews(past, limit=2)] == ["B", "A"]
    assert [row["label"] for row in reviews(past, limit=9, part="A")] == ["good", "defect"]


def test_ledger_from_before_is_said(past: Path) -> None:
    """A ledger without a table, or a file that is not there, is named, not a traceback."""
    with closing(Database(past)) as db:
        db.table("reviews").drop()

    with pytest.raises(LedgerError, match=rf"{past.name}: no such table: reviews"):
        reviews(past, limit=1)
    with pytest.raises(LedgerError, match=r"gone\.db: no such file"):
        events(past.with_name("gone.db"), limit=1)


def test_latest_filters(path: Path) -> None:
    """By result, by part, and by how many; the latest last."""
    assert [row["seq"] for row in latest(path, limit=2)] == [2, 3]
    assert [row["seq"] for row in latest(path, limit=9, verdict="FAIL")] == [2]
    assert [row["seq"] for row in latest(path, limit=9, part="P1")] == [1]
    assert latest(path, limit=9, part="P9") == []


@pytest.mark.parametrize(("count", "balanced"), [(3, False), (4, False)])
def test_open_or_missing_frames_do_not_balance(
    path: Path,
    tmp_path: Path,
    count: int,
    balanced: bool,  # noqa: FBT001 - a parameter
) -> None:
    """An open row, or a trigger without a row, is said."""
    counter = tmp_path / "c1.count"
    counter.write_text(str(count))

    (line,) = audit(path, {"c1": counter}, 100, sleep=lambda _s: None)

    assert line["balanced"] is balanced
    assert line["results"] == {"FAIL": 1, "PASS": 1, "open": 1}
    assert "NOT BALANCED" in audit_text([line])


def test_open_frame_in_time_balances(path: Path, tmp_path: Path) -> None:
    """On a running line a frame may wait for its result until its deadline."""
    counter = tmp_path / "c1.count"
    counter.write_text("3")

    (line,) = audit(path, {"c1": counter}, 10**9, sleep=lambda _s: None)

    assert line["balanced"]
    assert line["results"] == {"FAIL": 1, "PASS": 1, "open (in time)": 1}


def test_camera_without_a_frame_balances(path: Path, tmp_path: Path) -> None:
    """A camera that never ran owes nothing."""
    (line,) = audit(path, {"c2": tmp_path / "c2.count"}, 100)

    assert line["balanced"]
    assert audit_text([line]) == "c2: 0 counted = nothing"


def test_cells_are_short() -> None:
    """Numbers with four digits, a capture's time without its date, nothing for NULL."""
    assert cell("score", 0.123456) == "0.1235"
    assert cell("captured_at", "2026-01-02T03:04:05.678901Z") == "03:04:05.678"
    assert cell("score", None) == ""
    assert cell("seq", 12) == "12"
    assert cell("at", "2026-01-02T03:04:05.678901Z") == "2026-01-02 03:04:05"
    assert cell("detail", {"count": 3, "of": ["c1"]}) == "count=3, of=['c1']"


def test_cells_do_not_steer_the_terminal() -> None:
    """What cannot be printed is a question mark, inside a detail too."""
    assert cell("note", "a\x1b[2Jb\n") == "a?[2Jb?"
    assert cell("detail", {"code": "\x1b]0;x"}) == "code=?]0;x"
