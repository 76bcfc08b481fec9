"""A camera as ingest sees it: what is wrong with a picture whose pixels are whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ingest_rig import START_NS, FakeClock, FakeSource

from edge.camera import GAP_LIMIT, Camera, CameraChecks, Picture
from edge.sources import CameraEvent, Capture


def shot(value: int = 0, *, counter: int | None = None, **fields: Any) -> Capture:
    """Return a picture of 80 x 60 px, all of one value."""
    pixels: Any = np.full((60, 80), value, np.uint8)
    return Capture(**({"pixels": pixels, "counter": counter} | fields))


class Rig:
    """A camera over captures that a test gives."""

    def __init__(self, *captures: Capture, counts_triggers: bool = True, **checks: Any) -> None:
        """Look at these captures."""
        self.clock = FakeClock()
        self.source = FakeSource(captures)
        self.source.counts_triggers = counts_triggers
        self.camera = Camera(self.source, CameraChecks(**checks), self.clock)

    def take(self) -> list[Picture]:
        """Take all pictures."""
        pictures = []
        for _ in range(len(self.source.left)):
            picture = self.camera.take()
            assert picture is not None
            pictures.append(picture)
        return pictures

    def events(self) -> list[CameraEvent]:
        """Return what happened."""
        return self.camera.take_events()


def test_repeated_picture_is_stale() -> None:
    """The third of three equal pictures, and each equal one after it, is not judged."""
    rig = Rig(*map(shot, [1, 2, 2, 2, 2, 3]), stale_frames=3)

    pictures = rig.take()

    assert [picture.why for picture in pictures] == [None, None, None, "stale", "stale", None]
    assert pictures[3].fault == "3 pictures in a row are equal bit by bit"
    assert [event.kind for event in rig.events()] == ["camera_stale", "camera_fresh"]
    assert rig.camera.counts["stale"] == 2


def test_state_follows_the_pictures() -> None:
    """A camera that repeats itself is STALE until it shows something else; a lost one is LOST."""
    rig = Rig(shot(1), shot(1), shot(2), stale_frames=2)
    states = []
    for _ in range(3):
        rig.camera.take()
        states.append(rig.camera.state)
    rig.source.now = "LOST"

    assert states == ["ONLINE", "STALE", "ONLINE"]
    assert rig.camera.state == "LOST"


@pytest.mark.parametrize("change", ["row", "shape", "depth"])
def test_nearly_equal_is_not_equal(change: str) -> None:
    """One pixel, another shape or another depth make another picture."""
    pixels: Any = np.full((60, 80), 7, np.uint8)
    other = pixels.copy()
    other[37, 11] = 8
    later = {
        "row": shot(pixels=other),
        "shape": shot(pixels=pixels[:40]),
        "depth": shot(pixels=pixels.astype(np.uint16), bit_depth=12),
    }[change]
    rig = Rig(shot(pixels=pixels), later, stale_frames=2)

    assert [picture.why for picture in rig.take()] == [None, None]


def test_recording_may_repeat_itself() -> None:
    """With 0 nothing is ever stale."""
    rig = Rig(*[shot(1)] * 9)

    assert {picture.why for picture in rig.take()} == {None}


def test_gaps_of_the_counter_are_missed_triggers() -> None:
    """A number that is not one more than the last is so many triggers without a picture."""
    rig = Rig(*(shot(n, counter=n) for n in (5, 6, 9, 10)))

    assert [picture.missed for picture in rig.take()] == [0, 0, 2, 0]


def test_new_opening_counts_anew() -> None:
    """A camera that was opened again begins its numbers anew: that is no gap."""
    rig = Rig(shot(1, counter=50, opening=1), shot(2, counter=1, opening=2))

    assert [picture.missed for picture in rig.take()] == [0, 0]
    assert rig.events() == []


@pytest.mark.parametrize("second", [3, 10 + GAP_LIMIT + 2])
def test_jump_of_the_counter_is_told(second: int) -> None:
    """A number that goes back, or far ahead, is a counter that was set, and an event."""
    rig = Rig(shot(1, counter=10), shot(2, counter=second))

    assert [picture.missed for picture in rig.take()] == [0, 0]
    assert rig.events() == [CameraEvent("counter_jump", {"from": 10, "to": second})]


def test_free_camera_may_skip() -> None:
    """The numbers of a camera that runs freely count pictures, not parts."""
    rig = Rig(shot(1, counter=1), shot(2, counter=9), counts_triggers=False)

    assert [picture.missed for picture in rig.take()] == [0, 0]


def test_region_of_interest_is_cut_out() -> None:
    """What is kept are the pixels of the region, with their place on the sensor."""
    pixels: Any = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    rig = Rig(shot(pixels=pixels, bit_depth=16), roi_px=(10, 20, 30, 5))

    (picture,) = rig.take()

    assert np.array_equal(picture.capture.pixels, pixels[20:25, 10:40])
    assert picture.capture.offset_px == (10, 20)


def test_region_outside_of_the_picture_is_a_fault() -> None:
    """A region that the picture does not cover makes it corrupt, with both sizes."""
    rig = Rig(shot(), roi_px=(60, 0, 30, 5))

    (picture,) = rig.take()

    assert picture.why == "corrupt"
    assert picture.fault == "roi_px [60, 0, 30, 5] is outside of 80 x 60 px"


def test_failed_buffer_keeps_its_reason() -> None:
    """A capture without pixels is what its source says."""
    rig = Rig(shot(pixels=None, fault="underrun"), shot(pixels=None, fault="full", loss="dropped"))

    assert [(p.why, p.fault) for p in rig.take()] == [("corrupt", "underrun"), ("dropped", "full")]


def test_exchanged_colours_open_the_camera_anew() -> None:
    """Red and blue exchanged after a reconnect: nothing is judged, and the camera is reopened."""
    colour: Any = np.zeros((60, 80, 3), np.uint8) + np.array([20, 90, 200], np.uint8)
    swapped = colour[..., ::-1].copy()
    rig = Rig(
        *(shot(pixels=colour, pixel_format="bgr", opening=1) for _ in range(3)),
        *(shot(pixels=swapped, pixel_format="bgr", opening=2) for _ in range(3)),
    )

    pictures = rig.take()

    assert [picture.why for picture in pictures] == [None] * 3 + ["corrupt"] * 3
    assert rig.source.reopenings == ["red and blue are exchanged since it was opened"]
    assert rig.events() == [CameraEvent("colours_swapped", {"opening": 2})]


def test_step_of_the_wall_clock_is_an_event() -> None:
    """A clock that somebody set is told, also while no picture comes."""
    rig = Rig()
    rig.events()
    rig.clock.set_by_s = 3600.0

    (event,) = rig.events()

    assert event == CameraEvent("clock_step", {"step_s": 3600.0})
    assert rig.events() == []


def test_picture_has_its_time() -> None:
    """A picture that arrived before it was read is of its arrival."""
    rig = Rig(shot(arrived_ns=START_NS - 5_000_000))

    (picture,) = rig.take()

    assert picture.captured_ns == START_NS - 5_000_000
