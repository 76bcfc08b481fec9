"""From camera pixels to a batch."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from musc.preprocess import to_batch

PLAIN: dict[str, Any] = {"image_size": 8, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def noise(*shape: int, dtype: str = "uint8", bits: int = 8) -> NDArray[Any]:
    """Random pixels."""
    return np.random.default_rng(0).integers(0, 2**bits, shape, dtype=dtype)


def test_values_are_scaled_by_the_declared_depth() -> None:
    """Full scale is 1 at every depth, and a dark frame stays dark."""
    eight = to_batch([np.full((8, 8, 3), 51, np.uint8)], **PLAIN)
    twelve = to_batch([np.full((8, 8, 3), 4095, np.uint16)], bit_depth=12, **PLAIN)
    sixteen = to_batch([np.full((8, 8, 3), 6553, np.uint16)], bit_depth=16, **PLAIN)

    torch.testing.assert_close(eight, torch.full((1, 3, 8, 8), 0.2))
    torch.testing.assert_close(twelve, torch.ones(1, 3, 8, 8))
    torch.testing.assert_close(sixteen, torch.full((1, 3, 8, 8), 6553 / 65535))


def test_mean_and_deviation_are_those_of_red_green_blue() -> None:
    """Each channel is normalised with its own numbers."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 1] = 255

    batch = to_batch([image], image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.2))

    expected = torch.tensor([-0.2, 2.0, -1.5])[:, None, None].expand(3, 8, 8)
    torch.testing.assert_close(batch[0], expected)


def test_blue_first_is_turned_round() -> None:
    """A bgr frame gives the batch of the same frame in rgb."""
    image = noise(20, 12, 3)

    bgr = to_batch([image], pixel_format="bgr", **PLAIN)

    assert torch.equal(bgr, to_batch([image[:, :, ::-1]], pixel_format="rgb", **PLAIN))


@pytest.mark.parametrize("shape", [(20, 12), (20, 12, 1)])
def test_mono_is_repeated(shape: tuple[int, ...]) -> None:
    """A mono frame gives the batch of a grey rgb frame."""
    image = noise(*shape)
    grey = np.repeat(image.reshape(20, 12, 1), 3, axis=2)

    mono = to_batch([image], pixel_format="mono", **PLAIN)

    torch.testing.assert_close(mono, to_batch([grey], **PLAIN))


def test_each_frame_is_squashed_to_the_square() -> None:
    """Frames of different sizes fill the whole square: left stays left, bottom stays bottom."""
    wide, tall = np.zeros((16, 64), np.uint8), np.zeros((64, 16), np.uint8)
    wide[:, 32:] = 255
    tall[32:] = 255

    batch = to_batch([wide, tall], pixel_format="mono", **PLAIN)

    assert batch.shape == (2, 3, 8, 8)
    torch.testing.assert_close(batch[0], batch[1].transpose(1, 2))
    assert batch[0, :, :, :3].max() < 0.05
    assert batch[0, :, :, 5:].min() > 0.95


def test_edges_do_not_overshoot() -> None:
    """Bicubic resampling is cut to 0..1, enlarging too."""
    image = np.zeros((6, 6), np.uint8)
    image[:, 3:] = 255

    batch = to_batch([image], **{**PLAIN, "image_size": 32}, pixel_format="mono")

    assert batch.min() == 0.0
    assert batch.max() == 1.0


def test_fine_patterns_do_not_alias() -> None:
    """Shrinking averages all pixels: black and white noise becomes an even grey."""
    image = noise(128, 128, bits=1) * 255

    batch = to_batch([image.astype(np.uint8)], pixel_format="mono", **PLAIN)

    torch.testing.assert_close(batch, torch.full_like(batch, 0.5), atol=0.15, rtol=0.0)


def test_frames_from_the_wire_are_read_only() -> None:
    """A read-only view is taken without a warning, and no image is changed."""
    message = noise(10, 14, 3).tobytes()
    view = np.frombuffer(message, np.uint8).reshape(10, 14, 3)
    owned = view.copy()

    batch = to_batch([view], **PLAIN)

    assert torch.equal(batch, to_batch([owned], **PLAIN))
    assert np.array_equal(owned, view)


def test_flipped_and_cut_views_are_taken() -> None:
    """Strides of any sign are read as the pixels they mean."""
    image = noise(20, 30, 3)
    view = image[::-1, 4:20:2]

    batch = to_batch([view], **PLAIN)

    assert torch.equal(batch, to_batch([np.ascontiguousarray(view)], **PLAIN))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), {}, "type float32"),
        (np.zeros((4, 4, 3), np.uint8), {"bit_depth": 9}, "bit_depth is 9, wanted 1 to 8"),
        (np.zeros((4, 4, 3), np.uint8), {"bit_depth": 0}, "bit_depth is 0"),
        (np.full((4, 4, 3), 1024, np.uint16), {"bit_depth": 10}, "value 1024.* allows 1023"),
        (np.zeros((4, 4), np.uint8), {}, r"rgb image has the shape \(4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), {"pixel_format": "mono"}, r"\[height, width, 1\]"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"\(0, 4, 3\)"),
    ],
)
def test_pixels_that_are_not_as_declared_are_refused(
    image: NDArray[Any], options: dict[str, Any], message: str
) -> None:
    """Type, depth, value or shape unlike the declaration is refused by name."""
    with pytest.raises(ValueError, match=message):
        to_batch([image], **PLAIN, **options)


def test_no_image_is_refused() -> None:
    """A batch of nothing is an error."""
    with pytest.raises(ValueError, match="images are empty"):
        to_batch([], **PLAIN)
