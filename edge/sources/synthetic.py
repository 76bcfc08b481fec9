"""A seeded line of synthetic parts with planted defects and their true masks.

Part ``index`` depends on the seed and the index alone, so it is the same
whether it is read in order, read twice or asked for directly: on one machine
with one version of NumPy and OpenCV, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from edge.frame import MAX_SIDE_PX
from edge.sources import Capture, EndOfSourceError, Source
from edge.sources.synthetic_parts import DefectKind, render_part
from edge.sources.synthetic_scratch import FineScratch

KINDS: tuple[DefectKind, ...] = get_args(DefectKind)
"""Every kind of defect: scratch, dent, stain, missing."""

MIN_SIDE_PX = 32
"""Below it, defects are smaller than a pixel."""

_SENSOR_NOISE = 0.007
_GREY = np.array([0.114, 0.587, 0.299], np.float32)
"""Weights of blue, green and red in a mono camera's brightness (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class SyntheticPart:
    """One part with the truth about it.

    ``pixels`` is (height, width) for ``mono`` and (height, width, 3) for
    ``bgr``, uint8; ``mask`` is (height, width), true on the defect, and nowhere
    true where ``defect`` is None.
    """

    index: int
    pixels: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    defect: DefectKind | None


class SyntheticSource(Source):
    """An endless or finite belt of parts; ``read`` gives them one after the other."""

    def __init__(
        self,
        seed: int,
        *,
        frames: int | None = None,
        width_px: int = 256,
        height_px: int = 256,
        defect_rate: float = 0.1,
        kinds: Sequence[DefectKind] = KINDS,
        scratch: FineScratch | None = None,
        pixel_format: Literal["mono", "bgr"] = "mono",
    ) -> None:
        """Set up the line; nothing is drawn yet.

        Args:
            seed: Not negative; decides every part.
            frames: Parts until the source ends; None for a line without end.
            width_px: Width of a picture.
            height_px: Height of a picture.
            defect_rate: Chance of a part to be defective, in 0..1.
            kinds: The defects to choose from, each equally likely.
            scratch: What every defective part has instead, if given.
            pixel_format: ``mono`` or ``bgr``.

        Raises:
            ValueError: An argument is out of its limits.
        """
        _check_line(seed, frames, defect_rate)
        _check_picture(width_px, height_px, kinds, pixel_format)
        self._seed = seed
        self._frames = frames
        self._size = (height_px, width_px)
        self._defect_rate = defect_rate
        self._kinds = tuple(kinds)
        self._scratch = scratch
        self._pixel_format = pixel_format
        self._next = 0

    def part(self, index: int) -> SyntheticPart:
        """Return a part and the truth about it.

        Args:
            index: Its place on the belt, from 0; may lie behind the end.

        Raises:
            ValueError: A negative index, or no room for the scratch.
        """
        if index < 0:
            msg = f"index is {index}, must be at least 0"
            raise ValueError(msg)
        rng = np.random.default_rng([self._seed, index])
        is_defective = rng.random() < self._defect_rate
        kind = self._kinds[rng.integers(len(self._kinds))]
        if self._scratch is not None:
            kind = "scratch"
        defect = kind if is_defective else None
        drawn = self._scratch if is_defective and self._scratch is not None else defect
        picture, mask = render_part(rng, *self._size, drawn)
        if self._pixel_format == "mono":
            picture = picture @ _GREY
        noise = rng.standard_normal(picture.shape, np.float32)
        pixels = np.clip((picture + _SENSOR_NOISE * noise) * 255, 0, 255)
        return SyntheticPart(index, np.rint(pixels).astype(np.uint8), mask, defect)

    def read(self) -> Capture:
        """Return the next part, named ``S000000``, ``S000001`` and so on.

        Raises:
            EndOfSourceError: The last part was read.
        """
        if self._next == self._frames:
            raise EndOfSourceError
        part = self.part(self._next)
        self._next += 1
        return Capture(
            pixels=part.pixels,
            pixel_format=self._pixel_format,
            part_id=f"S{part.index:06d}",
            origin=f"synthetic:{self._seed}/{part.index}",
        )

    def close(self) -> None:
        """Do nothing: there is no device behind the line."""


def _check_line(seed: int, frames: int | None, defect_rate: float) -> None:
    """Refuse a line that cannot be."""
    if seed < 0:
        msg = f"seed is {seed}, must be at least 0"
        raise ValueError(msg)
    if frames is not None and frames < 1:
        msg = f"frames is {frames}, must be at least 1, or None"
        raise ValueError(msg)
    if not 0.0 <= defect_rate <= 1.0:
        msg = f"defect_rate is {defect_rate}, must be in 0..1"
        raise ValueError(msg)


def _check_picture(
    width_px: int, height_px: int, kinds: Sequence[DefectKind], pixel_format: str
) -> None:
    """Refuse a picture that cannot be drawn."""
    for name, value in (("width_px", width_px), ("height_px", height_px)):
        if not MIN_SIDE_PX <= value <= MAX_SIDE_PX:
            msg = f"{name} is {value}, must be in {MIN_SIDE_PX}..{MAX_SIDE_PX}"
            raise ValueError(msg)
    if not kinds or not set(kinds) <= set(KINDS):
        msg = f"kinds is {list(kinds)}, must be some of {', '.join(KINDS)}"
        raise ValueError(msg)
    if pixel_format not in {"mono", "bgr"}:
        msg = f"pixel_format is {pixel_format!r}, must be 'mono' or 'bgr'"
        raise ValueError(msg)
