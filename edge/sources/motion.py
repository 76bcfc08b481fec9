"""One picture a part from a camera that runs freely: seen by how the belt changes.

The empty belt is learned first, as what most pictures of some seconds agree on:
so the zone must be free for more than half of the time. A part is there while a
large enough share of the zone differs from the belt; of each presence the
picture with the largest share is taken, which shows most of the part. Parts must
leave the zone free between them: a strip across the belt does where they follow
closely. Something that moves and does not end is no part but a belt that looks
otherwise, by another light, say: it is learned anew, and until then nothing is
seen, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import random

    from edge.sources import Capture

Grey = npt.NDArray[np.float32]

WIDTH_PX = 96
"""Pictures are compared at this width: a part is larger than a few pixels of it."""
FULL_SCALE = 255.0
NS_PER_S = 1_000_000_000
LEARNING_RATE = 0.02
GONE = 0.5
"""A part is gone below this share of the share at which it is there."""
PAST_PEAK = 0.9
SETTLED_PICTURES = 3
"""A part that shows no more of itself for so many pictures stands still."""
SAMPLES = 32
SAMPLE_S = (0.1, 0.4)
"""Least and greatest time between two samples: a fixed one could beat with the parts."""
AGREEING_SAMPLES = 0.6
"""Share of the samples that must agree with their median in a pixel, which is then the belt's."""
AGREEING_PIXELS = 0.9
LONGEST_STEP_S = 1.0
"""A longer silence of the camera says nothing of what moved meanwhile."""


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """What counts as a part."""

    zone_px: tuple[int, int, int, int] | None = None
    """x, y, width, height in the picture; None looks at all of it."""
    difference: int = 25
    """Least difference of a pixel from the empty belt, of 255."""
    share: float = 0.05
    """Least share of the zone that differs."""
    longest_s: float = 5.0
    """A presence that has moved for so long is no part."""


class PartDetector:
    """Picks the pictures of a free-running camera that show a part, one for each."""

    def __init__(self, settings: MotionSettings, rng: random.Random) -> None:
        """Begin without knowing the belt; ``rng`` spreads the samples it is learned from."""
        self._settings = settings
        self._rng = rng
        self._belt: Grey | None = None
        self._before: Grey | None = None
        self._last_ns = 0
        self._samples: list[Grey] = []
        self._next_sample_ns = 0
        self.forget_part()

    @property
    def knows_the_belt(self) -> bool:
        """Whether parts can be told from it."""
        return self._belt is not None

    def forget_part(self) -> None:
        """Begin as if nothing were there; the belt stays known."""
        self._best: tuple[float, Capture] | None = None
        self._since_best = 0
        self._taken = False
        self._moved_ns = 0
        """How long something has moved while it was there."""

    def see(self, capture: Capture, now_ns: int) -> Capture | None:
        """Look at the next picture; return the one to take, where a part is decided.

        Args:
            capture: With pixels, in the order of the camera.
            now_ns: Its arrival, monotonic.

        Raises:
            ValueError: No pixels, or the zone lies outside of them.
        """
        grey = self._grey(capture)
        moved = self._has_moved(grey, now_ns)
        if self._belt is None or self._belt.shape != grey.shape:
            self._learn(grey, now_ns)
            return None
        share = self._difference(grey, self._belt)
        if share < GONE * self._settings.share:
            left = None if self._taken or self._best is None else self._best[1]
            self.forget_part()
            self._belt += LEARNING_RATE * (grey - self._belt)
            return left
        self._moved_ns += moved
        if self._moved_ns > self._settings.longest_s * NS_PER_S:
            self._belt = None
            self.forget_part()
            return None
        if share < self._settings.share or self._taken:
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

    def _has_moved(self, grey: Grey, now_ns: int) -> int:
        """Return for how long something has moved since the picture before, 0 where nothing has."""
        before, self._before = self._before, grey
        passed_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if before is None or before.shape != grey.shape or passed_ns > LONGEST_STEP_S * NS_PER_S:
            return 0
        return passed_ns if self._difference(grey, before) >= GONE * self._settings.share else 0

    def _learn(self, grey: Grey, now_ns: int) -> None:
        """Take a sample when it is time; the belt is known once most samples agree."""
        if self._samples and self._samples[0].shape != grey.shape:
            self._samples = []
        if now_ns < self._next_sample_ns:
            return
        self._next_sample_ns = now_ns + round(self._rng.uniform(*SAMPLE_S) * NS_PER_S)
        self._samples.append(grey)
        if len(self._samples) < SAMPLES:
            return
        samples, self._samples = np.stack(self._samples), []
        belt = np.median(samples, axis=0).astype(np.float32)
        agreeing = (np.abs(samples - belt) < self._settings.difference).mean(axis=0)
        if (agreeing >= AGREEING_SAMPLES).mean() >= AGREEING_PIXELS:
            self._belt = belt
            self.forget_part()

    def _difference(self, one: Grey, other: Grey) -> float:
        """Return the share of the zone that differs between two pictures."""
        return float((np.abs(one - other) >= self._settings.difference).mean())

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
