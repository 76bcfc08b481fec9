"""From camera pixels to the backbone's input.

Values are divided by the declared bit depth, never by the largest value of the
frame: a dark frame stays dark. The aspect is squashed to a square, as the
authors do, so a map covers exactly the frame's pixels.

Source: Li et al., MuSc, ICLR 2024, section 4; the resampling is the antialiased
bicubic of Pillow (a = -0.5), in float32 and without its rounding to 8 bits.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

PixelFormat = Literal["mono", "rgb", "bgr"]
"""How the channels of an array are to be read."""


def to_batch(
    images: Sequence[NDArray[np.uint8] | NDArray[np.uint16]],
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    bit_depth: int = 8,
    pixel_format: PixelFormat = "rgb",
    device: torch.device | str = "cpu",
) -> Tensor:
    """Scale, resize and normalise frames into one batch.

    Args:
        images: At least one array of uint8 or uint16, [height, width] or
            [height, width, 1] for mono, [height, width, 3] for colour; sizes may
            differ. Not modified; may be read-only.
        image_size: Side of the square result in pixels.
        mean: The backbone's mean for red, green, blue in 0..1.
        std: The backbone's standard deviation, likewise.
        bit_depth: Significant bits of a value, 1 to 16; full scale is
            2**bit_depth - 1.
        pixel_format: "mono" is repeated to three channels; "bgr" is turned round.
        device: Where the batch is wanted; the resizing happens there.

    Returns:
        float32 [N, 3, image_size, image_size], red first.

    Raises:
        ValueError: No image, another type or shape, a value above full scale, or
            a bit depth outside its limits.
    """
    if not images:
        msg = "images are empty, wanted at least 1"
        raise ValueError(msg)
    squares = [
        _resized(_scaled(image, bit_depth, pixel_format).to(device), image_size) for image in images
    ]
    batch = torch.stack(squares).expand(-1, 3, -1, -1)
    if pixel_format == "bgr":
        batch = batch.flip(1)
    centre = torch.tensor(list(mean), dtype=torch.float32, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(list(std), dtype=torch.float32, device=device).view(1, 3, 1, 1)
    return (batch - centre) / scale


def _scaled(
    image: NDArray[np.uint8] | NDArray[np.uint16], bit_depth: int, pixel_format: PixelFormat
) -> Tensor:
    """One image as float32 [1 or 3, height, width] in 0..1.

    Raises:
        ValueError: The array is not what the arguments declare.
    """
    channels = 1 if pixel_format == "mono" else 3
    if pixel_format == "mono" and image.ndim == 2:  # noqa: PLR2004 - height and width
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] != channels or image.size == 0:  # noqa: PLR2004 - and channels
        wanted = f"[height, width, {channels}]"
        msg = f"a {pixel_format} image has the shape {image.shape}, wanted {wanted}"
        raise ValueError(msg)
    _check_values(image, bit_depth)
    # The division is the one copy: it also turns a read-only view into memory that torch may own.
    pixels = np.divide(image, 2**bit_depth - 1, dtype=np.float32, order="C")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _check_values(image: NDArray[np.uint8] | NDArray[np.uint16], bit_depth: int) -> None:
    """Refuse values that the declared depth cannot hold.

    A 12-bit frame shifted to the upper bits, or declared as 10 bits, would come
    out white and score as a constant frame.

    Raises:
        ValueError: Type, depth or largest value; the message names the limit.
    """
    if image.dtype not in (np.uint8, np.uint16):
        msg = f"an image has the type {image.dtype}, wanted uint8 or uint16"
        raise ValueError(msg)
    bits = image.dtype.itemsize * 8
    if not 1 <= bit_depth <= bits:
        msg = f"bit_depth is {bit_depth}, wanted 1 to {bits} for {image.dtype}"
        raise ValueError(msg)
    if bit_depth < bits and int(image.max()) >= 2**bit_depth:
        limit = 2**bit_depth - 1
        msg = f"an image holds the value {int(image.max())}, bit_depth {bit_depth} allows {limit}"
        raise ValueError(msg)


def _resized(image: Tensor, image_size: int) -> Tensor:
    """[channels, height, width] in 0..1 -> [channels, image_size, image_size] in 0..1."""
    size = (image_size, image_size)
    square = functional.interpolate(
        image[None], size=size, mode="bicubic", align_corners=False, antialias=True
    )
    return square[0].clamp_(0.0, 1.0)  # bicubic overshoots at edges
