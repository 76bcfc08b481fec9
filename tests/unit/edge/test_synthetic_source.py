"""The synthetic line: repeatable parts, and a truth that tells exactly where a defect is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sources import EndOfSourceError
from edge.sources.synthetic import KINDS, SyntheticSource
from edge.sources.synthetic_parts import DefectKind


@given(seed=st.integers(0, 2**63), indices=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_order_of_reading_is_nothing(seed: int, indices: list[int]) -> None:
    """A part is the same bit by bit whether read in order or asked for out of order."""
    line = SyntheticSource(seed, frames=4, width_px=48, height_px=40, defect_rate=0.5)
    in_order = [line.read() for _ in range(4)]

    for index in indices:
        again = SyntheticSource(seed, width_px=48, height_px=40, defect_rate=0.5).part(index)

        np.testing.assert_array_equal(again.pixels, in_order[index].pixels)
        assert line.part(index).defect == again.defect


def test_parts_differ() -> None:
    """No two parts and no two lines look the same: there is natural variation."""
    line = SyntheticSource(1, width_px=64, height_px=64, defect_rate=0)
    other = SyntheticSource(2, width_px=64, height_px=64, defect_rate=0)
    pictures = [source.part(index).pixels for source in (line, other) for index in range(4)]

    assert len({picture.tobytes() for picture in pictures}) == 8


@pytest.mark.parametrize("pixel_format", ["mono", "bgr"])
@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_the_truth(kind: DefectKind, pixel_format: Any) -> None:
    """A defective part differs from its good twin on the mask, and nowhere far from it."""
    good = SyntheticSource(5, defect_rate=0, kinds=[kind], pixel_format=pixel_format)
    bad = SyntheticSource(5, defect_rate=1, kinds=[kind], pixel_format=pixel_format)
    around = np.ones((31, 31), np.uint8)

    for index in range(8):
        part, twin = bad.part(index), good.part(index)
        change = np.abs(part.pixels.astype(int) - twin.pixels).reshape(256, 256, -1).max(axis=2)
        near = cv2.dilate(part.mask.astype(np.uint8), around) > 0

        assert (part.defect, twin.defect) == (kind, None)
        assert part.mask.any()
        assert not twin.mask.any()
        assert change[~near].max() <= 1
        assert change[part.mask].mean() > 5


def test_defects_are_small() -> None:
    """A defect covers less than 2 % of the picture, and lies inside the part."""
    line = SyntheticSource(9, defect_rate=1)

    for index in range(24):
        part = line.part(index)

        assert 0 < part.mask.mean() < 0.02
        assert not part.mask[:40].any()
        assert not part.mask[216:].any()


def test_rate_and_kinds() -> None:
    """About the stated share is defective, every kind comes, each with a mask at any size."""
    line = SyntheticSource(3, width_px=32, height_px=32, defect_rate=0.25)

    parts = [line.part(index) for index in range(400)]

    defects = [part.defect for part in parts]
    # 400 draws of 0.25 have a standard deviation of 8.7; the seed is fixed.
    assert 70 <= sum(defect is not None for defect in defects) <= 130
    assert set(defects) == {None, *KINDS}
    assert all(part.mask.any() == (part.defect is not None) for part in parts)


def test_captures_name_their_part() -> None:
    """A capture carries part id and origin, format and depth, and the line ends where it should."""
    line = SyntheticSource(11, frames=2, width_px=40, height_px=32, pixel_format="bgr")

    first, second = line.read(), line.read()

    assert (first.part_id, second.part_id) == ("S000000", "S000001")
    assert (first.origin, second.origin) == ("synthetic:11/0", "synthetic:11/1")
    assert (first.pixel_format, first.bit_depth, first.fault) == ("bgr", 8, "")
    assert first.pixels is not None
    assert first.pixels.shape == (32, 40, 3)
    assert first.pixels.dtype == np.uint8
    with pytest.raises(EndOfSourceError):
        line.read()
    line.close()
    line.close()


def test_mono_has_two_dimensions() -> None:
    """A mono part is (height, width), and uses most of the range without clipping much."""
    part = SyntheticSource(0, width_px=80, height_px=64).part(0)

    assert part.pixels.shape == part.mask.shape == (64, 80)
    assert part.pixels.min() < 40
    assert part.pixels.max() > 140
    assert (part.pixels == 255).mean() < 0.01


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed is -1, must be at least 0"),
        ({"frames": 0}, "frames is 0, must be at least 1"),
        ({"width_px": 31}, r"width_px is 31, must be in 32\.\.32768"),
        ({"height_px": 40_000}, "height_px is 40000"),
        ({"defect_rate": 1.1}, r"defect_rate is 1\.1, must be in 0\.\.1"),
        ({"defect_rate": float("nan")}, "defect_rate is nan"),
        ({"kinds": ()}, r"kinds is \[\], must be some of scratch, dent, stain, missing"),
        ({"kinds": ("rust",)}, r"kinds is \['rust'\]"),
        ({"pixel_format": "rgb"}, "pixel_format is 'rgb', must be 'mono' or 'bgr'"),
    ],
)
def test_limits_are_named(wrong: dict[str, Any], message: str) -> None:
    """An argument outside its limits is refused with name, value and limit."""
    arguments: dict[str, Any] = {"seed": 1} | wrong

    with pytest.raises(ValueError, match=message):
        SyntheticSource(**arguments)


def test_negative_index_is_refused() -> None:
    """There is no part before the first."""
    with pytest.raises(ValueError, match="index is -1, must be at least 0"):
        SyntheticSource(1).part(-1)
