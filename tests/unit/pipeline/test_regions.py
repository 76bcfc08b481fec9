"""Regions, masks and turns: every patch has its place on the sensor."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_geometry import GeometrySettings
from pipeline.regions import (
    RegionsError,
    check_overlap,
    grid_to_sensor,
    ignored_pixels,
    make_view,
    mean_colour,
    on_picture,
)

if TYPE_CHECKING:
    from pipeline.regions import View

BLACK = np.array(0, np.uint16)
corner = st.tuples(st.integers(0, 24), st.integers(0, 24))


def view(
    size_px: tuple[int, int] = (90, 120),
    offset_px: tuple[int, int] = (0, 0),
    patches: int = 4,
    **geometry: Any,
) -> View:
    """Return a view; regions are 4 x 4 patches."""
    return make_view(GeometrySettings(**geometry), size_px, offset_px, patches)


def sensor_places(height: int, width: int, left: int, top: int) -> np.ndarray:
    """Return a picture whose pixels say where on the sensor they are: 1000 * row + column."""
    rows, columns = np.mgrid[top : top + height, left : left + width]
    return (1000 * rows + columns).astype(np.uint16)


def inside_naive(polygon: list[tuple[int, int]], x: Fraction, y: Fraction) -> bool:
    """Count the edges to the left of a point; an odd number is inside."""
    left = 0
    for (x0, y0), (x1, y1) in pairwise([*polygon, polygon[0]]):
        if (y0 > y) != (y1 > y):
            left += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return left % 2 == 1


@given(
    polygons=st.lists(st.lists(corner, min_size=3, max_size=8), min_size=1, max_size=3),
    offset=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_mask_is_the_even_odd_rule_at_pixel_centres(
    polygons: list[list[tuple[int, int]]], offset: tuple[int, int]
) -> None:
    """A pixel of any part of the sensor is ignored where its centre lies in a polygon."""
    half = Fraction(1, 2)

    mask = ignored_pixels(polygons, (12, 15), offset)

    for (row, column), ignored in np.ndenumerate(mask):
        x, y = column + offset[0] + half, row + offset[1] + half
        assert ignored == any(inside_naive(polygon, x, y) for polygon in polygons)


def test_rectangle_holds_the_pixels_of_its_sides() -> None:
    """Corners are corners of pixels: a rectangle 8 wide and 4 high is 32 pixels."""
    mask = ignored_pixels([[(2, 1), (10, 1), (10, 5), (2, 5)]], (9, 12), (0, 0))

    assert mask.sum() == 32
    assert mask[1:5, 2:10].all()


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_regions_overlap_by_whole_patches(columns: int, overlap: int) -> None:
    """Region i begins i * (g - o) patches from the left, in pixels too, and none is left out."""
    width, patches = 1003, 4
    seen = view((40, width), columns=columns, overlap_patches=overlap, patches=patches)

    side = (columns - 1) * (patches - overlap) + patches
    pitch = width / side
    assert seen.grid == (patches, side)
    assert [one.left for one in seen.regions] == [i * (patches - overlap) for i in range(columns)]
    for one in seen.regions:
        assert abs(one.columns.start - one.left * pitch) <= 0.5
        assert abs(one.columns.stop - (one.left + patches) * pitch) <= 0.5
    assert (seen.regions[0].columns.start, seen.regions[-1].columns.stop) == (0, width)


def test_regions_count_row_by_row() -> None:
    """Several regions count from 1, row by row; a whole frame is region 0."""
    several, one = view(columns=3, rows=2), view()

    assert [(one.number, one.top, one.left) for one in several.regions] == [
        (1, 0, 0), (2, 0, 2), (3, 0, 4), (4, 2, 0), (5, 2, 2), (6, 2, 4),
    ]  # fmt: skip
    assert [one.number for one in one.regions] == [0]
    assert one.regions[0].rows == slice(0, 90)
    assert one.regions[0].columns == slice(0, 120)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 3)])
def test_affine_leads_back_to_the_sensor(rotate_deg: int, columns: int, rows: int) -> None:
    """The pixel in the middle of each patch of each region is where the affine says, exactly."""
    geometry = {"columns": columns, "rows": rows, "overlap_patches": 1, "rotate_deg": rotate_deg}
    across, down = 3 * (3 * columns + 1), 3 * (3 * rows + 1)  # three pixels a patch
    size = (across, down) if rotate_deg in {90, 270} else (down, across)
    seen = view(size, (200, 30), **geometry)
    a, b, c, d, e, f = seen.affine

    cut = seen.cut(sensor_places(*size, 200, 30), BLACK)

    for region, pixels in zip(seen.regions, cut, strict=True):
        for row, column in np.ndindex(4, 4):
            u, v = region.left + column, region.top + row
            x, y = a * u + b * v + c, d * u + e * v + f
            assert pixels[3 * row + 1, 3 * column + 1] == 1000 * y + x


def test_turn_is_clockwise() -> None:
    """A quarter turn brings the left edge of the picture to the top."""
    picture = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    seen = view((2, 3), rotate_deg=90, patches=1)

    (turned,) = seen.cut(picture, BLACK)

    assert turned.tolist() == [[4, 1], [5, 2], [6, 3]]


def test_plain_frame_has_the_plain_affine() -> None:
    """Without turn, regions and offset the affine is that of the grid over the picture."""
    assert view((90, 120)).affine == grid_to_sensor((4, 4), 90, 120)


def test_affine_on_the_picture_begins_at_its_corner() -> None:
    """On the picture itself the offset is taken off again."""
    moved = view((90, 120), (200, 30)).affine

    assert on_picture(moved, (200, 30)) == view((90, 120)).affine


@given(
    rectangle=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30)),
    columns=st.integers(1, 3),
)
def test_only_patches_wholly_under_the_mask_are_ignored(
    rectangle: tuple[int, int, int], columns: int
) -> None:
    """A patch that shows any part of any seen pixel counts."""
    x, y, side = rectangle
    polygon = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
    height, width, patches = 31, 37, 4
    seen = view((height, width), ignore_px=[polygon], columns=columns)
    mask = ignored_pixels([polygon], (height, width), (0, 0))

    for region in seen.regions:
        part = mask[region.rows, region.columns]
        for row, column in np.ndindex(patches, patches):
            pixels = [
                hidden
                for (i, j), hidden in np.ndenumerate(part)
                if i + 1 > row * part.shape[0] / patches
                and i < (row + 1) * part.shape[0] / patches
                and j + 1 > column * part.shape[1] / patches
                and j < (column + 1) * part.shape[1] / patches
            ]
            assert region.ignored[row, column] == all(pixels)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
def test_region_under_the_mask_is_left_out(rotate_deg: int) -> None:
    """Of a region that is wholly ignored nothing is inspected, wherever the turn brings it."""
    half = [(100, 50), (160, 50), (160, 110), (100, 110)]
    geometry = {"columns": 2, "rows": 2, "overlap_patches": 0, "ignore_px": [half]}

    seen = view((120, 120), (100, 50), rotate_deg=rotate_deg, **geometry)

    gone = {0: 1, 90: 2, 180: 4, 270: 3}[rotate_deg]  # the upper left quarter of the sensor
    assert {one.number for one in seen.regions} == {1, 2, 3, 4} - {gone}
    assert not any(one.ignored.any() for one in seen.regions)


def test_stitched_map_keeps_the_larger_score() -> None:
    """Where regions overlap the larger score stands, elsewhere the only one."""
    rng = np.random.default_rng(0)
    seen = view(columns=3, rows=2, overlap_patches=2)
    scores = [rng.random((4, 4), np.float32) for _ in seen.regions]

    whole = seen.stitch(scores)

    for row, column in np.ndindex(*whole.shape):
        there = [
            grid[row - region.top, column - region.left]
            for region, grid in zip(seen.regions, scores, strict=True)
            if 0 <= row - region.top < 4 and 0 <= column - region.left < 4
        ]
        assert whole[row, column] == max(there)


def test_one_region_is_stitched_as_it_is() -> None:
    """The map of a whole frame is its patch scores, bit by bit."""
    scores = np.random.default_rng(0).random((4, 4), np.float32)

    np.testing.assert_array_equal(view().stitch([scores]), scores)


@pytest.mark.parametrize(
    ("pixel_format", "bit_depth", "colour"),
    [
        ("rgb", 8, [51, 102, 153]),
        ("bgr", 8, [153, 102, 51]),
        ("mono", 8, 102),
        ("mono", 12, 1638),
        ("rgb", 10, [205, 409, 614]),
    ],
)
def test_mean_colour_is_in_the_frame_s_values(
    pixel_format: Any, bit_depth: int, colour: object
) -> None:
    """The colour under a mask is the backbone's mean in the frame's own channels and depth."""
    assert mean_colour((0.2, 0.4, 0.6), pixel_format, bit_depth).tolist() == colour


def test_cutting_leaves_the_frame_as_it_is() -> None:
    """A frame's pixels are read-only evidence: the mask is painted on a copy."""
    picture = np.full((90, 120, 3), 7, np.uint8)
    picture.flags.writeable = False
    seen = view(ignore_px=[[(0, 0), (60, 0), (0, 60)]])

    (cut,) = seen.cut(picture, np.array([1, 2, 3], np.uint16))

    assert cut[0, 0].tolist() == [1, 2, 3]
    assert (picture == 7).all()


