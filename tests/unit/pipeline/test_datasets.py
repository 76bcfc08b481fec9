"""Labelled data sets: the official layouts are read, others are refused by name."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dataset_rig import write, write_btad, write_folder, write_mvtec, write_visa

from pipeline.dataset_samples import DatasetError, Sample
from pipeline.datasets import open_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GREY = np.full((64, 64), 90, np.uint8)


def test_mvtec_is_read(tmp_path: Path) -> None:
    """Each defect is paired with its mask, good images have none, training images are apart."""
    write_mvtec(tmp_path)
    (tmp_path / "license.txt").write_text("CC")

    found = open_dataset("mvtec", tmp_path)

    assert [category.name for category in found] == ["bottle", "cable"]
    names = [sample.name for sample in found[0].samples]
    assert names == sorted(names)
    assert len(names) == 10
    assert found[0].samples[0] == Sample(
        "bottle/test/dent/000.png",
        is_anomalous=True,
        mask="bottle/ground_truth/dent/000_mask.png",
    )
    assert Sample("bottle/test/good/005.png", is_anomalous=False) in found[0].samples
    assert found[0].training == tuple(f"bottle/train/good/{i:03d}.png" for i in range(4))


def test_btad_is_read(tmp_path: Path) -> None:
    """A mask is found by its image's name, whatever the suffixes."""
    write_btad(tmp_path)

    found = open_dataset("btad", tmp_path)

    assert [len(category.samples) for category in found] == [8, 8]
    assert found[0].samples[0] == Sample(
        "01/test/ko/0000.bmp", is_anomalous=True, mask="01/ground_truth/ko/0000.png"
    )
    assert found[1].training == ("02/train/ok/0000.png",)


def test_visa_is_read(tmp_path: Path) -> None:
    """The table says which images are tested, which are anomalous, and where masks are."""
    write_visa(tmp_path)

    found = open_dataset("visa", tmp_path)

    assert [category.name for category in found] == ["candle", "pcb1"]
    assert len(found[0].samples) == 9
    assert sum(sample.is_anomalous for sample in found[0].samples) == 3
    assert found[0].samples[0].mask == "candle/Data/Masks/Anomaly/000.png"
    assert len(found[0].training) == 2


@pytest.mark.parametrize("masks", [True, False])
def test_plain_folder_is_read(tmp_path: Path, *, masks: bool) -> None:
    """Good is what lies in good; masks are found below ground_truth, and may be missing."""
    root = tmp_path / "parts"
    write_folder(root, masks=masks)

    (found,) = open_dataset("folder", root)

    assert found.name == "parts"
    assert len(found.samples) == 12
    assert {sample.name.split("/")[0] for sample in found.samples} == {"good", "dent", "stain"}
    assert sum(sample.mask is not None for sample in found.samples) == 5 * masks


