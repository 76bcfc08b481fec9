"""Heatmaps on one fixed scale, and where on the sensor they point.

Colour begins, yellow, at the threshold and ends, red, at twice the threshold, for every part
and for ever: a good part shows none, and two pictures can be compared. (A
scale stretched to each picture's own range paints good parts red.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pipeline.inspection import Affine, Box, PatchScores

Image = npt.NDArray[np.uint8]

TOP_OF_SCALE = 2.0
"""The last colour, in thresholds."""
OPACITY = 0.55


class HeatmapError(Exception):
    """An image cannot be decoded or encoded; the message says which and why."""


def grid_to_sensor(grid: tuple[int, int], height_px: int, width_px: int) -> Affine:
    """Return the affine from patch (column, row) to the sensor pixel at its centre."""
    rows, columns = grid
    scale_x, scale_y = width_px / columns, height_px / rows
    return (scale_x, 0.0, scale_x / 2 - 0.5, 0.0, scale_y, scale_y / 2 - 0.5)


def strongest_box(patch_scores: PatchScores, level: float, affine: Affine) -> Box:
    """Return the box, in sensor pixels, of the connected region around the maximum.

    The region is the patches at or above ``level`` that touch each other, by
    side or corner; where rounding leaves none, it is the maximum alone.
    """
    top = float(patch_scores.max())
    mask = (patch_scores >= min(level, top)).astype(np.uint8)
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    row, column = np.unravel_index(int(patch_scores.argmax()), patch_scores.shape)
    rows, columns = np.nonzero(labels == labels[row, column])
    a, _, c, _, e, f = affine
    left, right = (a * (edge - 0.5) + c + 0.5 for edge in (columns.min(), columns.max() + 1))
    upper, lower = (e * (edge - 0.5) + f + 0.5 for edge in (rows.min(), rows.max() + 1))
    x, y = round(left), round(upper)
    return (x, y, max(1, round(right) - x), max(1, round(lower) - y))


def overlay(image: Image, patch_scores: PatchScores, level: float, affine: Affine) -> Image:
    """Return ``image`` (height, width[, 3]) as BGR with the heatmap above ``level`` laid over."""
    height, width = image.shape[:2]
    mono = image.ndim == 2  # noqa: PLR2004 - height and width
    colour: Image = np.repeat(image[:, :, None], 3, axis=2) if mono else image.copy()
    matrix = np.asarray(affine, np.float64).reshape(2, 3)
    field = cv2.warpAffine(
        patch_scores,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = np.clip((field / level - 1) / (TOP_OF_SCALE - 1), 0, 1)
    painted = cv2.applyColorMap((255 - 255 * share).astype(np.uint8), cv2.COLORMAP_AUTUMN)
    above = field >= level
    mixed = (1 - OPACITY) * colour[above] + OPACITY * painted[above]
    colour[above] = mixed.astype(np.uint8)
    return colour


def encode_png(image: npt.NDArray[Any]) -> bytes:
    """Return ``image`` (uint8 or uint16, mono or BGR) as PNG.

    Raises:
        HeatmapError: OpenCV cannot encode it.
    """
    try:
        done, data = cv2.imencode(".png", image)
    except cv2.error:
        done = False
    if not done:
        msg = f"image of shape {image.shape}, {image.dtype} cannot be encoded as PNG"
        raise HeatmapError(msg)
    return data.tobytes()


def decode_8bit(data: bytes, name: str) -> Image:
    """Return an encoded image as 8 bits, mono or BGR, for display.

    Raises:
        HeatmapError: ``data`` is not an image; the message has ``name``.
    """
    # Without IMREAD_ANYDEPTH OpenCV scales 16 bits down to 8.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        msg = f"{name}: not an image"
        raise HeatmapError(msg)
    return pixels.astype(np.uint8, copy=False)
