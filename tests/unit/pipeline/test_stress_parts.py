"""Labelled parts: by folder, by table, in the order of a seed, and refused when they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from stress_rig import DrawnParts

from pipeline.stress_parts import Belt, StressError, SyntheticSupply, folder_supply, solar_cells

if TYPE_CHECKING:
    from edge.sources import Capture


def write(folder: Path, *names: str, side: int = 8) -> None:
    """Write small grey pictures."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((side, side), 10 * number, np.uint8))


def pixels(capture: Capture) -> np.ndarray:
    """The picture."""
    assert capture.pixels is not None
    return capture.pixels


def test_folder_good_beside_others(tmp_path: Path) -> None:
    """What lies in a folder good is good, what lies in any other is not, at any depth."""
    write(tmp_path, "test/good/1.png", "test/crack/1.png", "train/good/2.png", "loose.png")

    supply = folder_supply(tmp_path)

    assert supply.good == ("test/good/1.png", "train/good/2.png")
    assert supply.defective == ("test/crack/1.png",)


@pytest.mark.parametrize("column", ["path", "part"])
def test_table_of_labels(tmp_path: Path, column: str) -> None:
    """A table names parts by path or by name, and only those take part."""
    write(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    ending = ".png" if column == "path" else ""
    prefix = "images/" if column == "path" else ""
    rows = f"{column},label\n{prefix}a{ending},0\n{prefix}b{ending},1\n"
    (tmp_path / "labels.csv").write_text(rows)

    supply = folder_supply(tmp_path)

    assert (supply.good, supply.defective) == (("images/a.png",), ("images/b.png",))


@pytest.mark.parametrize("row", ["missing,0", "a,2", "a,good", "a,"])
def test_wrong_row_is_named(tmp_path: Path, row: str) -> None:
    """A part without a picture or a label that is none stops the run, with file and line."""
    write(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text(f"part,label\nb,0\n{row}\n")

    with pytest.raises(StressError, match=r"labels\.csv, line 3"):
        folder_supply(tmp_path)


def test_one_kind_alone_is_refused(tmp_path: Path) -> None:
    """Without defective parts nothing can be measured."""
    write(tmp_path, "good/a.png", "good/b.png")

    with pytest.raises(StressError, match="2 good and 0 defective"):
        folder_supply(tmp_path)


def test_unreadable_part_is_named(tmp_path: Path) -> None:
    """A file that is no picture stops the run when its turn comes."""
    write(tmp_path, "good/a.png", "bad/b.png")
    (tmp_path / "good/a.png").write_bytes(b"")

    with pytest.raises(StressError, match=r"good/a\.png: a\.png: the file is empty"):
        folder_supply(tmp_path).load("good/a.png")


def test_parts_of_two_sizes_are_refused(tmp_path: Path) -> None:
    """No camera sends both, so the line would refuse them one by one."""
    write(tmp_path, "good/a.png")
    write(tmp_path, "bad/b.png", side=9)
    belt = Belt(folder_supply(tmp_path), 0, 1)
    belt.good(0)

    with pytest.raises(StressError, match=r"b\.png"):
        belt.defective(0)


def test_seed_decides_the_order() -> None:
    """The same seed gives the same parts and copies; another seed another order."""
    one, same, other = (Belt(DrawnParts(), seed, 1) for seed in (1, 1, 2))

    origins = [[belt.good(i).origin for i in range(60)] for belt in (one, same, other)]
    assert origins[0] == origins[1]
    assert origins[0] != origins[2]
    assert sorted(origins[0]) == sorted(origins[2]) == sorted(DrawnParts().good)
    assert np.array_equal(pixels(one.copy(3, 5)), pixels(same.copy(3, 5)))
    assert not np.array_equal(pixels(one.copy(3, 5)), pixels(one.copy(3, 6)))


def test_first_copy_is_the_part_itself() -> None:
    """A burst of one is the defective part as it is."""
    belt = Belt(DrawnParts(), 0, 1)

    assert np.array_equal(pixels(belt.copy(2, 0)), pixels(belt.defective(2)))


def test_good_parts_come_again_only_after_all_others() -> None:
    """The same picture never comes twice within as many parts as were asked for."""
    belt = Belt(DrawnParts(), 0, 60)

    origins = [belt.good(i).origin for i in range(180)]

    assert all(len(set(origins[i : i + 60])) == 60 for i in range(120))


def test_too_few_good_parts_are_refused() -> None:
    """The message has both numbers."""
    with pytest.raises(StressError, match="60 good parts, wanted at least 61"):
        Belt(DrawnParts(), 0, 61)


def test_synthetic_blemish_moves_to_another_part() -> None:
    """A copy is another part with the defect of the first, not the same part again."""
    supply = SyntheticSupply(0)
    belt = Belt(supply, 0, 1)
    marred = pixels(belt.copy(0, 0)).astype(int)

    copies = [pixels(belt.copy(0, again)).astype(int) for again in (1, 2)]

    assert len(supply.good) == 1000
    assert all(np.abs(copy - marred).mean() > 2 for copy in copies)
    onto = [pixels(belt.good(-again)).astype(int) for again in (1, 2)]
    changed = [np.abs(copy - good) > 10 for copy, good in zip(copies, onto, strict=True)]
    assert all(0 < mask.mean() < 0.1 for mask in changed)


@pytest.mark.weights
def test_solar_cells_are_of_one_kind(solar_cells_wheel: Path) -> None:
    """588 good and 313 defective cells, all of one size."""
    supply = solar_cells(solar_cells_wheel)

    assert (len(supply.good), len(supply.defective)) == (588, 313)
    assert not set(supply.good) & set(supply.defective)
    assert {pixels(supply.load(name)).shape for name in supply.good[:5]} == {(300, 300)}
