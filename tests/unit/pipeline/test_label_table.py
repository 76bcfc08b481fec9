"""Tables of labels: read whole, or refused with the line that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.label_table import LabelError, LabelRow, read_label_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("column", ["path", "part"])
def test_rows_in_order(tmp_path: Path, column: str) -> None:
    """A path or a part, and 0 or 1; what else a row has, as a mask, does not matter."""
    table = tmp_path / "labels.csv"
    table.write_text(f"{column},label,mask\nb.png,1,b_mask.png\na.png,0,\n")

    assert read_label_table(table) == [LabelRow(2, "b.png", True), LabelRow(3, "a.png", False)]


@pytest.mark.parametrize("row", ["a.png,2", "a.png,good", "a.png,", "a.png", ",1"])
def test_wrong_row_is_named(tmp_path: Path, row: str) -> None:
    """Another label than 0 or 1, or no name, is refused with file and line."""
    table = tmp_path / "labels.csv"
    table.write_text(f"path,label\nb.png,0\n{row}\n")

    with pytest.raises(LabelError, match=r"labels\.csv, line 3: part .* label"):
        read_label_table(table)


def test_missing_column_is_named(tmp_path: Path) -> None:
    """A table without labels says which columns are wanted."""
    table = tmp_path / "labels.csv"
    table.write_text("file,kind\na.png,0\n")

    with pytest.raises(LabelError, match="wanted columns path or part, and label"):
        read_label_table(table)


def test_missing_table_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is named with the reason."""
    with pytest.raises(LabelError, match=r"labels\.csv: No such file"):
        read_label_table(tmp_path / "labels.csv")
