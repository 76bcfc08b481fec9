"""A line runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.line_lock import (
    GATE_WAIT_S,
    LineLockError,
    gate_runs,
    ledger_lock,
    line_lock,
    line_runs,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_second_start_is_refused(tmp_path: Path) -> None:
    """While a line runs its state folder cannot be used again; afterwards it can."""
    with (
        line_lock(tmp_path / "state"),
        pytest.raises(LineLockError, match="runs already"),
        line_lock(tmp_path / "state"),
    ):
        pytest.fail("two lines on one state folder")

    with line_lock(tmp_path / "state"):
        assert (tmp_path / "state" / "line.lock").exists()


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A state folder that cannot be made is named."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LineLockError, match="file"), line_lock(tmp_path / "file"):
        pytest.fail("a file is no folder")


def test_second_gate_waits_and_is_refused(tmp_path: Path) -> None:
    """While a gate writes a ledger another one waits for a while, and is refused."""
    waited: list[float] = []
    ledger = tmp_path / "ledger.db"
    with (
        ledger_lock(ledger),
        pytest.raises(LineLockError, match="another gate writes"),
        ledger_lock(ledger, sleep=waited.append),
    ):
        pytest.fail("two gates on one ledger")

    assert sum(waited) == pytest.approx(GATE_WAIT_S)
    with ledger_lock(ledger):
        pass


def test_a_look_tells_who_runs(tmp_path: Path) -> None:
    """Line and gate are seen while they run, not before and not after, and nothing is made."""
    state, ledger = tmp_path / "state", tmp_path / "ledger.db"
    before = (line_runs(state), gate_runs(ledger), list(tmp_path.iterdir()))

    with line_lock(state), ledger_lock(ledger):
        during = (line_runs(state), gate_runs(ledger))
    after = (line_runs(state), gate_runs(ledger))

    assert (before, during, after) == ((False, False, []), (True, True), (False, False))
