"""A fine scratch, defined by what the camera sees of it: pixels and grey levels.

The other defects of the synthetic line scale with the picture. This one does
not: the larger the picture, the smaller its share of it, as with a real camera
of more pixels. It is added to the finished drawing, so its contrast is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class FineScratch:
    """A straight bright line somewhere on the bare metal, in a random direction."""

    length_px: float = 24.0
    width_px: float = 3.0
    contrast: float = 20 / 255
    """How much brighter than the metal, in 0..1."""

    @property
    def reach_px(self) -> float:
        """From its centre to its farthest corner."""
        return float(np.hypot(self.length_px, self.width_px)) / 2

    def draw(
        self, rng: np.random.Generator, free: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Return the share of each pixel that it covers, 0..1.

        Args:
            rng: Decides place and direction.
            free: (height, width), where its centre may lie.

        Raises:
            ValueError: Nowhere.
        """
        places = np.flatnonzero(free)
        if not places.size:
            height, width = free.shape
            msg = (
                f"a scratch of {self.length_px:g} x {self.width_px:g} px "
                f"has no room on the metal of a picture of {width} x {height} px"
            )
            raise ValueError(msg)
        row, column = divmod(int(places[rng.integers(places.size)]), free.shape[1])
        angle = rng.uniform(0, np.pi)
        down = np.arange(free.shape[0], dtype=np.float32)[:, None] - row
        across = np.arange(free.shape[1], dtype=np.float32)[None] - column
        along = across * np.cos(angle) + down * np.sin(angle)
        aside = down * np.cos(angle) - across * np.sin(angle)
        length = np.clip(self.length_px / 2 - np.abs(along) + 0.5, 0, 1)
        width = np.clip(self.width_px / 2 - np.abs(aside) + 0.5, 0, 1)
        return np.asarray(length * width, np.float32)
