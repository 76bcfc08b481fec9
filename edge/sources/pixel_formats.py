"""Pixels as cameras send them: from GenICam's format names to a frame's pixels.

A driver hands over a flat buffer and the name of what it holds. Here it becomes
grey or colour of its declared depth, in memory of its own, for the driver fills
its buffer again. Lines follow each other without padding.

OpenCV names a Bayer mosaic after the second row and column, GenICam after the
first: what GenICam calls BayerRG is OpenCV's ``BayerBG``, or ``BayerRGGB`` among
its newer names, which agree with GenICam's and are used here.

Source: EMVA, GenICam Pixel Format Naming Convention (PFNC).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.frame import MAX_SIDE_PX, PixelFormat, Pixels

if TYPE_CHECKING:
    from collections.abc import Mapping

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint16]

BAYER = {
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
"""OpenCV's conversion of each mosaic, by the colours at its top left."""
MOSAIC_LEAST_PX = 3
"""OpenCV leaves pictures black that are smaller than its neighbourhood."""
BYTE_BITS = 8


@dataclass(frozen=True, slots=True)
class _Layout:
    pixel_format: PixelFormat
    bit_depth: int
    bits: int
    """Taken by one pixel in the buffer, all its channels together."""
    bayer: int | None = None
    """OpenCV's code of the mosaic."""

    @property
    def is_packed(self) -> bool:
        """Whether pixels do not begin at a byte."""
        return self.bits % BYTE_BITS != 0


def _layouts() -> dict[str, _Layout]:
    mosaics: dict[str, int | None] = {"Mono": None, **BAYER}
    table = {
        f"{name}{ending}": _Layout("mono" if code is None else "bgr", depth, bits, code)
        for name, code in mosaics.items()
        for ending, depth, bits in (
            ("8", 8, 8), ("10", 10, 16), ("12", 12, 16), ("10p", 10, 10), ("12p", 12, 12),
        )
    }  # fmt: skip
    table["Mono16"] = _Layout("mono", 16, 16)
    table["RGB8"] = _Layout("rgb", 8, 24)
    table["BGR8"] = _Layout("bgr", 8, 24)
    return table


_LAYOUTS = _layouts()
BIT_DEPTHS: Mapping[str, int] = {name: layout.bit_depth for name, layout in _LAYOUTS.items()}
"""What can be decoded: PFNC names and their bits a channel."""


def decode(
    data: bytes | bytearray | memoryview | Bytes, pixel_format: str, width: int, height: int
) -> tuple[Pixels, PixelFormat, int]:
    """Turn one buffer of a driver into pixels, which have their own memory.

    Args:
        data: The picture's bytes, without padding.
        pixel_format: One of ``BIT_DEPTHS``. Formats above 8 bits are little-endian,
            16 bits a pixel; those that end in p are one stream of bits, lowest first.
        width: Pixels in a line.
        height: Lines.

    Returns:
        The pixels as :class:`edge.frame.Frame` has them, their format, and their bit depth.
        A mosaic is interpolated to blue, green, red, and keeps its depth.

    Raises:
        ValueError: The format is not known, or the size or the number of bytes is wrong.
    """
    layout = _LAYOUTS.get(pixel_format)
    if layout is None:
        msg = f"pixel format {pixel_format!r} is not supported, only {', '.join(BIT_DEPTHS)}"
        raise ValueError(msg)
    _check_size(layout, pixel_format, width, height)
    flat = np.frombuffer(data, np.uint8)
    expected = byte_count(pixel_format, width, height)
    if len(flat) != expected:
        msg = (
            f"{pixel_format} of {width} x {height} px takes {expected} bytes,"
            f" the buffer has {len(flat)}"
        )
        raise ValueError(msg)
    return _pixels(flat, layout, width, height), layout.pixel_format, layout.bit_depth


def byte_count(pixel_format: str, width: int, height: int) -> int:
    """Return how many bytes a picture takes; only the end of a bit stream is filled up."""
    return -(-width * height * _LAYOUTS[pixel_format].bits // BYTE_BITS)


def _check_size(layout: _Layout, name: str, width: int, height: int) -> None:
    least = 1 if layout.bayer is None else MOSAIC_LEAST_PX
    if not (least <= width <= MAX_SIDE_PX and least <= height <= MAX_SIDE_PX):
        msg = f"{name} of {width} x {height} px: a side has {least} to {MAX_SIDE_PX} px"
        raise ValueError(msg)


def _pixels(flat: Bytes, layout: _Layout, width: int, height: int) -> Pixels:
    """Return a copy of the buffer in the shape of a frame."""
    grey: Pixels
    if layout.bits == 3 * BYTE_BITS:
        colour: Bytes = flat.reshape(height, width, 3).copy()
        return colour
    if layout.is_packed:
        grey = unpack(flat, layout.bits, width * height)
    elif layout.bits > BYTE_BITS:
        grey = flat.view("<u2").astype(np.uint16)
    else:
        # OpenCV makes the copy of a mosaic; only grey pixels would be the driver's own.
        grey = flat.copy() if layout.bayer is None else flat
    grey = grey.reshape(height, width)
    if layout.bayer is None:
        return grey
    return _interpolated(grey, layout.bayer)


def _interpolated(mosaic: Pixels, code: int) -> Pixels:
    colour: Any = cv2.cvtColor(mosaic, code)
    pixels: Pixels = colour
    return pixels


def unpack(flat: Bytes, bits: int, count: int) -> Words:
    """Return ``count`` numbers of 9 to 12 bits from a stream of bits, lowest first.

    Source: PFNC, formats that end in ``p`` (packed, least significant bit first).
    """
    group_bytes = lcm(bits, BYTE_BITS) // BYTE_BITS
    group_numbers = lcm(bits, BYTE_BITS) // bits
    groups = -(-count // group_numbers)
    padded = np.zeros(groups * group_bytes, np.uint8)
    padded[: len(flat)] = flat
    columns = padded.reshape(groups, group_bytes).T.astype(np.uint16)
    numbers = np.empty((groups, group_numbers), np.uint16)
    for i in range(group_numbers):
        first, shift = divmod(i * bits, BYTE_BITS)
        both = columns[first] | columns[first + 1] << BYTE_BITS
        numbers[:, i] = both >> shift & (1 << bits) - 1
    return numbers.reshape(-1)[:count]


def unpack_naive(flat: Bytes, bits: int, count: int) -> Words:
    """Do what ``unpack`` does, from one long number."""
    stream = int.from_bytes(flat.tobytes(), "little")
    numbers = [stream >> i * bits & (1 << bits) - 1 for i in range(count)]
    return np.array(numbers, np.uint16)
