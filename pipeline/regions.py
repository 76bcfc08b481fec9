"""How a camera's picture is cut into regions, and the way back to sensor pixels.

A picture is turned, what an operator wants ignored is painted over, and the
rest is cut into regions that overlap by whole patches. Each region is squashed
to the backbone's square of g x g patches and has a window of its own, so a
defect is as many times larger in patches as there are regions side by side.

The patches of all regions lie on one grid, the stitched grid. With o patches of
overlap, n regions side by side make (n - 1) * (g - o) + g columns, and region i
covers the columns i * (g - o) to i * (g - o) + g - 1. One affine leads from the
stitched grid to sensor pixels. This module is geometry alone: no backbone, no
scores of its own, no OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from edge.frame import MAX_SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import PixelFormat, Pixels
    from pipeline.config_geometry import GeometrySettings
    from pipeline.inspection import Affine, Box, PatchScores

Mask = npt.NDArray[np.bool_]
_Array = TypeVar("_Array", bound=npt.NDArray[Any])

WHOLE_FRAME = 0
"""The region that is the whole frame; where there are several they count from 1, row by row."""
QUARTER_DEG = 90


class RegionsError(ValueError):
    """A picture of this size cannot be cut as the config asks; the message says why."""


@dataclass(frozen=True, slots=True)
class Region:
    """One region: where it lies in the turned picture and on the stitched grid."""

    number: int
    rows: slice
    """Pixel rows of the turned picture."""
    columns: slice
    """Pixel columns, likewise."""
    top: int
    """Row of its first patch on the stitched grid."""
    left: int
    """Column of its first patch, likewise."""
    ignored: Mask
    """(g, g): patches that lie wholly under the mask."""


@dataclass(frozen=True, slots=True)
class View:
    """How every picture of one camera is looked at; it follows from size and place alone."""

    regions: tuple[Region, ...]
    """Those of which something is inspected; regions wholly under the mask are left out."""
    grid: tuple[int, int]
    """Rows and columns of the stitched grid."""
    affine: Affine
    """From the stitched grid to sensor pixels."""
    frame: Box
    """The picture in sensor pixels."""
    turns: int
    """Quarter turns, clockwise."""
    mask: Mask | None
    """(height, width) of the picture as it came: what is ignored; None where nothing is."""

    def cut(self, pixels: Pixels, colour: npt.NDArray[Any]) -> list[Pixels]:
        """Return the pixels of each region, turned, and with ``colour`` under the mask.

        Args:
            pixels: (height, width) or (height, width, 3), the size the view was made for.
            colour: One value, or three in the order of the channels.
        """
        if self.mask is not None:
            pixels = pixels.copy()
            pixels[self.mask] = colour
        turned = _turned(pixels, self.turns)
        return [turned[region.rows, region.columns] for region in self.regions]

    def stitch(self, patch_scores: Sequence[PatchScores]) -> PatchScores:
        """Lay each region's (g, g) scores, at least 0, on the stitched grid; the larger one counts.

        Where regions overlap the maximum is kept, so that no defect is hidden by
        the region that sees less of it. A region that is left out is 0.
        """
        whole = np.zeros(self.grid, np.float32)
        for region, scores in zip(self.regions, patch_scores, strict=True):
            rows, columns = scores.shape
            part = whole[region.top : region.top + rows, region.left : region.left + columns]
            np.maximum(part, scores, out=part)
        return whole


def make_view(
    settings: GeometrySettings,
    size_px: tuple[int, int],
    offset_px: tuple[int, int],
    patches: int,
) -> View:
    """Return how pictures of one size and place are looked at.

    Args:
        settings: The camera's section.
        size_px: Height and width of a picture as it comes.
        offset_px: Sensor column and row of its first pixel.
        patches: Patches a side of the backbone's square.

    Raises:
        RegionsError: The regions overlap wholly or have no pixel, the mask covers
            everything, or the picture ends beyond the largest sensor.
    """
    (height, width), (left, top) = size_px, offset_px
    if max(left + width, top + height) > MAX_SIDE_PX:
        msg = (
            f"{width} x {height} px at {left}, {top}: a sensor has at most {MAX_SIDE_PX} px a side"
        )
        raise RegionsError(msg)
    mask = ignored_pixels(settings.ignore_px, size_px, offset_px) if settings.ignore_px else None
    turns = settings.rotate_deg // QUARTER_DEG
    seen = np.ones(size_px, bool) if mask is None else ~mask
    regions = _regions(settings, _turned(seen, turns), patches)
    if not regions:
        msg = f"ignore_px covers all of the {width} x {height} px at {left}, {top}"
        raise RegionsError(msg)
    grid = (
        stitched_side(settings.rows, patches, settings.overlap_patches),
        stitched_side(settings.columns, patches, settings.overlap_patches),
    )
    affine = _affine(grid, size_px, offset_px, turns)
    some = mask is not None and bool(mask.any())
    return View(regions, grid, affine, (left, top, width, height), turns, mask if some else None)


def check_overlap(settings: GeometrySettings, patches: int) -> None:
    """Refuse regions that do not move on.

    Raises:
        RegionsError: They overlap by all their patches, or more.
    """
    if settings.regions > 1 and settings.overlap_patches >= patches:
        msg = (
            f"overlap_patches = {settings.overlap_patches}: must be less than {patches}, "
            "the patches along a side of a region"
        )
        raise RegionsError(msg)


def stitched_side(count: int, patches: int, overlap: int) -> int:
    """Return the patches along one side of the stitched grid."""
    return (count - 1) * (patches - overlap) + patches


def mean_colour(
    mean: Sequence[float], pixel_format: PixelFormat, bit_depth: int
) -> npt.NDArray[np.uint16]:
    """Return the backbone's mean as pixel values: nothing, once it is normalised.

    Args:
        mean: Red, green, blue in 0..1.
        pixel_format: One value for "mono", else three in the order of the channels.
        bit_depth: Full scale is 2**bit_depth - 1.
    """
    full = 2**bit_depth - 1
    red, green, blue = (round(value * full) for value in mean)
    if pixel_format == "mono":
        return np.array(round(sum(mean) / len(mean) * full), np.uint16)
    return np.array((blue, green, red) if pixel_format == "bgr" else (red, green, blue), np.uint16)


def ignored_pixels(
    polygons: Sequence[Sequence[tuple[int, int]]],
    size_px: tuple[int, int],
    offset_px: tuple[int, int],
) -> Mask:
    """Return which pixels of a picture lie in any of the polygons.

    A corner [x, y] is the upper left corner of that pixel, so the corners
    [0, 0], [8, 0], [8, 4], [0, 4] hold 8 x 4 pixels. A pixel belongs to a polygon
    where its centre does, by the even-odd rule.
    """
    mask = np.zeros(size_px, bool)
    for polygon in polygons:
        mask |= _inside(polygon, size_px, offset_px)
    return mask


def on_picture(affine: Affine, offset_px: tuple[int, int]) -> Affine:
    """Return an affine to sensor pixels as one to the pixels of a picture that begins there."""
    a, b, c, d, e, f = affine
    return (a, b, c - offset_px[0], d, e, f - offset_px[1])


def grid_to_sensor(grid: tuple[int, int], height_px: int, width_px: int) -> Affine:
    """Return the affine from patch (column, row) to the pixel at its centre.

    The grid, (rows, columns), covers a picture that is neither turned nor moved.
    """
    rows, columns = grid
    scale_x, scale_y = width_px / columns, height_px / rows
    return (scale_x, 0.0, scale_x / 2 - 0.5, 0.0, scale_y, scale_y / 2 - 0.5)


def _affine(
    grid: tuple[int, int], size_px: tuple[int, int], offset_px: tuple[int, int], turns: int
) -> Affine:
    """Return the affine from the grid of the turned picture to sensor pixels."""
    height, width = size_px
    turned = (width, height) if turns % 2 else (height, width)
    # In the turned picture: u = su * column + cu, v = sv * row + cv.
    su, _, cu, _, sv, cv = grid_to_sensor(grid, *turned)
    right, lower = width - 1, height - 1
    x, y = offset_px
    ways: tuple[Affine, ...] = (
        (su, 0.0, cu + x, 0.0, sv, cv + y),
        (0.0, sv, cv + x, -su, 0.0, lower - cu + y),
        (-su, 0.0, right - cu + x, 0.0, -sv, lower - cv + y),
        (0.0, -sv, right - cv + x, su, 0.0, cu + y),
    )
    return ways[turns]


def _turned(picture: _Array, turns: int) -> _Array:
    """Return a view of the picture, a number of quarters clockwise; NumPy counts the other way."""
    return cast("_Array", np.rot90(picture, -turns))


def _regions(settings: GeometrySettings, seen: Mask, patches: int) -> tuple[Region, ...]:
    """Return the regions of which something is seen, row by row.

    Raises:
        RegionsError: The regions overlap wholly, or one has no pixel.
    """
    check_overlap(settings, patches)
    overlap = settings.overlap_patches
    across = _spans(settings.columns, patches, overlap, seen.shape[1])
    down = _spans(settings.rows, patches, overlap, seen.shape[0])
    regions = []
    for row, column in product(range(settings.rows), range(settings.columns)):
        number = WHOLE_FRAME if settings.regions == 1 else row * settings.columns + column + 1
        rows, columns = down[row], across[column]
        ignored = _ignored_patches(seen[rows, columns], patches)
        if not ignored.all():
            step = patches - overlap
            regions.append(Region(number, rows, columns, row * step, column * step, ignored))
    return tuple(regions)


def _spans(count: int, patches: int, overlap: int, length_px: int) -> list[slice]:
    """Return the pixels of each region along one side.

    Raises:
        RegionsError: Fewer pixels than regions can share.
    """
    pitch = length_px / stitched_side(count, patches, overlap)
    starts = [number * (patches - overlap) for number in range(count)]
    spans = [slice(round(pitch * first), round(pitch * (first + patches))) for first in starts]
    if any(span.start == span.stop for span in spans):
        msg = f"{length_px} px are too few for {count} regions in a row"
        raise RegionsError(msg)
    return spans


def _ignored_patches(seen: Mask, patches: int) -> Mask:
    """Return which of g x g patches show no seen pixel; one that shows part of one counts."""
    counts = np.zeros((seen.shape[0] + 1, seen.shape[1] + 1), np.int64)
    counts[1:, 1:] = seen.cumsum(0, dtype=np.int64).cumsum(1)
    edges = [np.arange(patches + 1) * side for side in seen.shape]
    upper, left = (edge[:-1] // patches for edge in edges)
    lower, right = (-(-edge[1:] // patches) for edge in edges)
    seen_in = (
        counts[np.ix_(lower, right)]
        - counts[np.ix_(upper, right)]
        - counts[np.ix_(lower, left)]
        + counts[np.ix_(upper, left)]
    )
    return np.asarray(seen_in == 0)


def _inside(
    polygon: Sequence[tuple[int, int]], size_px: tuple[int, int], offset_px: tuple[int, int]
) -> Mask:
    """Return which pixels have their centre in a polygon.

    A row of centres enters or leaves the polygon where it crosses an edge, so
    each crossing turns over all pixels to its right. Corners are whole numbers
    and centres are halves: no centre lies level with a corner.
    """
    height, width = size_px
    left, top = offset_px
    centres = np.arange(height) + 0.5 + top
    crossings = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        rows = np.nonzero((centres > min(y0, y1)) & (centres < max(y0, y1)))[0]
        if rows.size:
            x = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0)
            first = np.clip(np.ceil(x - left - 0.5), 0, width).astype(int)
            crossings[rows, first] ^= True
    return np.logical_xor.accumulate(crossings[:, :-1], axis=1)