def write_table(path: Path, *rows: tuple[str, ...]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_table_of_labels_is_read(tmp_path: Path) -> None:
    """The table has the last word: what it does not name takes no part."""
    for name in ("a.png", "b.png", "c.png"):
        write(tmp_path / name, GREY)
    write(tmp_path / "m/a.png", GREY)
    rows = (("path", "label", "mask"), ("a.png", "1", "m/a.png"), ("b.png", "0", ""))
    write_table(tmp_path / "labels.csv", *rows)

    (found,) = open_dataset("folder", tmp_path)

    assert found.samples == (
        Sample("a.png", is_anomalous=True, mask="m/a.png"),
        Sample("b.png", is_anomalous=False),
    )


def test_references_of_a_folder_are_not_tested(tmp_path: Path) -> None:
    """Good images that lie in the folder of the references are training images."""
    write_folder(tmp_path)
    write(tmp_path / "kept/00.png", GREY)

    (found,) = open_dataset("folder", tmp_path, references=tmp_path / "kept")

    assert found.training == ("kept/00.png",)
    assert "kept/00.png" not in {sample.name for sample in found.samples}


def test_only_wanted_categories_are_read(tmp_path: Path) -> None:
    """A faulty category does not keep the others from being evaluated."""
    write_mvtec(tmp_path)
    (tmp_path / "cable/ground_truth/dent/000_mask.png").unlink()

    found = open_dataset("mvtec", tmp_path, ["bottle"])

    assert [category.name for category in found] == ["bottle"]
    with pytest.raises(DatasetError, match=r"cable/test/dent/000.png"):
        open_dataset("mvtec", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: (r / "bottle/ground_truth/dent/001_mask.png").unlink(), "1 images without a"),
        (lambda r: (r / "bottle/test/dent/001.png").unlink(), "masks without an image.*001_mask"),
        (lambda r: (r / "bottle/ground_truth/crack").mkdir(), "not in both.*crack"),
        (lambda r: (r / "bottle/test/crack").mkdir(), "not in both.*crack"),
        (lambda r: (r / "bottle/test/good").rename(r / "bottle/test/ok"), "folder 'good'"),
        (lambda r: write(r / "bottle/test/dent/000.bmp", GREY), "another suffix"),
    ],
)
def test_odd_folders_are_named(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    """Missing masks, lonely masks and folders without a counterpart end the run with a name."""
    write_mvtec(tmp_path)
    spoil(tmp_path)

    with pytest.raises(DatasetError, match=words):
        open_dataset("mvtec", tmp_path)


def test_wrong_roots_are_named(tmp_path: Path) -> None:
    """No folder, no category, one category too deep, an unknown category: each is told."""
    write_mvtec(tmp_path / "mvtec")

    with pytest.raises(DatasetError, match="gone: no such folder"):
        open_dataset("mvtec", tmp_path / "gone")
    with pytest.raises(DatasetError, match="has no category of btad"):
        open_dataset("btad", tmp_path)
    with pytest.raises(DatasetError, match="its parent is wanted"):
        open_dataset("mvtec", tmp_path / "mvtec/bottle")
    with pytest.raises(DatasetError, match="no category 'screw'; there are bottle, cable"):
        open_dataset("mvtec", tmp_path / "mvtec", ["screw"])
    with pytest.raises(DatasetError, match=r"1cls.csv: No such file"):
        open_dataset("visa", tmp_path / "mvtec")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("candle,test,odd,candle/x.JPG,", "line 2: candle,test,odd"),
        ("candle,val,normal,candle/x.JPG,", "line 2"),
        ("candle,test,anomaly,candle/x.JPG,", "line 2.*a mask where anomaly"),
        ("candle,test,normal,candle/x.JPG,m.png", "line 2"),
        ("candle,test,normal", "line 2"),
        ("candle,test,normal,candle/x.JPG,", "not there: candle/x.JPG"),
    ],
)
def test_wrong_lines_of_visa_are_named(tmp_path: Path, line: str, words: str) -> None:
    """Labels, splits, masks and files that cannot be are refused with their line."""
    (tmp_path / "split_csv").mkdir()
    table = tmp_path / "split_csv/1cls.csv"
    table.write_text(f"object,split,label,image,mask\n{line}\n")

    with pytest.raises(DatasetError, match=words):
        open_dataset("visa", tmp_path)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    """A table of another release is not guessed at."""
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text("image,mask\n")

    with pytest.raises(DatasetError, match="wanted object,split,label,image,mask"):
        open_dataset("visa", tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("path", "label"), ("a.png", "2")], "line 2: path 'a.png', label '2'"),
        ([("path", "label"), ("gone.png", "1")], "line 2: path 'gone.png'"),
        ([("path", "label"), ("a.png", "0"), ("a.png", "1")], "line 3"),
        ([("path", "label"), ("a.png", "0")], "1 good and 0 anomalous"),
        ([("path", "label", "mask"), ("a.png", "1", "m.png"), ("b.png", "0", "")], "m.png"),
        ([("path", "label", "mask"), ("a.png", "0", "b.png"), ("b.png", "1", "")], "good images"),
    ],
)
def test_wrong_labels_are_named(tmp_path: Path, rows: list[tuple[str, ...]], words: str) -> None:
    """A label that is none, an unknown image, one named twice, a missing mask: refused."""
    write(tmp_path / "a.png", GREY)
    write(tmp_path / "b.png", GREY)
    write_table(tmp_path / "labels.csv", *rows)

    with pytest.raises(DatasetError, match=words):
        open_dataset("folder", tmp_path)


def test_images_without_a_label_are_named(tmp_path: Path) -> None:
    """An image that lies in no folder is not taken for anything."""
    write_folder(tmp_path)
    write(tmp_path / "stray.png", GREY)

    with pytest.raises(DatasetError, match=r"lie in no folder: stray.png"):
        open_dataset("folder", tmp_path)
