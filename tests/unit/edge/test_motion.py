"""One picture a part from a camera that runs freely."""

from __future__ import annotations

import numpy as np
import pytest

from edge.sources import Capture
from edge.sources.motion import SAMPLE_NS, SAMPLES, MotionSettings, PartDetector

FRAME_NS = 33_000_000
WIDTH, HEIGHT, PART = 192, 96, 60


def belt(at_x: int | None = None, seed: int = 0, bit_depth: int = 8) -> Capture:
    """Return a noisy picture of the belt, with a bright part whose left edge is at ``at_x``."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(60, 3, (HEIGHT, WIDTH))
    if at_x is not None:
        pixels[20:80, max(0, at_x) : max(0, at_x + PART)] += 80
    scale = (2**bit_depth - 1) / 255
    kind = np.uint8 if bit_depth == 8 else np.uint16
    origin = "" if at_x is None else str(at_x)
    return Capture(np.clip(pixels * scale, 0, 2**bit_depth - 1).astype(kind), "mono", bit_depth,
                   origin=origin)  # fmt: skip


def passing(step_px: int) -> list[int]:
    """Return where a part is, picture by picture, from entering to leaving."""
    return list(range(-PART + step_px, WIDTH, step_px))


def taken(detector: PartDetector, places: list[int | None], bit_depth: int = 8) -> list[str]:
    """Show the belt with parts at these places; return where the taken pictures show them."""
    found = []
    for number, at_x in enumerate(places):
        picture = detector.see(belt(at_x, number, bit_depth), number * FRAME_NS)
        found += [picture.origin] if picture is not None else []
    return found


@pytest.mark.parametrize("bit_depth", [8, 12])
@pytest.mark.parametrize("step_px", [7, 20, 45])
def test_each_part_is_taken_once_and_whole(step_px: int, bit_depth: int) -> None:
    """Parts that pass one after the other yield a picture each, which shows all of the part."""
    gap: list[int | None] = [None] * 4
    places = gap + [*passing(step_px), *gap] * 3

    found = taken(PartDetector(MotionSettings()), places, bit_depth)

    assert len(found) == 3
    assert all(0 <= int(at_x) <= WIDTH - PART for at_x in found)


def test_empty_belt_is_no_part() -> None:
    """Noise and slowly changing light make no part."""
    detector = PartDetector(MotionSettings())

    found = []
    for number in range(200):
        pixels = belt(None, number).pixels
        assert pixels is not None
        lit = Capture(np.asarray(pixels + number // 5, np.uint8))
        found.append(detector.see(lit, number * FRAME_NS))

    assert found == [None] * 200


def test_part_that_stands_still_is_taken_once() -> None:
    """A belt that stops with a part on it yields that part once."""
    found = taken(PartDetector(MotionSettings()), [None, None, -40, -20, *[40] * 30])

    assert found == ["40"]


def test_changed_belt_is_learned_anew() -> None:
    """When the light was changed for good, parts are found again after a while."""
    detector = PartDetector(MotionSettings())
    detector.see(belt(), 0)
    bright = belt()
    assert bright.pixels is not None
    lit = Capture(np.asarray(bright.pixels + 60, np.uint8))

    for number in range(SAMPLES):
        detector.see(lit, number * SAMPLE_NS)

    assert detector.relearned == 1
    assert detector.see(lit, SAMPLES * SAMPLE_NS) is None
    shown = [detector.see(belt(at_x), 10**12) for at_x in (40, 40, 40, 40, 40)]
    assert sum(picture is not None for picture in shown) == 1


def test_zone_is_all_that_is_looked_at() -> None:
    """Outside of the zone anything may move."""
    detector = PartDetector(MotionSettings(zone_px=(0, 0, WIDTH, 15)))

    assert taken(detector, [None, *passing(20), None]) == []


def test_zone_outside_of_the_picture_is_named() -> None:
    """A zone that the picture does not reach is refused with its numbers."""
    detector = PartDetector(MotionSettings(zone_px=(4000, 0, 10, 10)))

    with pytest.raises(ValueError, match=r"detect_zone_px = \[4000, 0, 10, 10\]: outside"):
        detector.see(belt(), 0)
