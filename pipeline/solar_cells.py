"""Real parts for the demo: photographs of solar cells with known defects.

The images are electroluminescence photographs of 2,624 cells, 300 x 300 px,
8 bit mono, each with the probability that the cell is defective. They come in
the wheel of ``elpv-dataset``, are read straight from it and are never part of
this product: their licence forbids commercial use.

Sources: Deitsch et al., "Automatic classification of defective photovoltaic
module cells in electroluminescence images", Solar Energy 185, 2019;
Buerhop-Lutz et al., "A benchmark for visual identification of defective solar
cells in electroluminescence imagery", EU PVSEC 2018.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.wheels import PinnedWheel, WheelError

SOLAR_CELLS = PinnedWheel(
    requirement="elpv-dataset==1.0.0.post1",
    sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
)
"""The wheel of the data set; 90 MB."""

ATTRIBUTION = """\
Images: ELPV, a benchmark of functional and defective solar cells in electroluminescence images.
Authors: C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch, \
C. Camus, C. J. Brabec (EU PVSEC 2018); S. Deitsch et al. (Solar Energy 185, 2019).
Licence: CC BY-NC-SA 4.0 (no commercial use). Source: https://github.com/zae-bayern/elpv-dataset
"""
"""Shown wherever the images are shown."""

_DATA = PurePosixPath("elpv_dataset/data")
_LABELS = str(_DATA / "labels.csv")


@dataclass(frozen=True, slots=True)
class Cell:
    """One solar cell: its name in the data set, 0 for good or 1 for defective, its PNG."""

    name: str
    label: int
    png: bytes


def select_cells(
    wheel: Path, *, frames: int, defect_share: float = 0.1, seed: int = 0
) -> list[Cell]:
    """Draw a line of cells without repetition, in a seeded order.

    Only monocrystalline cells on which the experts were sure take part, so
    that the parts are of one kind and a label means something.

    Args:
        wheel: The verified wheel of the data set.
        frames: How many cells; at least 1.
        defect_share: Share of defective cells in [0, 1], rounded to whole cells.
        seed: Decides which cells, and their order.

    Raises:
        ValueError: ``frames`` or ``defect_share`` out of range, or more cells
            of a label wanted than there are.
        WheelError: The file is not the wheel of the data set.
    """
    if frames < 1:
        msg = f"frames is {frames}, must be at least 1"
        raise ValueError(msg)
    if not 0.0 <= defect_share <= 1.0:
        msg = f"defect_share is {defect_share}, must be in 0..1"
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    defective = round(frames * defect_share)
    try:
        with zipfile.ZipFile(wheel) as archive:
            good_paths, defective_paths = _sure_mono_cells(archive.read(_LABELS).decode())
            drawn = _draw(good_paths, frames - defective, 0, rng)
            drawn += _draw(defective_paths, defective, 1, rng)
            return [_read_cell(archive, *drawn[i]) for i in rng.permutation(frames)]
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        msg = f"{wheel} is not the wheel of {SOLAR_CELLS.requirement}: {error}"
        raise WheelError(msg) from error


def write_cells(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write the cells as ``0001_cell0123.png`` ..., in their order, byte for byte.

    Returns:
        The files, in order.

    Raises:
        OSError: The folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}_{cell.name}.png" for number, cell in enumerate(cells, 1)]
    for path, cell in zip(paths, cells, strict=True):
        path.write_bytes(cell.png)
    return paths


def sure_mono_cells(wheel: Path) -> tuple[list[str], list[str]]:
    """Return the archive's paths of all good and all defective cells of one kind, both sure.

    Raises:
        WheelError: The file is not the wheel of the data set.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            kinds = _sure_mono_cells(archive.read(_LABELS).decode())
    except (OSError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        msg = f"{wheel} is not the wheel of {SOLAR_CELLS.requirement}: {error}"
        raise WheelError(msg) from error
    good, defective = ([str(_DATA / path) for path in paths] for paths in kinds)
    return good, defective


def _sure_mono_cells(labels: str) -> tuple[list[str], list[str]]:
    """Return the paths of good and of defective cells from the lines of labels.csv.

    A line is ``images/cell0001.png  1.0  mono``, separated by blanks.
    """
    good: list[str] = []
    defective: list[str] = []
    for line in labels.splitlines():
        path, probability, kind = line.split()
        # Probabilities of 1/3 and 2/3 mean that the experts were not sure.
        if kind == "mono" and float(probability) in {0.0, 1.0}:
            (defective if float(probability) else good).append(path)
    return good, defective


def _draw(
    paths: Sequence[str], count: int, label: int, rng: np.random.Generator
) -> list[tuple[str, int]]:
    """Draw ``count`` different paths and give each its label."""
    if count > len(paths):
        kind = "defective" if label else "good"
        msg = f"{count} {kind} solar cells wanted, the data set has {len(paths)}"
        raise ValueError(msg)
    return [(paths[i], label) for i in rng.choice(len(paths), count, replace=False)]


def _read_cell(archive: zipfile.ZipFile, path: str, label: int) -> Cell:
    """Read one image of the data set, as it is."""
    return Cell(PurePosixPath(path).stem, label, archive.read(str(_DATA / path)))
