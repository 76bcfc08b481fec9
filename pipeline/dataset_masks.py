"""Masks of a data set at the size of the maps, in one of three ways.

A mask is resized with Pillow's bilinear filter, as the authors do. What counts
as anomalous then moves the pixel figures by whole points, so the way is printed
with them:

- ``musc``: the authors'. MVTec AD, BTAD, folders: a pixel whose whole surroundings
  are anomalous (their cast of 0..1 to int), which erodes; VisA: any trace, which
  dilates (their > 0).
- ``gt0.5``: the larger part of a pixel is anomalous.
- ``gt0``: any trace.

For the last two any value above 0 in the file is anomalous; ``musc`` takes the
values as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.dataset_samples import DatasetError, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.dataset_samples import DatasetKind, Sample

MaskMode: TypeAlias = Literal["musc", "gt0.5", "gt0"]

_WHOLE = 255
_HALF = 0.5


def check_sizes(root: Path, samples: Sequence[Sample]) -> None:
    """Compare the size of each mask with that of its image, from the files' headers.

    An image that cannot be read is left to whoever scores it.

    Raises:
        DatasetError: A mask cannot be read, or has another size.
    """
    odd = []
    for sample in samples:
        if sample.mask is None:
            continue
        try:
            with Image.open(root / sample.name) as image:
                wanted = image.size
        except OSError:
            continue
        size = _opened(root / sample.mask).size
        if size != wanted:
            odd.append(
                f"{sample.mask} {size[0]} x {size[1]} px, its image {wanted[0]} x {wanted[1]} px"
            )
    refuse("masks of another size than their image", odd, "the same width and height")


def read_mask(
    root: Path, sample: Sample, side: int, mode: MaskMode, kind: DatasetKind
) -> npt.NDArray[np.bool_]:
    """Return the mask of an image, [side, side]; nowhere true where there is none.

    Raises:
        DatasetError: The mask cannot be read.
    """
    if sample.mask is None:
        return np.zeros((side, side), np.bool_)
    grey = _opened(root / sample.mask)
    if mode == "musc":
        values = _resized(grey, side)
        return values > 0 if kind == "visa" else values == _WHOLE
    binary = Image.fromarray((np.asarray(grey) > 0).astype(np.float32))
    share = _HALF if mode == "gt0.5" else 0.0
    return _resized(binary, side) > share


def _opened(path: Path) -> Image.Image:
    """Read a mask as grey of 8 bits.

    Raises:
        DatasetError: Not an image.
    """
    try:
        with Image.open(path) as file:
            grey: Image.Image = file.convert("L")
    except OSError as error:
        msg = f"mask {path}: {error.strerror or error}; wanted an image"
        raise DatasetError(msg) from error
    return grey


def _resized(image: Image.Image, side: int) -> npt.NDArray[np.float32]:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), np.float32)
