"""Questions to the ledger: the latest results, and whether every trigger has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from factories import announcement, inspection, moment

from pipeline.gate import Gate
from pipeline.ledger import Ledger
from pipeline.queries import audit, audit_text, cell, latest
from pipeline.results import LineIdentity

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

    (line,) = audit(path, {"c1": counter})

    assert line["balanced"] is balanced
    assert line["results"] == {"FAIL": 1, "PASS": 1, "open": 1}
    assert "NOT BALANCED" in audit_text([line])


def test_camera_without_a_frame_balances(path: Path, tmp_path: Path) -> None:
    """A camera that never ran owes nothing."""
    (line,) = audit(path, {"c2": tmp_path / "c2.count"})

    assert line["balanced"]
    assert audit_text([line]) == "c2: 0 counted = nothing"


def test_cells_are_short() -> None:
    """Numbers with four digits, times without their date, nothing for NULL."""
    assert cell("score", 0.123456) == "0.1235"
    assert cell("captured_at", "2026-01-02T03:04:05.678901Z") == "03:04:05.678"
    assert cell("score", None) == ""
    assert cell("seq", 12) == "12"
