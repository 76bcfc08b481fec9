"""One fixed scale for ever: colour begins at the threshold."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.config_geometry import GeometrySettings
from pipeline.heatmap import (
    HeatmapError,
    decode_8bit,
    encode_png,
    overlay,
    strongest_box,
)
from pipeline.regions import grid_to_sensor, make_view, on_picture

GREY = np.full((80, 160), 90, np.uint8)
AFFINE = grid_to_sensor((8, 8), 80, 160)
FRAME = (0, 0, 160, 80)


def scores(*hot: tuple[int, int, float]) -> np.ndarray:
    """Return an 8 x 8 grid of 0.2 with the given (row, column, value)."""
    grid = np.full((8, 8), 0.2, np.float32)
    for row, column, value in hot:
        grid[row, column] = value
    return grid


def test_good_part_shows_no_colour() -> None:
    """Below the threshold the picture stays grey, whatever its own range is."""
    painted = overlay(GREY, scores((3, 3, 0.49)), 0.5, AFFINE)

    assert (painted == 90).all()


def test_scale_does_not_depend_on_the_picture() -> None:
    """The same patch gets the same colour beside a hotter one."""
    alone = overlay(GREY, scores((1, 1, 0.7)), 0.5, AFFINE)
    beside = overlay(GREY, scores((1, 1, 0.7), (6, 6, 5.0)), 0.5, AFFINE)

    assert (alone[:40, :80] == beside[:40, :80]).all()
    assert (alone != 90).any()


def test_colour_lies_over_the_patch() -> None:
    """The centre of the hot patch is the middle of the colour."""
    painted = overlay(GREY, scores((2, 5, 0.9)), 0.5, AFFINE)

    rows, columns = np.nonzero((painted != 90).any(axis=2))
    assert rows.mean() == pytest.approx(2.5 * 10 - 0.5, abs=0.6)
    assert columns.mean() == pytest.approx(5.5 * 20 - 0.5, abs=0.6)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("offset_px", [(0, 0), (300, 44)])
def test_colour_lies_over_the_patch_of_a_turned_part(
    rotate_deg: Any, offset_px: tuple[int, int]
) -> None:
    """Over a picture as it came the colour is where the patch is, turned and cropped or not."""
    view = make_view(GeometrySettings(rotate_deg=rotate_deg), (80, 160), offset_px, 8)
    row, column = {0: (2, 5), 90: (5, 5), 180: (5, 2), 270: (2, 2)}[rotate_deg]

    painted = overlay(GREY, scores((row, column, 0.9)), 0.5, on_picture(view.affine, offset_px))

    rows, columns = np.nonzero((painted != 90).any(axis=2))
    assert painted.shape == (80, 160, 3)
    assert rows.mean() == pytest.approx(2.5 * 10 - 0.5, abs=0.6)
    assert columns.mean() == pytest.approx(5.5 * 20 - 0.5, abs=0.6)


def test_box_covers_the_connected_region() -> None:
    """The box is that of the region around the maximum, not of all hot patches."""
    grid = scores((2, 5, 0.9), (3, 6, 0.6), (7, 0, 0.8))

    assert strongest_box(grid, 0.5, AFFINE, FRAME) == (100, 20, 40, 20)


def test_box_of_a_given_peak() -> None:
    """Where the peak is named the box is that of its region, even if another one is hotter."""
    grid = scores((2, 5, 0.9), (3, 6, 0.6), (7, 0, 0.8))

    assert strongest_box(grid, 0.5, AFFINE, FRAME, (7, 0)) == (0, 70, 20, 10)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize("offset_px", [(0, 0), (300, 44)])
def test_box_of_a_turned_picture(rotate_deg: Any, offset_px: tuple[int, int]) -> None:
    """The box of the same sensor patch is the same however the picture is turned for inspection."""
    view = make_view(GeometrySettings(rotate_deg=rotate_deg), (80, 160), offset_px, 8)
    row, column = {0: (2, 5), 90: (5, 5), 180: (5, 2), 270: (2, 2)}[rotate_deg]

    box = strongest_box(scores((row, column, 0.9)), 0.5, view.affine, view.frame)

    assert box == (100 + offset_px[0], 20 + offset_px[1], 20, 10)


def test_box_ends_where_the_frame_does() -> None:
    """Rounding never leads out of the picture, and a box has at least one pixel."""
    shifted = (20.0, 0.0, 16.9, 0.0, 10.0, -20.2)

    assert strongest_box(scores((2, 7, 0.9)), 0.5, shifted, FRAME) == (147, 0, 13, 5)
    assert strongest_box(scores((0, 7, 0.9)), 0.5, shifted, FRAME) == (147, 0, 13, 1)
    assert strongest_box(scores((2, 7, 0.9)), 0.5, shifted, (0, 0, 40, 80)) == (39, 0, 1, 5)


def test_box_of_a_maximum_just_below_the_level() -> None:
    """Where rounding leaves no patch above the level the maximum alone is the region."""
    assert strongest_box(scores((0, 0, 0.4999)), 0.5, AFFINE, FRAME) == (0, 0, 20, 10)


def test_affine_maps_patch_centres() -> None:
    """The first patch's centre is half a patch from the corner, in pixel centres."""
    a, b, c, d, e, f = AFFINE

    assert (a, b, c) == (20, 0, 9.5)
    assert (d, e, f) == (0, 10, 4.5)


def test_deep_image_is_shown_at_8_bits() -> None:
    """A 16-bit PNG keeps its upper byte for display."""
    deep = np.full((4, 5), 0x7F21, np.uint16)

    assert (decode_8bit(encode_png(deep), "deep") == 0x7F).all()


def test_rubbish_is_named() -> None:
    """Bytes that are no image are refused with their name."""
    with pytest.raises(HeatmapError, match="c1/boot/7"):
        decode_8bit(b"rubbish", "c1/boot/7")


def test_empty_image_is_named() -> None:
    """No bytes at all are no image either."""
    with pytest.raises(HeatmapError, match="c1/boot/8"):
        decode_8bit(b"", "c1/boot/8")


def test_png_keeps_every_pixel() -> None:
    """Evidence is lossless."""
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)

    back = cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_UNCHANGED)

    assert (back == image).all()
