"""What streams under stress do to a picture: move it a little, light it differently, add noise.

A picture stays of its kind: shape, format and depth are those it came with, and
values are clipped at the full scale of its depth, as a sensor's are. Everything is
drawn from the generator that is handed in, so a stream is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge.frame import Pixels
    from edge.sources import Capture


@dataclass(frozen=True, slots=True)
class Jitter:
    """How far two pictures of the same defect may differ."""

    least_shift_px: float = 1.0
    most_shift_px: float = 3.0
    """Length of the shift, in any direction."""
    turn_deg: float = 0.5
    """Either way, about the centre."""
    light: float = 0.05
    """Share of the brightness, either way."""
    noise: float = 0.004
    """Standard deviation of the sensor's noise, as a share of full scale: 1 grey level of 255."""


def jittered(capture: Capture, rng: np.random.Generator, jitter: Jitter) -> Capture:
    """Return the part once more: shifted, turned and lit a little differently, with new noise.

    What moves in at an edge mirrors what is there; the picture's size stays.

    Raises:
        ValueError: The capture has no pixels.
    """
    pixels = _pixels(capture)
    height, width = pixels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(jitter.least_shift_px, jitter.most_shift_px)
    turn = rng.uniform(-jitter.turn_deg, jitter.turn_deg)
    move = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, 1.0)
    move[:, 2] += shift * np.cos(angle), shift * np.sin(angle)
    moved = cv2.warpAffine(
        pixels.astype(np.float32),
        move,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    gain = 1 + rng.uniform(-jitter.light, jitter.light)
    full = 2**capture.bit_depth - 1
    noise = jitter.noise * full * rng.standard_normal(moved.shape, np.float32)
    return _with(capture, gain * moved + noise)


def lit(capture: Capture, gain: float) -> Capture:
    """Return the part under a lamp of ``gain`` times the brightness; 1 changes nothing."""
    if gain == 1:
        return capture
    return _with(capture, gain * _pixels(capture).astype(np.float32))


def noisy(capture: Capture, rng: np.random.Generator, noise: float) -> Capture:
    """Return the part with noise of a standard deviation that is a share of full scale."""
    pixels = _pixels(capture)
    spread = noise * (2**capture.bit_depth - 1)
    return _with(capture, pixels + spread * rng.standard_normal(pixels.shape, np.float32))


def carried(
    good: Capture, twin: Capture, marred: Capture, shift_px: tuple[float, float]
) -> Capture:
    """Return a good part with the blemish that ``marred`` has and its good ``twin`` has not.

    Args:
        good: The part that is to have it.
        twin: A good part, of the same size and kind.
        marred: The same part, with the blemish.
        shift_px: Columns and rows that the blemish is moved; what leaves the picture is lost.
    """
    blemish = _pixels(marred).astype(np.float32) - _pixels(twin).astype(np.float32)
    move = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]], np.float32)
    moved = cv2.warpAffine(blemish, move, blemish.shape[1::-1])
    return _with(good, _pixels(good) + moved)


def _pixels(capture: Capture) -> Pixels:
    if capture.pixels is None:
        msg = f"{capture.origin}: {capture.fault or 'no pixels'}"
        raise ValueError(msg)
    return capture.pixels


def _with(capture: Capture, values: npt.NDArray[np.floating]) -> Capture:
    """Return the capture with other values, rounded and within full scale."""
    pixels = _pixels(capture)
    full = 2**capture.bit_depth - 1
    return replace(capture, pixels=np.rint(np.clip(values, 0, full)).astype(pixels.dtype))
