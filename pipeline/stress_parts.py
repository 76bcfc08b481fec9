"""Parts for streams under stress: pictures that are known to be good or defective.

They come from photographs of solar cells, from any folder with labels, or from the
synthetic line. A seed puts them in an order; a stream then asks for the i-th good
part, the i-th defective one, or the k-th copy of a defective one. What is asked
for twice is the same, bit by bit, whichever stream asks.

A copy of a photograph is the same part once more, a little moved, turned and lit
differently. On the synthetic line the blemish alone is carried to another part.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge.errors import LineError
from edge.sources import Capture
from edge.sources.folder import decode_image
from edge.sources.synthetic import SyntheticSource
from pipeline.image_folder import list_images, load_image
from pipeline.label_table import LabelError, read_label_table
from pipeline.solar_cells import sure_mono_cells
from pipeline.stress_pictures import Jitter, carried, jittered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

GOOD_FOLDER = "good"
LABELS_FILE = "labels.csv"
SYNTHETIC_GOOD, SYNTHETIC_DEFECTIVE = 1000, 200
JITTER = Jitter()
"""Between two copies of a photograph."""


class StressError(LineError):
    """The streams cannot be made as asked; the message says what is missing."""


class Supply(Protocol):
    """Parts of one kind, by name."""

    @property
    def good(self) -> Sequence[str]:
        """Names of good parts."""

    @property
    def defective(self) -> Sequence[str]:
        """Names of defective parts."""

    def load(self, name: str) -> Capture:
        """Return a part; all are of one size, format and depth, else StressError."""

    def copy(self, defective: str, onto: str, rng: np.random.Generator) -> Capture:
        """Return the same defect once more; where it can be carried, on another good part."""


@dataclass(frozen=True)
class PhotographSupply:
    """Parts that were photographed: of the folder or archive that ``read`` knows."""

    good: tuple[str, ...]
    defective: tuple[str, ...]
    source: PhotographSource
    jitter: Jitter = JITTER

    def load(self, name: str) -> Capture:
        """Return a picture.

        Raises:
            StressError: It cannot be read, or is unlike the first good one.
        """
        capture = self.source.read(name)
        if capture.pixels is None:
            msg = f"{name}: {capture.fault}"
            raise StressError(msg)
        return capture

    def copy(self, defective: str, onto: str, rng: np.random.Generator) -> Capture:  # noqa: ARG002 - a photograph cannot be carried
        """Return the photograph once more, jittered."""
        return jittered(self.load(defective), rng, self.jitter)


class PhotographSource(Protocol):
    """Where photographs are."""

    def read(self, name: str) -> Capture:
        """Return one; with a fault where that is not possible."""


@dataclass(frozen=True, slots=True)
class _Folder:
    root: Path

    def read(self, name: str) -> Capture:
        return load_image(self.root, name)


@dataclass(frozen=True, slots=True)
class _Archive:
    pictures: Mapping[str, bytes]

    def read(self, name: str) -> Capture:
        return Capture(decode_image(self.pictures[name]), origin=name)


def solar_cells(wheel: Path) -> PhotographSupply:
    """Return the monocrystalline cells on which the experts were sure, 588 good and 313 defective.

    Polycrystalline cells are left out: their grain differs from cell to cell, and
    parts of two kinds on one belt are not what a line inspects.

    Raises:
        WheelError: The file is not the wheel of the data set.
    """
    good, defective = sure_mono_cells(wheel)
    with zipfile.ZipFile(wheel) as archive:
        pictures = {cell: archive.read(cell) for cell in (*good, *defective)}
    return PhotographSupply(tuple(good), tuple(defective), _Archive(pictures))


def folder_supply(root: Path) -> PhotographSupply:
    """Return the parts of a folder with ``labels.csv``, or with ``good`` beside other folders.

    The table has a column ``label``, 0 for good and 1 for defective, and a column
    ``path`` or ``part``: a path below the folder, or a file's name without its ending.

    Raises:
        ImageFolderError: No such folder, or no image in it.
        StressError: A label that is none, a part without a picture, or no labels.
    """
    names = list_images(root)
    table = root / LABELS_FILE
    labels = _labels_of_table(table, names) if table.exists() else _labels_of_folders(names)
    good = tuple(name for name, label in labels.items() if not label)
    defective = tuple(name for name, label in labels.items() if label)
    if not good or not defective:
        msg = (
            f"{root}: {len(good)} good and {len(defective)} defective parts; wanted both, by "
            f"{LABELS_FILE} or by a folder {GOOD_FOLDER!r} beside others"
        )
        raise StressError(msg)
    return PhotographSupply(good, defective, _Folder(root))


def _labels_of_folders(names: Sequence[str]) -> dict[str, bool]:
    """Tell by the folder that an image lies in; those at the top have no label."""
    return {name: name.split("/")[-2] != GOOD_FOLDER for name in names if "/" in name}


def _labels_of_table(table: Path, names: Sequence[str]) -> dict[str, bool]:
    """Return whether each part of the table is defective, by the name of its picture."""
    known = {name.rsplit("/", 1)[-1].rsplit(".", 1)[0]: name for name in names}
    known |= {name: name for name in names}
    try:
        rows = read_label_table(table)
    except LabelError as error:
        raise StressError(str(error)) from error
    for row in rows:
        if row.name not in known:
            msg = f"{table}, line {row.line}: part {row.name!r}: no picture below the folder"
            raise StressError(msg)
    return {known[row.name]: row.defective for row in rows}


class SyntheticSupply:
    """The synthetic line's brackets; every defective part has a good twin."""

    def __init__(self, seed: int) -> None:
        """Number the parts of a seed."""
        self._twins = SyntheticSource(seed, defect_rate=0.0)
        self._marred = SyntheticSource(seed, defect_rate=1.0)
        count = SYNTHETIC_GOOD + SYNTHETIC_DEFECTIVE
        self.good = tuple(f"good/{i}" for i in range(SYNTHETIC_GOOD))
        self.defective = tuple(f"defective/{i}" for i in range(SYNTHETIC_GOOD, count))

    def load(self, name: str) -> Capture:
        """Return the part of that number, good or defective."""
        kind, number = name.split("/")
        source = self._twins if kind == GOOD_FOLDER else self._marred
        return Capture(source.part(int(number)).pixels, origin=name)

    def copy(self, defective: str, onto: str, rng: np.random.Generator) -> Capture:
        """Return another part with the same blemish, 1 to 3 px off."""
        twin = self.load(f"{GOOD_FOLDER}/{defective.split('/')[1]}")
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(1, 3)
        shift = (length * float(np.cos(angle)), length * float(np.sin(angle)))
        return carried(self.load(onto), twin, self.load(defective), shift)


