"""The ledger of a replay is complete under its name, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.line_lock import ledger_lock
from pipeline.replay_ledger import new_ledger
from pipeline.replay_sources import ReplayError


def test_named_when_complete(tmp_path: Path) -> None:
    """Until the end of the block it has another name; folders are made."""
    target = tmp_path / "new" / "out.db"

    with new_ledger(target, force=False) as path:
        path.write_text("rows")
        assert not target.exists()

    assert target.read_text() == "rows"
    assert [one.name for one in target.parent.iterdir()] == ["out.db"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ReplayError, OSError])
def test_nothing_is_left_of_a_replay_that_ended_early(
    tmp_path: Path, error: type[BaseException]
) -> None:
    """Whatever ends it, an older ledger stays as it was, and no part of a new one is left."""
    target = tmp_path / "out.db"
    target.write_text("old")

    def fails() -> None:
        with new_ledger(target, force=True) as path:
            path.write_text("half")
            path.with_name(f"{path.name}-wal").write_text("half")
            raise error

    with pytest.raises((error, ReplayError)):
        fails()

    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("out.db", "old")]


def test_ledger_that_is_there_is_refused(tmp_path: Path) -> None:
    """It is replaced only when that is said."""
    target = tmp_path / "out.db"
    target.write_text("old")

    with (
        pytest.raises(ReplayError, match=r"out\.db is there already"),
        new_ledger(target, force=False),
    ):
        pytest.fail("it was begun")


def test_forced_ledger_takes_nothing_over(tmp_path: Path) -> None:
    """What SQLite had written ahead for the older file goes with it."""
    target = tmp_path / "out.db"
    for name in ("out.db", "out.db-wal", "out.db-shm"):
        (tmp_path / name).write_text("old")

    with new_ledger(target, force=True) as path:
        path.write_text("new")

    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("out.db", "new")]


def test_ledger_of_a_running_gate_is_refused(tmp_path: Path) -> None:
    """A line's own ledger is not replaced under it, whatever is said."""
    target = tmp_path / "out.db"

    with (
        ledger_lock(target),
        pytest.raises(ReplayError, match="a line that runs"),
        new_ledger(target, force=True),
    ):
        pytest.fail("it was begun")


def test_without_a_name_it_is_thrown_away() -> None:
    """Who wants only numbers gets a ledger that is gone afterwards."""
    with new_ledger(None, force=False) as path:
        path.write_text("rows")

    assert not path.parent.exists()
