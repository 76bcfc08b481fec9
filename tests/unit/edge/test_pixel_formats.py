"""Pixel formats: what a camera sends arrives as it was, in its depth and its colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources.pixel_formats import BIT_DEPTHS, byte_count, decode, unpack, unpack_naive

WIDTH, HEIGHT = 8, 6
RED, GREEN, BLUE = 2, 1, 0
"""Channels of a bgr picture."""
MOSAICS = {
    "BayerRG": ((RED, GREEN), (GREEN, BLUE)),
    "BayerGB": ((GREEN, BLUE), (RED, GREEN)),
    "BayerGR": ((GREEN, RED), (BLUE, GREEN)),
    "BayerBG": ((BLUE, GREEN), (GREEN, RED)),
}
"""Colours of the top left four pixels, by PFNC's names."""


def mosaic_of(picture: np.ndarray, name: str) -> np.ndarray:
    """Return what a sensor behind this colour filter sees of a bgr picture."""
    raw = np.empty(picture.shape[:2], picture.dtype)
    for row in range(2):
        for column in range(2):
            channel = MOSAICS[name][row][column]
            raw[row::2, column::2] = picture[row::2, column::2, channel]
    return raw


def packed(numbers: list[int], bits: int) -> bytes:
    """Return numbers as a stream of bits, lowest first."""
    stream = sum(number << i * bits for i, number in enumerate(numbers))
    return stream.to_bytes(-(-len(numbers) * bits // 8), "little")


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("name", list(MOSAICS))
def test_mosaic_keeps_red_and_blue_apart(name: str, depth: int) -> None:
    """A picture of one colour comes back from each mosaic as this colour, in its depth."""
    dtype = np.uint8 if depth == 8 else np.uint16
    top = 2**depth - 1
    picture = np.full((HEIGHT, WIDTH, 3), (top // 5, top // 2, top), dtype)

    pixels, pixel_format, bit_depth = decode(
        mosaic_of(picture, name).tobytes(), f"{name}{depth}", WIDTH, HEIGHT
    )

    assert (pixel_format, bit_depth, pixels.dtype) == ("bgr", depth, dtype)
    np.testing.assert_array_equal(pixels, picture)


@pytest.mark.parametrize("name", list(MOSAICS))
def test_mosaic_keeps_colours_in_their_place(name: str) -> None:
    """Of a picture red on the left and blue on the right, each side has its colour."""
    picture = np.zeros((HEIGHT, 20, 3), np.uint8)
    picture[:, :10, RED] = 200
    picture[:, 10:, BLUE] = 100

    pixels, _, _ = decode(mosaic_of(picture, name).tobytes(), f"{name}8", 20, HEIGHT)

    np.testing.assert_array_equal(pixels[:, :8], picture[:, :8])
    np.testing.assert_array_equal(pixels[:, 12:], picture[:, 12:])


@pytest.mark.parametrize(("name", "depth"), [("Mono10", 10), ("Mono12", 12), ("Mono16", 16)])
def test_grey_above_8_bits_is_little_endian(name: str, depth: int) -> None:
    """Two bytes are one pixel, the lower first, and are not scaled."""
    sent = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) + (2**depth - 99)

    pixels, pixel_format, bit_depth = decode(sent.astype("<u2").tobytes(), name, WIDTH, HEIGHT)

    assert (pixel_format, bit_depth, pixels.dtype) == ("mono", depth, np.uint16)
    np.testing.assert_array_equal(pixels, sent)


@pytest.mark.parametrize(("name", "pixel_format"), [("RGB8", "rgb"), ("BGR8", "bgr")])
def test_colour_keeps_its_order(name: str, pixel_format: str) -> None:
    """Three bytes are one pixel, in the order that the format's name says."""
    sent = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)

    pixels, said, bit_depth = decode(sent.tobytes(), name, WIDTH, HEIGHT)

    assert (said, bit_depth) == (pixel_format, 8)
    np.testing.assert_array_equal(pixels, sent)


@pytest.mark.parametrize("name", list(BIT_DEPTHS))
def test_pixels_are_no_view(name: str) -> None:
    """When the driver fills its buffer again, the pixels stay as they were."""
    buffer = np.full(byte_count(name, 5, 5), 3, np.uint8)

    pixels, _, depth = decode(buffer, name, 5, 5)
    before = pixels.copy()
    buffer[:] = 0xFF

    np.testing.assert_array_equal(pixels, before)
    assert pixels.shape[:2] == (5, 5)
    assert depth == BIT_DEPTHS[name]
    assert pixels.dtype == (np.uint8 if depth == 8 else np.uint16)


@pytest.mark.parametrize(("name", "bits"), [("Mono10p", 10), ("Mono12p", 12)])
def test_packed_grey_is_one_stream_of_bits(name: str, bits: int) -> None:
    """Pixels follow each other bit by bit, also from one line to the next."""
    sent = [(37 * i + 1) % 2**bits for i in range(15)]

    pixels, pixel_format, bit_depth = decode(packed(sent, bits), name, 5, 3)

    assert (pixel_format, bit_depth, pixels.dtype) == ("mono", bits, np.uint16)
    assert pixels.reshape(-1).tolist() == sent


@given(data=st.data(), count=st.integers(1, 40), bits=st.sampled_from([10, 12]))
def test_unpack_is_its_twin(data: st.DataObject, count: int, bits: int) -> None:
    """The fast way to take a stream of bits apart gives what one long number gives."""
    size = -(-count * bits // 8)
    flat = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)

    fast = unpack(flat, bits, count)

    np.testing.assert_array_equal(fast, unpack_naive(flat, bits, count))


def test_packed_mosaic_is_the_unpacked_one() -> None:
    """A packed mosaic gives the picture of the same mosaic with two bytes a pixel."""
    sent = [(91 * i) % 4096 for i in range(WIDTH * HEIGHT)]
    plain = np.array(sent, "<u2").tobytes()

    pixels, _, _ = decode(packed(sent, 12), "BayerGR12p", WIDTH, HEIGHT)

    np.testing.assert_array_equal(pixels, decode(plain, "BayerGR12", WIDTH, HEIGHT)[0])


@pytest.mark.parametrize("size", [0, 49, 95, 97, 192])
def test_wrong_number_of_bytes_is_refused(size: int) -> None:
    """A buffer that is not exactly one picture is refused with format, size and limit."""
    buffer = bytes(size)

    with pytest.raises(ValueError, match=rf"Mono12 of 8 x 6 px takes 96 bytes.* has {size}"):
        decode(buffer, "Mono12", WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ["", "mono8", "Mono12Packed", "YUV422Packed", "BayerRG16"])
def test_unknown_format_is_refused(name: str) -> None:
    """A name that is not supported is refused with the names that are."""
    with pytest.raises(ValueError, match=r"is not supported, only Mono8, .*BGR8"):
        decode(bytes(48), name, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("name", "width", "height"), [("Mono8", 0, 5), ("Mono8", 32_769, 1), ("BayerRG8", 2, 6)]
)
def test_impossible_size_is_refused(name: str, width: int, height: int) -> None:
    """A size outside of the limits is refused before its bytes are counted."""
    with pytest.raises(ValueError, match=rf"{name} of {width} x {height} px: a side has"):
        decode(bytes(width * height), name, width, height)