class Belt:
    """A supply in the order of one seed."""

    def __init__(self, supply: Supply, seed: int, least_good: int) -> None:
        """Put good and defective parts in an order, each for itself.

        Args:
            supply: The parts.
            seed: Not negative.
            least_good: Good parts that must be there; when all have passed they come
                again, so this is how far apart the same picture comes at least.

        Raises:
            StressError: Fewer good parts.
        """
        if len(supply.good) < least_good:
            msg = f"{len(supply.good)} good parts, wanted at least {least_good}"
            raise StressError(msg)
        rng = np.random.default_rng(seed)
        self._supply, self._seed = supply, seed
        self._good = [supply.good[i] for i in rng.permutation(len(supply.good))]
        self._defective = [supply.defective[i] for i in rng.permutation(len(supply.defective))]
        self._layout: tuple[object, ...] | None = None

    @property
    def defects(self) -> int:
        """How many defective parts there are."""
        return len(self._defective)

    def good(self, number: int) -> Capture:
        """Return a good part, counted from 0."""
        return self._checked(self._supply.load(self._good[number % len(self._good)]))

    def defective(self, number: int) -> Capture:
        """Return a defective part, counted from 0."""
        return self._checked(self._supply.load(self._defective[number]))

    def copy(self, number: int, again: int) -> Capture:
        """Return a defective part as it comes the first time (0), or once more (1, 2, ...)."""
        if again == 0:
            return self.defective(number)
        rng = np.random.default_rng([self._seed, number, again])
        # Taken from the end of the order: a stream begins with its beginning.
        onto = self._good[-(again % len(self._good))]
        copy = self._supply.copy(self._defective[number], onto, rng)
        return self._checked(replace(copy, origin=f"{copy.origin} again {again}"))

    def _checked(self, capture: Capture) -> Capture:
        """Return a capture that is like the first.

        Raises:
            StressError: It is unlike it, so that no camera would send both.
        """
        shape = None if capture.pixels is None else capture.pixels.shape
        layout = (shape, capture.pixel_format, capture.bit_depth)
        self._layout = self._layout or layout
        if layout != self._layout:
            msg = f"{capture.origin}: {layout}, the first part has {self._layout}"
            raise StressError(msg)
        return capture
