"""A fine scratch has the size and contrast that are asked for, whatever the picture's size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.sources.synthetic import SyntheticSource
from edge.sources.synthetic_scratch import FineScratch


def source(side_px: int = 256, *, defect_rate: float = 1.0, **size: float) -> SyntheticSource:
    """Return a line whose defective parts have a fine scratch."""
    scratch = FineScratch(**size)
    return SyntheticSource(
        3, width_px=side_px, height_px=side_px, defect_rate=defect_rate, scratch=scratch
    )


@pytest.mark.parametrize("side_px", [256, 700])
def test_scratch_has_its_pixels_and_grey_levels(side_px: int) -> None:
    """It is as long, as wide and as bright as asked for, and nothing else differs from the twin."""
    bad, good = source(side_px), source(side_px, defect_rate=0)

    for index in range(6):
        part, twin = bad.part(index), good.part(index)
        change = part.pixels.astype(int) - twin.pixels
        points = np.argwhere(part.mask)[:, ::-1].astype(np.float32)
        (_, sides, _) = cv2.minAreaRect(points)

        assert (part.defect, twin.defect) == ("scratch", None)
        # From pixel centre to pixel centre; a slanted edge is ragged by a pixel.
        assert max(sides) == pytest.approx(24 - 1, abs=1.5)
        assert min(sides) == pytest.approx(3 - 1, abs=1.5)
        assert part.mask.sum() == pytest.approx(24 * 3, rel=0.15)
        assert 19 <= change.max() <= 21
        assert change.min() >= 0
        assert (
            change[~cv2.dilate(part.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)].max() == 0
        )


def test_scratches_lie_on_the_metal_everywhere() -> None:
    """Places and directions differ from part to part, and none is on belt, bore or code."""
    line, good = source(), source(defect_rate=0)
    parts = [line.part(index) for index in range(24)]

    centres = np.array([np.argwhere(part.mask).mean(axis=0) for part in parts])

    assert (np.ptp(centres, axis=0) > 60).all()
    for part in parts:
        under = good.part(part.index).pixels[part.mask]
        assert under.min() > 90


def test_scratch_without_room_is_refused() -> None:
    """A scratch longer than the part is an error that names both sizes."""
    with pytest.raises(ValueError, match=r"a scratch of 900 x 3 px has no room .* 64 x 64 px"):
        source(64, length_px=900).part(0)
