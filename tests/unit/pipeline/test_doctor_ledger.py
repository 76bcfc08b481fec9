"""The ledger is searched and tried, and is bit by bit the same afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from doctor_rig import found
from factories import announcement, config

from pipeline.doctor_ledger import ledger_checks
from pipeline.ledger import Ledger
from pipeline.line_lock import ledger_lock
from pipeline.results import LineIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.doctor import Finding


def line(path: Path) -> Config:
    """Return a line with this ledger."""
    return config(ledger={"path": str(path)}, line={"state_path": str(path.with_name("state"))})


def looked_at(path: Path, **options: Any) -> dict[str, Finding]:
    """Return what was found, by check."""
    return {one.check: one for one in found(ledger_checks(line(path), **options))}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A real ledger with some rows, closed."""
    path = tmp_path / "ledger.db"
    writing = Ledger(path, "NORMAL", LineIdentity("91d0", "7f3a9c01b2d4e5f6", 500, "raw"))
    with writing.transaction():
        for seq in range(1, 400):
            writing.open_frame(announcement(seq))
    writing.close()
    return path


def test_good_ledger_is_left_as_it_was(ledger: Path) -> None:
    """A whole, writable ledger is good, and no byte of it changes."""
    before = ledger.read_bytes()

    findings = looked_at(ledger)

    assert {one.verdict for one in findings.values()} == {"ok"}
    assert ledger.read_bytes() == before
    assert [path.name for path in ledger.parent.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("empty", [True, False])
def test_ledger_that_is_not_there_yet(tmp_path: Path, *, empty: bool) -> None:
    """A ledger that the first start will make, or fill, is good and is not made."""
    path = tmp_path / "ledger.db"
    if empty:
        path.touch()

    findings = looked_at(path)

    assert {one.verdict for one in findings.values()} == {"ok"}
    assert path.exists() == empty
    assert not empty or path.stat().st_size == 0


@pytest.mark.parametrize("damage", ["page", "header", "cut"])
def test_damage_is_found(ledger: Path, damage: str) -> None:
    """A ledger with pages, header or end overwritten fails as damaged, and as that alone."""
    data = bytearray(ledger.read_bytes())
    if damage == "page":
        data[4096 * 3 : 4096 * 6] = b"\xa5" * (3 * 4096)
    elif damage == "header":
        data[:100] = b"no database at all" + bytes(82)
    else:
        del data[len(data) // 2 :]
    ledger.write_bytes(data)

    findings = looked_at(ledger)

    assert findings["ledger.intact"].verdict == "fail"
    assert ".recover" in findings["ledger.intact"].remedy
    assert findings["ledger.write"].verdict == "skipped"


def test_other_database_is_no_ledger(tmp_path: Path) -> None:
    """A database without verdicts is another program's, not a damaged ledger."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table songs (name)")

    finding = looked_at(path)["ledger.intact"]

    assert finding.verdict == "fail"
    assert finding.remedy == "Give another file in ledger.path."


def test_ledger_of_another_user(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that this user may not open is not damaged."""

    def refuse(*_: object, **__: object) -> None:
        msg = "unable to open database file"
        raise sqlite3.OperationalError(msg)

    monkeypatch.setattr(sqlite3, "connect", refuse)

    finding = looked_at(ledger)["ledger.intact"]

    assert finding.verdict == "fail"
    assert "as the user that runs the line" in finding.remedy


def test_long_search_ends(ledger: Path) -> None:
    """A search that takes longer than its limit has found no fault so far, and says so."""
    seconds = iter(range(0, 10_000, 5))
    with closing(sqlite3.connect(ledger)) as db:
        db.executescript(
            "create table many (a); create index on_many on many (a);"
            "insert into many with recursive n(i) as "
            "(select 1 union all select i + 1 from n limit 50000) select i from n;"
        )

    finding = looked_at(ledger, clock_s=lambda: float(next(seconds)), quick=True)["ledger.intact"]

    assert finding.verdict == "ok"
    assert "no fault within the 2 s" in finding.detail


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A ledger below a file cannot be made; its path is named."""
    (tmp_path / "file").write_text("")

    findings = looked_at(tmp_path / "file" / "ledger.db")

    assert findings["ledger.write"].verdict == "fail"
    assert "ledger.path" in findings["ledger.write"].remedy


def test_folder_in_its_place(tmp_path: Path) -> None:
    """A folder where the ledger should be fails."""
    (tmp_path / "ledger.db").mkdir()

    assert looked_at(tmp_path / "ledger.db")["ledger.write"].verdict == "fail"


def test_ledger_that_another_program_writes(ledger: Path) -> None:
    """A lock that is held fails, with how to find its holder; the gate's own is no fault."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("begin immediate")

        strange = looked_at(ledger)["ledger.write"]
        with ledger_lock(ledger):
            ours = looked_at(ledger)["ledger.write"]

    assert (strange.verdict, ours.verdict) == ("fail", "skipped")
    assert "fuser -v" in strange.remedy
    assert "the gate" in ours.detail
