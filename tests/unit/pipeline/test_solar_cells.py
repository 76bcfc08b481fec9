"""The demo's parts: what is drawn from the data set, and how it is written."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.solar_cells import Cell, select_cells, write_cells
from pipeline.wheels import WheelError

GOOD, DEFECTIVE = 20, 5


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A small stand-in: 20 good and 5 defective mono cells, and others to be left out."""
    kinds = [("0.0", "mono")] * GOOD + [("1.0", "mono")] * DEFECTIVE
    kinds += [("0.3333333333333333", "mono"), ("0.6666666666666666", "mono")]
    kinds += [("0.0", "poly"), ("1.0", "poly")]
    lines = [f"images/cell{i:04d}.png  {p}   {kind}" for i, (p, kind) in enumerate(kinds, 1)]
    path = tmp_path / "cells.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("elpv_dataset/data/labels.csv", "\n".join(lines) + "\n")
        for i in range(1, len(kinds) + 1):
            archive.writestr(f"elpv_dataset/data/images/cell{i:04d}.png", f"png {i}".encode())
    return path


def test_share_and_kind(wheel: Path) -> None:
    """The wanted share is defective, no cell comes twice, and unsure or poly cells never come."""
    cells = select_cells(wheel, frames=24, defect_share=0.2, seed=3)

    numbers = [int(cell.name.removeprefix("cell")) for cell in cells]
    assert Counter(cell.label for cell in cells) == {0: 19, 1: 5}
    assert len(set(numbers)) == 24
    assert all((number > GOOD) == cell.label for number, cell in zip(numbers, cells, strict=True))
    assert all(cell.png == f"png {n}".encode() for n, cell in zip(numbers, cells, strict=True))
    assert max(numbers) <= GOOD + DEFECTIVE


def test_seed_decides(wheel: Path) -> None:
    """The same seed draws the same line, another seed another one."""
    line = select_cells(wheel, frames=10, seed=1)

    assert select_cells(wheel, frames=10, seed=1) == line
    assert select_cells(wheel, frames=10, seed=2) != line


def test_labels_are_mixed(wheel: Path) -> None:
    """Defective cells are spread over the line, not put at its end."""
    ends = [select_cells(wheel, frames=20, defect_share=0.2, seed=s)[-1].label for s in range(20)]

    assert 0 < sum(ends) < 20


@pytest.mark.parametrize(
    ("frames", "share", "message"),
    [
        (0, 0.1, "frames is 0, must be at least 1"),
        (4, 1.5, r"defect_share is 1\.5, must be in 0\.\.1"),
        (4, float("nan"), "defect_share is nan"),
        (21, 0.0, "21 good solar cells wanted, the data set has 20"),
        (12, 0.5, "6 defective solar cells wanted, the data set has 5"),
    ],
)
def test_limits_are_named(wheel: Path, frames: int, share: float, message: str) -> None:
    """What the data set cannot give is refused with the limit."""
    with pytest.raises(ValueError, match=message):
        select_cells(wheel, frames=frames, defect_share=share)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file that is missing, no zip, or another zip is a WheelError that names it."""
    (tmp_path / "text.whl").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/data.txt", "")

    for name in ("gone.whl", "text.whl", "other.whl"):
        with pytest.raises(WheelError, match=name):
            select_cells(tmp_path / name, frames=1)


def test_written_as_they_are(tmp_path: Path) -> None:
    """Files carry number and name in line order, and the bytes of the data set."""
    cells = [Cell("cell0123", 0, b"first"), Cell("cell0007", 1, b"second")]

    paths = write_cells(cells, tmp_path / "line")

    assert [path.name for path in paths] == ["0001_cell0123.png", "0002_cell0007.png"]
    assert [path.read_bytes() for path in paths] == [b"first", b"second"]


@pytest.mark.weights
def test_real_data_set(solar_cells_wheel: Path) -> None:
    """The published wheel has 588 good and 313 defective sure mono cells, each a PNG."""
    cells = select_cells(solar_cells_wheel, frames=626, defect_share=0.5)

    assert Counter(cell.label for cell in cells) == {0: 313, 1: 313}
    assert all(cell.png.startswith(b"\x89PNG") for cell in cells)
    with pytest.raises(ValueError, match="589 good solar cells wanted, the data set has 588"):
        select_cells(solar_cells_wheel, frames=589, defect_share=0)
