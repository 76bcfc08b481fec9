"""Drawing of the synthetic line's part: a machined bracket on a belt.

A brushed plate with four screw holes, a turned bore, a marked code and
bevelled edges lies on a dark belt, under a lamp from the upper left. From part
to part it is shifted, turned and lit a little differently, and its surface is
new. Lengths are in sides: fractions of the shorter side of the picture; x
points right and y down, from the centre of the part. Brightness runs from 0 to 1.

Shapes are signed distances (negative inside), so one formula gives an edge,
its bevel and its mask. Source: I. Quilez, "2D distance functions".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edge.sources.synthetic_scratch import FineScratch

Field: TypeAlias = npt.NDArray[np.float32]
"""One number a pixel, (height, width)."""
Mask: TypeAlias = npt.NDArray[np.bool_]
DefectKind = Literal["scratch", "dent", "stain", "missing"]

_HALF_WIDTH, _HALF_HEIGHT, _CORNER = 0.38, 0.29, 0.06
_BORE_RADIUS, _TURNED_RADIUS = 0.10, 0.165
_HOLES = ((-0.29, -0.20), (0.29, -0.20), (-0.29, 0.20), (0.29, 0.20))
_HOLE_RADIUS = 0.034
_BEVEL = 0.014
_CODE = (0xFF, 0x95, 0xB2, 0x8D, 0xE6, 0x9B, 0xD4, 0xAA)
"""Rows of the code marked on the part, one bit a cell."""
_CODE_LEFT, _CODE_TOP, _CODE_CELL = 0.2, -0.055, 0.0138

_COARSE_PIXELS = 32
"""Longer grain is drawn on fewer pixels: at 5 megapixels a part takes 1.8 s instead of 5.3."""
_MIN_RADIUS_PIXELS = 2
"""A defect is at least this large, or a small picture could lose it."""

_SHIFT, _TURN_RAD = 0.012, 0.025
_TO_LAMP = (-0.6, -0.8)
_BELT_TINT = np.array([0.92, 1.10, 0.88], np.float32)
_METAL_TINT = np.array([1.04, 1.00, 0.97], np.float32)
_STAIN_TINT = np.array([0.72, 0.94, 1.14], np.float32)
"""Blue, green, red."""


@dataclass(frozen=True, slots=True)
class Plane:
    """The picture's pixels in the part's own coordinates, in sides."""

    x: Field
    y: Field
    pixel: float
    """Width of a pixel."""

    def grain(self, rng: np.random.Generator, along_x: float, along_y: float) -> Field:
        """Return unit noise whose grain has these lengths, in sides."""
        height, width = self.x.shape
        white = rng.standard_normal((height, width), np.float32)
        sigma_x, sigma_y = (max(0.3, length / self.pixel) for length in (along_x, along_y))
        fewer_x, fewer_y = (max(1.0, sigma / _COARSE_PIXELS) for sigma in (sigma_x, sigma_y))
        if max(fewer_x, fewer_y) > 1:
            few = (round(width / fewer_x), round(height / fewer_y))
            white = cv2.resize(white, few, interpolation=cv2.INTER_AREA).astype(np.float32)
        smooth = cv2.GaussianBlur(white, (0, 0), sigma_x / fewer_x, sigmaY=sigma_y / fewer_y)
        smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)

    def circle(self, x: float, y: float, radius: float) -> Field:
        """Return the distance to a circle's edge."""
        distance = np.hypot(self.x - np.float32(x), self.y - np.float32(y)) - np.float32(radius)
        return np.asarray(distance, np.float32)

    def box(self, half_width: float, half_height: float, corner: float) -> Field:
        """Return the distance to the edge of a box with round corners about the origin."""
        across = np.abs(self.x) - np.float32(half_width - corner)
        down = np.abs(self.y) - np.float32(half_height - corner)
        outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
        inside = np.minimum(np.maximum(across, down), 0)
        return np.asarray(outside + inside - np.float32(corner), np.float32)

    def segment(self, start: tuple[float, float], end: tuple[float, float]) -> Field:
        """Return the distance to a straight line between two points."""
        along = (end[0] - start[0], end[1] - start[1])
        squared = max(along[0] ** 2 + along[1] ** 2, 1e-12)
        dx, dy = self.x - np.float32(start[0]), self.y - np.float32(start[1])
        share = np.clip((dx * along[0] + dy * along[1]) / squared, 0, 1)
        distance = np.hypot(dx - share * along[0], dy - share * along[1])
        return np.asarray(distance, np.float32)

    def cover(self, distance: Field) -> Field:
        """Return the share of each pixel inside a shape."""
        return np.asarray(np.clip(0.5 - distance / np.float32(self.pixel), 0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class Blemish:
    """What a defect changes: brightness to add, stain to lay over, and where it is true."""

    brightness: Field
    stain: Field
    mask: Mask


def render_part(
    rng: np.random.Generator,
    height_px: int,
    width_px: int,
    defect: DefectKind | FineScratch | None,
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Draw one part.

    Args:
        rng: Decides everything that differs from part to part.
        height_px: Height of the picture.
        width_px: Width of the picture.
        defect: What is wrong with the part; None draws a good one.

    Returns:
        Blue, green and red (height, width, 3) in 0..1 before sensor noise, and
        the mask (height, width) of the defect's pixels.

    Raises:
        ValueError: A fine scratch has no room on the metal.
    """
    scratch = defect if isinstance(defect, FineScratch) else None
    defect = None if isinstance(defect, FineScratch) else defect
    plane = _lay_down(rng, height_px, width_px)
    # Its own stream: a defective part and its good twin differ in the defect only.
    defect_rng = rng.spawn(1)[0]
    lost = _HOLES[defect_rng.integers(len(_HOLES))] if defect == "missing" else None
    outline = _outline(plane, lost)
    metal = plane.cover(outline)
    surface = _surface(rng, plane) * _bevel_shade(plane, outline)
    belt = _belt(rng, plane)
    blemish = _blemish(defect_rng, plane, outline, defect, lost)
    surface = (surface + blemish.brightness) * (1 - 0.22 * blemish.stain)
    lit = (belt + metal * (surface - belt)) * _light(rng, plane)
    stain = (metal * blemish.stain * 0.8)[..., None]
    tint = _BELT_TINT + metal[..., None] * (_METAL_TINT - _BELT_TINT)
    tint = tint + stain * (_STAIN_TINT - tint)
    picture = cv2.GaussianBlur(lit[..., None] * tint, (0, 0), 0.6)  # the lens
    if scratch is None:
        return np.asarray(picture, np.float32), blemish.mask
    free = _bare_metal(plane, outline) > scratch.reach_px * plane.pixel
    cover = scratch.draw(defect_rng, free)
    picture += np.float32(scratch.contrast) * cover[..., None]
    return np.asarray(picture, np.float32), cover >= 0.5  # noqa: PLR2004 - the middle of the edge


def _lay_down(rng: np.random.Generator, height_px: int, width_px: int) -> Plane:
    """Place the part on the belt: a small shift and turn."""
    pixel = 1.0 / min(height_px, width_px)
    shift_x, shift_y = rng.uniform(-_SHIFT, _SHIFT, 2)
    turn = rng.uniform(-_TURN_RAD, _TURN_RAD)
    x = (np.arange(width_px, dtype=np.float32) - (width_px - 1) / 2) * pixel - shift_x
    y = (np.arange(height_px, dtype=np.float32) - (height_px - 1) / 2) * pixel - shift_y
    across, down = np.meshgrid(x, y)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = across * cos + down * sin, down * cos - across * sin
    return Plane(turned[0].astype(np.float32), turned[1].astype(np.float32), pixel)


def _outline(plane: Plane, lost: tuple[float, float] | None) -> Field:
    """Return the distance to the metal's edge: the plate without its openings."""
    openings = plane.circle(0, 0, _BORE_RADIUS)
    for hole in _HOLES:
        if hole != lost:
            openings = np.minimum(openings, plane.circle(*hole, _HOLE_RADIUS))
    return np.maximum(plane.box(_HALF_WIDTH, _HALF_HEIGHT, _CORNER), -openings)


def _surface(rng: np.random.Generator, plane: Plane) -> Field:
    """Return the brightness of brushed, turned and marked metal."""
    brushed = 0.026 * plane.grain(rng, 0.10, 0.001) + 0.012 * plane.grain(rng, 0.02, 0.02)
    radius = np.hypot(plane.x, plane.y)
    turned = plane.cover(radius - np.float32(_TURNED_RADIUS))
    rings = 0.07 + 0.03 * np.sin(radius * np.float32(2 * np.pi / 0.02))
    surface = 0.56 + brushed * (1 - 0.6 * turned) + turned * rings
    return np.asarray(surface * (1 - 0.55 * _code(plane)), np.float32)


def _code(plane: Plane) -> Field:
    """Return 1 where the code is marked and 0 elsewhere."""
    size = len(_CODE)
    column = np.floor((plane.x - np.float32(_CODE_LEFT)) / np.float32(_CODE_CELL)).astype(int)
    row = np.floor((plane.y - np.float32(_CODE_TOP)) / np.float32(_CODE_CELL)).astype(int)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    bits = np.array([[byte >> (size - 1 - i) & 1 for i in range(size)] for byte in _CODE])
    marked = bits[np.clip(row, 0, size - 1), np.clip(column, 0, size - 1)]
    return np.asarray(inside & (marked == 1), np.float32)


def _bare_metal(plane: Plane, outline: Field) -> Field:
    """Return how far it is to the nearest edge or to the code, whose cells a scratch hides in."""
    half = len(_CODE) * _CODE_CELL / 2
    x, y = _CODE_LEFT + half, _CODE_TOP + half
    moved = Plane(plane.x - np.float32(x), plane.y - np.float32(y), plane.pixel)
    from_edges = -outline - np.float32(_BEVEL)
    return np.asarray(np.minimum(from_edges, moved.box(half, half, 0)), np.float32)


def _bevel_shade(plane: Plane, outline: Field) -> Field:
    """Return a factor that is brighter where an edge faces the lamp."""
    down, across = np.gradient(outline, plane.pixel)
    facing = across * _TO_LAMP[0] + down * _TO_LAMP[1]
    slope = np.clip(1 + outline / np.float32(_BEVEL), 0, 1)
    return np.asarray(1 + 0.45 * facing * slope, np.float32)


def _belt(rng: np.random.Generator, plane: Plane) -> Field:
    """Return the brightness of the belt with the part's shadow on it."""
    weave = 0.012 * plane.grain(rng, 0.004, 0.004) + 0.01 * plane.grain(rng, 0.05, 0.05)
    shifted = Plane(plane.x - np.float32(0.015), plane.y - np.float32(0.02), plane.pixel)
    distance = shifted.box(_HALF_WIDTH, _HALF_HEIGHT, _CORNER)
    shadow = 1 / (1 + np.exp(np.clip(distance / 0.012, -30, 30)))
    return np.asarray((0.15 + weave) * (1 - 0.6 * shadow), np.float32)


def _light(rng: np.random.Generator, plane: Plane) -> Field:
    """Return the lamp's brightness over the picture: a level and a slight fall."""
    level = rng.normal(1.0, 0.015)
    fall_x, fall_y = rng.normal((-0.05, -0.07), 0.015)
    return np.asarray(level + fall_x * plane.x + fall_y * plane.y, np.float32)


def _blemish(
    rng: np.random.Generator,
    plane: Plane,
    outline: Field,
    defect: DefectKind | None,
    lost: tuple[float, float] | None,
) -> Blemish:
    """Return what the defect changes on this part; nothing where there is none."""
    nothing = np.zeros_like(plane.x)
    if defect is None:
        return Blemish(nothing, nothing, nothing > 0)
    if lost is not None:
        return Blemish(nothing, nothing, plane.circle(*lost, _HOLE_RADIUS) < 0)
    blemish = _DRAW[defect](rng, plane, _free_spot(rng))
    return Blemish(blemish.brightness, blemish.stain, blemish.mask & (outline < 0))


def _free_spot(rng: np.random.Generator) -> tuple[float, float]:
    """Return a point on the plate, away from bore, holes and edges."""
    while True:
        x = rng.uniform(-_HALF_WIDTH + 0.06, _HALF_WIDTH - 0.06)
        y = rng.uniform(-_HALF_HEIGHT + 0.06, _HALF_HEIGHT - 0.06)
        from_holes = min(np.hypot(x - hole[0], y - hole[1]) for hole in _HOLES)
        if np.hypot(x, y) > _BORE_RADIUS + 0.05 and from_holes > _HOLE_RADIUS + 0.05:
            return float(x), float(y)


def _scratch(rng: np.random.Generator, plane: Plane, spot: tuple[float, float]) -> Blemish:
    """Draw a thin bent line, bright with a dark lip."""
    angle = rng.uniform(0, np.pi)
    distance = np.full_like(plane.x, np.inf)
    for way in (0.0, np.pi):
        bend = angle + way + rng.normal(0, 0.12)
        length = rng.uniform(0.04, 0.09)
        end = (spot[0] + length * np.cos(bend), spot[1] + length * np.sin(bend))
        distance = np.minimum(distance, plane.segment(spot, end))
    half_width = max(rng.uniform(0.0022, 0.0036), 0.6 * plane.pixel)
    strength = rng.uniform(0.16, 0.28)
    line = plane.cover(distance - np.float32(half_width))
    lip = plane.cover(distance - np.float32(2.2 * half_width)) - line
    brightness = np.asarray(strength * line - 0.4 * strength * lip, np.float32)
    return Blemish(brightness, np.zeros_like(line), distance < 2.2 * half_width)


def _dent(rng: np.random.Generator, plane: Plane, spot: tuple[float, float]) -> Blemish:
    """Draw a shallow bowl: the side away from the lamp is bright, the near one dark."""
    radius = max(rng.uniform(0.024, 0.042), _MIN_RADIUS_PIXELS * plane.pixel)
    stretch = rng.uniform(0.8, 1.25)
    dx = (plane.x - np.float32(spot[0])) / np.float32(radius * stretch)
    dy = (plane.y - np.float32(spot[1])) / np.float32(radius / stretch)
    squared = dx**2 + dy**2
    facing = -(dx * _TO_LAMP[0] + dy * _TO_LAMP[1])
    strength = rng.uniform(0.22, 0.34)
    brightness = np.asarray(strength * facing * np.exp(-1.5 * squared), np.float32)
    return Blemish(brightness, np.zeros_like(brightness), squared < 1.2**2)


def _stain(rng: np.random.Generator, plane: Plane, spot: tuple[float, float]) -> Blemish:
    """Draw a darker, brownish patch with an irregular edge."""
    radius = max(rng.uniform(0.03, 0.055), _MIN_RADIUS_PIXELS * plane.pixel)
    ragged = 0.2 * radius * plane.grain(rng, 0.018, 0.018)
    distance = plane.circle(*spot, radius) + ragged
    strength = rng.uniform(0.6, 1.0)
    soft = np.clip(0.5 - distance / np.float32(0.012), 0, 1)
    stain = np.asarray(strength * soft, np.float32)
    return Blemish(np.zeros_like(stain), stain, soft >= 0.5)  # noqa: PLR2004 - the middle of the edge


_Drawing = Callable[[np.random.Generator, Plane, tuple[float, float]], Blemish]
_DRAW: Mapping[DefectKind, _Drawing] = MappingProxyType(
    {"scratch": _scratch, "dent": _dent, "stain": _stain}
)
