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


def strongest_box(
    patch_scores: PatchScores,
    level: float,
    affine: Affine,
    frame: Box,
    peak: tuple[int, int] | None = None,
) -> Box:
    """Return the box, in sensor pixels, of the connected region around a peak.

    The region is the patches at or above ``level`` that touch each other, by
    side or corner; where rounding leaves none, it is the peak alone.

    Args:
        patch_scores: (rows, columns).
        level: The threshold's value in them.
        affine: From the patch grid to sensor pixels, turned or not.
        frame: The picture in sensor pixels; the box ends where it does.
        peak: Row and column of the peak, the maximum if None.
    """
    row, column = peak or divmod(int(patch_scores.argmax()), patch_scores.shape[1])
    mask = (patch_scores >= min(level, float(patch_scores[row, column]))).astype(np.uint8)
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    rows, columns = np.nonzero(labels == labels[row, column])
    return box_of(
        (float(rows.min()), float(rows.max())),
        (float(columns.min()), float(columns.max())),
        affine,
        frame,
    )


def box_of(
    rows: tuple[float, float], columns: tuple[float, float], affine: Affine, frame: Box
) -> Box:
    """Return the box, in sensor pixels, of the patches of these rows and columns.

    Args:
        rows: The first and the last.
        columns: Likewise.
        affine: From the patch grid to sensor pixels, turned or not.
        frame: The picture in sensor pixels; the box ends where it does.
    """
    a, b, c, d, e, f = affine
    corners = [
        (a * u + b * v + c + 0.5, d * u + e * v + f + 0.5)
        for u in (columns[0] - 0.5, columns[1] + 0.5)
        for v in (rows[0] - 0.5, rows[1] + 0.5)
    ]
    xs, ys = zip(*corners, strict=True)
    left, top, width, height = frame
    x, right = _within(min(xs), max(xs), left, left + width)
    y, lower = _within(min(ys), max(ys), top, top + height)
    return (x, y, right - x, lower - y)


def _within(first: float, last: float, begin: int, end: int) -> tuple[int, int]:
    """Round an interval to whole pixels, at least one, inside ``begin`` to ``end``."""
    start = min(max(round(first), begin), end - 1)
    return start, max(min(round(last), end), start + 1)


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


def as_8bit(image: npt.NDArray[Any], name: str) -> Image:
    """Return ``image`` (uint8 or uint16, mono or BGR) as a reader of its PNG would show it.

    Raises:
        HeatmapError: OpenCV cannot encode it.
    """
    return decode_8bit(encode_png(image), name)


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
