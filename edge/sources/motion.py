"""One picture a part from a camera that runs freely: seen by how the belt changes.

The empty belt is learned while nothing is there. A part is there while a large
enough share of the zone differs from it; of each presence the picture with the
largest share is taken, which shows most of the part. A belt that has changed
for good (light, a part that stands still) is learned anew. Parts must leave the
zone free between them: a strip across the belt does where they follow closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge.sources import Capture

Grey = npt.NDArray[np.float32]

WIDTH_PX = 96
"""Pictures are compared at this width: a part is larger than a few pixels of it."""
FULL_SCALE = 255.0
LEARNING_RATE = 0.05
GONE = 0.5
"""A part is gone below this share of the share at which it is there."""
PAST_PEAK = 0.9
SETTLED_PICTURES = 3
"""A part that shows no more of itself for so many pictures stands still."""
SAMPLES = 32
SAMPLE_NS = 500_000_000
"""A presence of 16 s is no part: the belt is then the median of what was seen."""


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """What counts as a part."""

    zone_px: tuple[int, int, int, int] | None = None
    """x, y, width, height in the picture; None looks at all of it."""
    difference: int = 25
    """Least difference of a pixel from the empty belt, of 255."""
    share: float = 0.05
    """Least share of the zone that differs."""


class PartDetector:
    """Picks the pictures of a free-running camera that show a part, one for each."""

    def __init__(self, settings: MotionSettings) -> None:
        """Begin without knowing the belt; the first picture is taken for it."""
        self._settings = settings
        self._belt: Grey | None = None
        self._best: tuple[float, Capture] | None = None
        self._since_best = 0
        self._taken = False
        self._samples: list[tuple[int, Grey]] = []
        self.relearned = 0
        """How often the belt had to be learned anew."""

    def see(self, capture: Capture, now_ns: int) -> Capture | None:
        """Look at the next picture; return the one to take, where a part is decided.

        Args:
            capture: With pixels, in the order of the camera.
            now_ns: Its arrival, monotonic.
        """
        grey = self._grey(capture)
        if self._belt is None or self._belt.shape != grey.shape:
            self._belt = grey
            self._forget()
            return None
        share = float((np.abs(grey - self._belt) >= self._settings.difference).mean())
        if share < GONE * self._settings.share:
            left = None if self._taken or self._best is None else self._best[1]
            self._forget()
            self._belt += LEARNING_RATE * (grey - self._belt)
            return left
        if self._learned_anew(grey, now_ns) or share < self._settings.share or self._taken:
            return None
        return self._follow(share, capture)

    def _follow(self, share: float, capture: Capture) -> Capture | None:
        """Return the best picture of the part once it shows less of itself, or stands still."""
        if self._best is None or share > self._best[0]:
            self._best, self._since_best = (share, capture), 0
            return None
        self._since_best += 1
        if share < PAST_PEAK * self._best[0] or self._since_best >= SETTLED_PICTURES:
            self._taken = True
            return self._best[1]
        return None

    def _forget(self) -> None:
        self._best, self._taken, self._since_best, self._samples = None, False, 0, []

    def _learned_anew(self, grey: Grey, now_ns: int) -> bool:
        """Learn the belt anew where something has been there for far too long."""
        if not self._samples or now_ns - self._samples[-1][0] >= SAMPLE_NS:
            self._samples.append((now_ns, grey))
        if len(self._samples) < SAMPLES:
            return False
        self._belt = np.median([one for _, one in self._samples], axis=0).astype(np.float32)
        self._forget()
        self.relearned += 1
        return True

    def _grey(self, capture: Capture) -> Grey:
        """Return the zone as grey of 0 to 255, scaled by the declared depth, WIDTH_PX wide."""
        pixels = capture.pixels
        if pixels is None:
            msg = "a capture without pixels shows no part"
            raise ValueError(msg)
        if self._settings.zone_px is not None:
            x, y, width, height = self._settings.zone_px
            pixels = pixels[y : y + height, x : x + width]
        if pixels.size == 0:
            msg = f"detect_zone_px = {list(self._settings.zone_px or ())}: outside of the picture"
            raise ValueError(msg)
        height, width = pixels.shape[:2]
        size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
        small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
        grey = small if small.ndim == 2 else small.mean(axis=2)  # noqa: PLR2004 - no colour axis
        return np.asarray(grey * (FULL_SCALE / (2**capture.bit_depth - 1)), np.float32)
