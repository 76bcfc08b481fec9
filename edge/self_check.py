"""Does a camera that was opened again still show what it showed before?

Drivers have been seen to exchange red and blue on a reconnect, and cameras to
come back with another exposure. The look of a camera is a tiny picture,
averaged while all is well; the first picture of each opening is held against
it, as it is and with red and blue exchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge.sources import Capture

Look = npt.NDArray[np.float32]

SIDE_PX = 16
LEARNING_RATE = 0.1
LEAST_DIFFERENCE = 0.02
"""Mean difference, of full scale: below it a grey scene cannot tell the orders apart."""
CLEARLY = 0.6
"""Exchanged, the picture must differ by less than this share of what it differs as it is."""
PATIENCE = 3
"""What so many openings in a row show is no accident of one: the scene has changed."""
LIGHT_RATIO = 2.0


class Finding(NamedTuple):
    """What the first picture of an opening says."""

    fault: str = ""
    """Why pictures of this opening must not be judged; empty where they may."""
    kind: str = ""
    """Kind of the event it makes; empty for none."""
    before: float = 0.0
    after: float = 0.0
    """Mean brightness, of full scale."""


class SelfCheck:
    """Holds the openings of one camera against each other."""

    def __init__(self) -> None:
        """Begin without knowing how the scene looks."""
        self._look: Look | None = None
        self._opening: int | None = None
        self._fault = ""
        self._swapped_openings = 0

    def see(self, capture: Capture) -> Finding:
        """Look at a picture; the first of an opening decides for all of it.

        A picture of another shape is no matter of this check.
        """
        look = _look(capture)
        if self._look is None or self._look.shape != look.shape:
            self._look, self._opening, self._fault = look, capture.opening, ""
            return Finding()
        if capture.opening == self._opening:
            if not self._fault:
                self._look += LEARNING_RATE * (look - self._look)
            return Finding(self._fault)
        finding = self._first_look(self._look, look)
        self._opening, self._fault = capture.opening, finding.fault
        if finding.kind and not finding.fault:
            self._look = look
        return finding

    def _first_look(self, known: Look, look: Look) -> Finding:
        before, after = float(known.mean()), float(look.mean())
        if _is_swapped(known, look):
            self._swapped_openings += 1
            if self._swapped_openings < PATIENCE:
                return Finding("red and blue are exchanged since it was opened", "colours_swapped")
            self._swapped_openings = 0
            return Finding("", "colours_changed", before, after)
        self._swapped_openings = 0
        darker, lighter = sorted((before, after))
        if lighter > LIGHT_RATIO * darker + LEAST_DIFFERENCE:
            return Finding("", "exposure_changed", before, after)
        return Finding()


def _look(capture: Capture) -> Look:
    """Return pixels as SIDE_PX x SIDE_PX x 1 or 3, blue first, of full scale."""
    pixels = capture.pixels
    if pixels is None:
        msg = "a capture without pixels shows nothing"
        raise ValueError(msg)
    small = np.asarray(cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    if capture.pixel_format == "rgb":
        small = small[..., ::-1]
    full_scale = 2**capture.bit_depth - 1
    return np.asarray(small / full_scale, np.float32).reshape(SIDE_PX, SIDE_PX, -1)


def _is_swapped(known: Look, look: Look) -> bool:
    if look.shape[2] == 1:
        return False
    straight = float(np.abs(look - known).mean())
    exchanged = float(np.abs(look[..., ::-1] - known).mean())
    return straight > LEAST_DIFFERENCE and exchanged < CLEARLY * straight
