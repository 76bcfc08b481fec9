"""Real parts in a folder, with labels that the other commands read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cli_cells import CellsError
from pipeline.label_table import read_label_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.weights
@pytest.mark.usefixtures("solar_cells_wheel")
def test_cells_come_with_their_labels(tmp_path: Path) -> None:
    """As many as asked for, the right number of them defective, each with a file and a label."""
    out = tmp_path / "cells"

    result = CliRunner().invoke(
        app, ["solar-cells", str(out), "--frames", "10", "--defect-share", "0.3", "--seed", "2"]
    )

    rows = read_label_table(out / "labels.csv")
    assert result.exit_code == 0, result.output
    assert sum(row.defective for row in rows) == 3
    assert [row.name for row in rows] == sorted(path.name for path in out.glob("*.png"))
    assert len(rows) == 10
    assert "CC BY-NC-SA 4.0" in result.output
    assert "CC BY-NC-SA 4.0" in (out / "ATTRIBUTION.txt").read_text()


@pytest.mark.weights
@pytest.mark.usefixtures("solar_cells_wheel")
def test_more_cells_than_there_are(tmp_path: Path) -> None:
    """The message has what was asked for and what there is; nothing is written."""
    result = CliRunner().invoke(
        app, ["solar-cells", str(tmp_path / "cells"), "--frames", "900", "--defect-share", "0"]
    )

    assert isinstance(result.exception, CellsError)
    assert "--frames 900" in str(result.exception)
    assert "has 588" in str(result.exception)
    assert not (tmp_path / "cells").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    """Cells are not mixed with what is there."""
    (tmp_path / "mine.png").write_bytes(b"mine")

    result = CliRunner().invoke(app, ["solar-cells", str(tmp_path)])

    assert isinstance(result.exception, CellsError)
    assert "not an empty folder" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
