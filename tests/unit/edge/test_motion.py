"""One picture a part from a camera that runs freely."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from edge.sources import Capture
from edge.sources.motion import MotionSettings, PartDetector

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


class Belt:
    """A belt before a detector, with time and light."""

    def __init__(self, **settings: Any) -> None:
        """Begin with nothing shown."""
        self.detector = PartDetector(MotionSettings(**settings), random.Random(0))  # noqa: S311 - when samples are taken
        self.number = 0
        self.light = 0

    def show(self, *places: int | None, bit_depth: int = 8) -> list[str]:
        """Show the belt with parts at these places; return where the taken pictures show them."""
        found = []
        for at_x in places:
            self.number += 1
            seen = belt(at_x, self.number, bit_depth)
            assert seen.pixels is not None
            if self.light:
                lit = np.clip(seen.pixels.astype(int) + self.light, 0, 255).astype(np.uint8)
                seen = Capture(lit, "mono", bit_depth, origin=seen.origin)
            picture = self.detector.see(seen, self.number * FRAME_NS)
            found += [picture.origin] if picture is not None else []
        return found

    def learn(self, bit_depth: int = 8) -> Belt:
        """Show the empty belt until it is known."""
        while not self.detector.knows_the_belt:
            assert self.show(None, bit_depth=bit_depth) == []
        return self

    def until_known(self, places: list[int | None]) -> None:
        """Show parts that pass until the belt is known, and go on to the end of a gap."""
        while not self.detector.knows_the_belt:
            for at_x in places:
                taken = self.show(at_x)
                assert self.detector.knows_the_belt or taken == []


def part_and_gap(gap: int, step_px: int = 20) -> list[int | None]:
    """Return the places of a part that passes, and so many pictures of the empty belt."""
    return [*passing(step_px), *[None] * gap]


@pytest.mark.parametrize("bit_depth", [8, 12])
@pytest.mark.parametrize("step_px", [7, 20, 45])
def test_each_part_is_taken_once_and_whole(step_px: int, bit_depth: int) -> None:
    """Parts that pass one after the other yield a picture each, which shows all of the part."""
    line = Belt().learn(bit_depth)

    found = line.show(*part_and_gap(4, step_px) * 3, bit_depth=bit_depth)

    assert len(found) == 3
    assert all(0 <= int(at_x) <= WIDTH - PART for at_x in found)


def test_parts_on_the_belt_from_the_start_do_not_mislead() -> None:
    """Learned while parts pass, the belt is the belt: each later part is taken, nothing else."""
    line = Belt()
    places = part_and_gap(20)
    line.until_known(places)

    found = line.show(*places * 5)

    assert len(found) == 5
    assert all(at_x and 0 <= int(at_x) <= WIDTH - PART for at_x in found)


def test_restless_zone_is_no_belt() -> None:
    """Where nothing is there for most of the time, nothing is learned, and nothing taken."""
    line = Belt()
    rng = np.random.default_rng(1)

    found = []
    for light in rng.integers(-50, 150, 400):
        line.light = int(light)
        found += line.show(None)

    assert found == []
    assert not line.detector.knows_the_belt


def test_empty_belt_is_no_part() -> None:
    """Noise and slowly changing light make no part."""
    line = Belt().learn()

    found = []
    for number in range(300):
        line.light = number // 8
        found += line.show(None)

    assert found == []
    assert line.detector.knows_the_belt


def test_part_that_stands_still_is_taken_once() -> None:
    """A belt that stops with a part on it yields that part once, and goes on afterwards."""
    line = Belt().learn()

    stopped = line.show(None, -40, -20, *[40] * 600)
    going_on = line.show(60, 80, *[None] * 5, *part_and_gap(5))

    assert stopped == ["40"]
    assert len(going_on) == 1
    assert line.detector.knows_the_belt


@pytest.mark.parametrize("gap", [10, 14, 25])
def test_changed_light_is_noticed_and_learned(gap: int) -> None:
    """After a step of the light the detector knows that it is blind, then sees parts again."""
    line = Belt().learn()
    line.show(*part_and_gap(gap) * 2)
    places = part_and_gap(gap)

    line.light = 50
    rounds = 0
    while line.detector.knows_the_belt:
        line.show(*places)
        rounds += 1
        assert rounds < 40, "never noticed"
    line.until_known(places)
    found = line.show(*places * 4)

    assert len(found) == 4
    assert all(at_x and 0 <= int(at_x) <= WIDTH - PART for at_x in found)


def test_part_before_a_loss_is_forgotten() -> None:
    """What a camera was about to show before it went is not handed out after its return."""
    line = Belt().learn()
    line.show(-40, -20, 0)

    line.detector.forget_part()

    assert line.show(*[None] * 5) == []


def test_zone_is_all_that_is_looked_at() -> None:
    """Outside of the zone anything may move."""
    line = Belt(zone_px=(0, 0, WIDTH, 15)).learn()

    assert line.show(None, *passing(20), None) == []


def test_zone_outside_of_the_picture_is_named() -> None:
    """A zone that the picture does not reach is refused with its numbers."""
    line = Belt(zone_px=(4000, 0, 10, 10))

    with pytest.raises(ValueError, match=r"detect_zone_px = \[4000, 0, 10, 10\]: outside"):
        line.show(None)
