"""A line runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.line_lock import LineLockError, line_lock

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
