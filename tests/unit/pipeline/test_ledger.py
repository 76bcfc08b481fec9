"""The ledger keeps one row a frame, opened by its announcement, closed once."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from factories import START, announcement, inspection, moment

from pipeline.gate import Gate
from pipeline.ledger import Ledger, LedgerBusyError, LedgerError, open_for_reading, read_heatmap
from pipeline.parts import PartAssembler
from pipeline.regions import grid_to_sensor
from pipeline.results import FrameResult, LineIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDENTITY = LineIdentity("91d0aabb", "fedcba9876543210", 100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the ledger lies."""
    return tmp_path / "sub" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Return an open ledger."""
    ledger = Ledger(path, "FULL", IDENTITY)
    yield ledger
    ledger.close()


def closed(seq: int = 1, **fields: object) -> FrameResult:
    """Return the result of an inspected frame."""
    gate = Gate(100)
    gate.announce(announcement(seq), moment(0))
    result = gate.inspected(inspection(seq, **fields), moment(7))
    assert result is not None
    return result


def rows(path: Path, table: str) -> list[dict[str, object]]:
    """Return all rows of a table, as a reader sees them."""
    db = open_for_reading(path)
    found = list(db.table(table).rows)
    db.close()
    return found


def test_row_opens_and_closes(ledger: Ledger, path: Path) -> None:
    """An announced frame has a row without verdict; its result fills it."""
    with ledger.transaction():
        ledger.open_frame(announcement())
    (before,) = rows(path, "verdicts")

    with ledger.transaction():
        ledger.close_frame(closed())
    (after,) = rows(path, "verdicts")

    assert before["verdict"] is None
    assert before["captured_at"] == "2026-01-02T03:04:05.678901Z"
    assert (after["verdict"], after["code"], after["reason"]) == ("PASS", 1, "score")
    assert (after["score"], after["threshold"], after["latency_ms"]) == (0.5, 0.8, 7)
    assert (after["part_id"], after["config_hash"]) == ("P1", "91d0aabb")


def test_first_result_stays(ledger: Ledger, path: Path) -> None:
    """A closed row is never written again."""
    with ledger.transaction():
        ledger.open_frame(announcement())
        ledger.close_frame(closed())
        ledger.close_frame(closed(verdict="FAIL"))

    assert rows(path, "verdicts")[0]["verdict"] == "PASS"


def test_transaction_is_all_or_nothing(ledger: Ledger, path: Path) -> None:
    """What fails half-way leaves no trace."""

    def twice() -> None:
        with ledger.transaction():
            ledger.open_frame(announcement(1))
            ledger.open_frame(announcement(1))

    with pytest.raises(LedgerError, match="UNIQUE"):
        twice()

    assert rows(path, "verdicts") == []


def test_leftovers_are_found_after_a_restart(ledger: Ledger, path: Path) -> None:
    """Rows without a verdict are what a killed gate still owes."""
    with ledger.transaction():
        for seq in (1, 2):
            ledger.open_frame(announcement(seq))
        ledger.close_frame(closed(1))
    ledger.close()

    again = Ledger(path, "NORMAL", IDENTITY)
    left = again.rows_left_open()
    known = again.has_frame(announcement(1).key), again.has_frame(announcement(3).key)
    again.close()

    assert left == [announcement(2)]
    assert known == (True, False)


def test_heatmap_survives_as_half_precision(ledger: Ledger, path: Path) -> None:
    """The patch grid comes back within half precision, with its affine."""
    grid = np.random.default_rng(0).random((16, 16), np.float32)
    affine = grid_to_sensor((16, 16), 300, 300)

    with ledger.transaction():
        ledger.open_frame(announcement())
        ledger.close_frame(closed(patch_scores=grid, affine=affine))
    (row,) = rows(path, "heatmaps")

    np.testing.assert_allclose(read_heatmap(row), grid, atol=5e-4)
    assert tuple(json.loads(str(row["affine"]))) == affine


def test_parts_and_events_have_rows(ledger: Ledger, path: Path) -> None:
    """A part verdict and an event are kept."""
    parts = PartAssembler(("c1",), 100).add(closed(), moment(8))

    with ledger.transaction():
        ledger.close_part(parts[0])
        ledger.add_event(START, "scorer_lost", None, {"why": "killed"})
    (part,), (event,) = rows(path, "parts"), rows(path, "events")

    assert (part["part_seq"], part["verdict"], part["worst_camera"]) == (1, "PASS", "c1")
    assert (event["kind"], json.loads(str(event["detail"]))) == ("scorer_lost", {"why": "killed"})


def test_missing_frames_are_found(ledger: Ledger) -> None:
    """Numbers without a row, from where this ledger knows the camera up to its count."""
    with ledger.transaction():
        begin = ledger.missing_frames("c1", 2, limit=9)
        for seq in (4, 7):
            ledger.open_frame(announcement(seq))

    with ledger.transaction():
        assert begin == []
        assert ledger.missing_frames("c1", 9, limit=9) == [3, 5, 6, 8, 9]
        assert ledger.missing_frames("c1", 9, limit=2) == [3, 5]
        assert ledger.missing_frames("c1", 3, limit=9) == [3]
        assert ledger.missing_frames("c2", 9, limit=9) == []


def test_revoked_pass_is_no_result(ledger: Ledger, path: Path) -> None:
    """A PASS can be corrected before anybody hears it; a FAIL cannot."""
    late = {"verdict": "NO_RESULT", "why": "late", "detail": "too late"}
    with ledger.transaction():
        for seq, verdict in ((1, "PASS"), (2, "FAIL")):
            ledger.open_frame(announcement(seq))
            ledger.close_frame(closed(seq, verdict=verdict))
            ledger.revoke_pass(replace(closed(seq), **late))

    seen = [(row["verdict"], row["code"], row["reason"]) for row in rows(path, "verdicts")]
    assert seen == [("NO_RESULT", 0, "late"), ("FAIL", 2, "score")]


def test_other_writer_makes_the_ledger_busy(ledger: Ledger, path: Path) -> None:
    """While another program writes nothing inside is run; afterwards it works again."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    ran: list[int] = []

    def write(seq: int) -> None:
        with ledger.transaction():
            ran.append(seq)
            ledger.open_frame(announcement(seq))

    with pytest.raises(LedgerBusyError, match="locked"):
        write(1)
    other.execute("rollback")
    other.close()
    write(2)

    assert ran == [2]
    assert [row["seq"] for row in rows(path, "verdicts")] == [2]


