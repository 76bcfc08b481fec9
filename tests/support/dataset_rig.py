"""Small labelled data sets in each official layout, from the synthetic line and its true masks."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.sources.synthetic import SyntheticSource

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SIDE_PX = 64


class Parts:
    """Parts of one seed, good and defective, each drawn once."""

    def __init__(self, seed: int) -> None:
        """Begin with the first part."""
        self._seed, self._next = seed, 0

    def good(self) -> npt.NDArray[np.uint8]:
        """Return the next part without a defect."""
        return self._part(0.0)[0]

    def defective(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the next part with a defect, and its mask in 0 and 255."""
        return self._part(1.0)

    def _part(self, rate: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        self._next += 1
        source = SyntheticSource(
            self._seed,
            width_px=SIDE_PX,
            height_px=SIDE_PX,
            defect_rate=rate,
            kinds=("dent", "stain"),
        )
        part = source.part(self._next)
        return part.pixels, part.mask.astype(np.uint8) * 255


def write(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an image, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_mvtec(root: Path, categories: tuple[str, ...] = ("bottle", "cable")) -> None:
    """Write MVTec AD: per category 6 good, 2 + 2 defective and 4 training images."""
    for seed, name in enumerate(categories):
        parts, folder = Parts(seed), root / name
        for number in range(6):
            write(folder / "test/good" / f"{number:03d}.png", parts.good())
        for number in range(4):
            write(folder / "train/good" / f"{number:03d}.png", parts.good())
        for defect in ("dent", "stain"):
            for number in range(2):
                pixels, mask = parts.defective()
                write(folder / "test" / defect / f"{number:03d}.png", pixels)
                write(folder / "ground_truth" / defect / f"{number:03d}_mask.png", mask)


def write_btad(root: Path) -> None:
    """Write BTAD: images are bmp in 01 and png in 02, masks png; 5 good, 3 defective."""
    for seed, (name, suffix) in enumerate((("01", "bmp"), ("02", "png"))):
        parts, folder = Parts(seed + 10), root / name
        for number in range(5):
            write(folder / "test/ok" / f"{number:04d}.{suffix}", parts.good())
        write(folder / "train/ok" / f"0000.{suffix}", parts.good())
        for number in range(3):
            pixels, mask = parts.defective()
            write(folder / "test/ko" / f"{number:04d}.{suffix}", pixels)
            write(folder / "ground_truth/ko" / f"{number:04d}.png", mask)


def write_visa(root: Path) -> None:
    """Write VisA: masks hold 1 where anomalous, as VisA's do; 6 good, 3 defective."""
    rows: list[tuple[str, ...]] = [("object", "split", "label", "image", "mask")]
    for seed, name in enumerate(("candle", "pcb1")):
        parts, data = Parts(seed + 20), f"{name}/Data"
        for number in range(8):
            image = f"{data}/Images/Normal/{number:04d}.JPG"
            write(root / image, parts.good())
            rows.append((name, "test" if number < 6 else "train", "normal", image, ""))
        for number in range(3):
            image = f"{data}/Images/Anomaly/{number:03d}.JPG"
            mask = f"{data}/Masks/Anomaly/{number:03d}.png"
            pixels, true = parts.defective()
            write(root / image, pixels)
            write(root / mask, true // 255)
            rows.append((name, "test", "anomaly", image, mask))
    table = root / "split_csv/1cls.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_folder(root: Path, *, masks: bool = True) -> None:
    """Write a plain folder: 7 good images, 3 + 2 defective, masks in ground_truth."""
    parts = Parts(30)
    for number in range(7):
        write(root / "good" / f"{number:02d}.png", parts.good())
    for defect, count in (("dent", 3), ("stain", 2)):
        for number in range(count):
            pixels, mask = parts.defective()
            write(root / defect / f"{number:02d}.png", pixels)
            if masks:
                write(root / "ground_truth" / defect / f"{number:02d}.png", mask)