@pytest.mark.parametrize(
    ("size_px", "offset_px", "geometry", "words"),
    [
        (
            (90, 120),
            (5, 6),
            {"ignore_px": [[(0, 0), (900, 0), (900, 900), (0, 900)]]},
            "ignore_px covers all of the 120 x 90 px at 5, 6",
        ),
        (
            (90, 120),
            (0, 0),
            {"columns": 2, "overlap_patches": 4},
            "overlap_patches = 4: must be less than 4, the patches along a side of a region",
        ),
        ((3, 90), (0, 0), {"rows": 16}, "3 px are too few for 16 regions in a row"),
        ((90, 120), (32_700, 0), {}, "120 x 90 px at 32700, 0: a sensor has at most 32768 px"),
    ],
)
def test_what_cannot_be_cut_is_named(
    size_px: tuple[int, int], offset_px: tuple[int, int], geometry: dict[str, Any], words: str
) -> None:
    """Regions without pixels, without progress or without anything to see are refused."""
    with pytest.raises(RegionsError) as caught:
        view(size_px, offset_px, **geometry)

    assert words in str(caught.value)


def test_one_region_has_no_overlap() -> None:
    """The overlap of a whole frame means nothing, however small the backbone's square is."""
    check_overlap(GeometrySettings(overlap_patches=8), 4)

    assert view(overlap_patches=8).grid == (4, 4)