def test_other_database_is_no_ledger(path: Path) -> None:
    """A database without the ledger's tables, and a file that is none, are named."""
    path.parent.mkdir()
    sqlite3.connect(path).close()
    path.with_name("text.db").write_text("text" * 500)

    for name in ("ledger.db", "text.db"):
        with pytest.raises(LedgerError, match=name):
            open_for_reading(path.with_name(name))


def test_evidence_path_is_noted(ledger: Ledger, path: Path) -> None:
    """The row of a frame names its image."""
    with ledger.transaction():
        ledger.open_frame(announcement())
        ledger.set_evidence(announcement().key, "c1/x/1.png")

    assert rows(path, "verdicts")[0]["evidence"] == "c1/x/1.png"


def test_unwritable_path_is_named(tmp_path: Path) -> None:
    """A ledger that cannot be opened is refused with its path."""
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(LedgerError, match="file"):
        Ledger(blocked / "ledger.db", "FULL", IDENTITY)


def test_file_that_is_no_database_is_named(path: Path) -> None:
    """A file of another kind is refused, not overwritten."""
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)

    with pytest.raises(LedgerError, match="not a database"):
        Ledger(path, "FULL", IDENTITY)

    assert path.read_bytes() == b"no database" * 100


@pytest.mark.usefixtures("ledger")
def test_reader_needs_a_file_and_cannot_write(path: Path) -> None:
    """Readers never create and never change a ledger."""
    with pytest.raises(LedgerError, match="no such file"):
        open_for_reading(path.with_name("gone.db"))
    db = open_for_reading(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("delete from verdicts")
    db.close()
