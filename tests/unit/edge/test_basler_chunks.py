"""A picture's number, time and exposure as Basler cameras tell them, tried on a stand-in.

pylon's emulated cameras have no chunks and no clock.
"""

from __future__ import annotations

from typing import Any

import pytest
from pylon_stub import (
    SERIAL,
    StubCamera,
    StubNode,
    StubResult,
    device_of,
    grabbed,
    trigger_nodes,
)

TICKS_HZ = 125_000_000
WRAP = 65_535


def counters(camera: StubCamera, *results: StubResult, **settings: Any) -> list[int | None]:
    """Return the numbers of these buffers."""
    return [capture.counter for capture in grabbed(camera, *results, **settings)]


def chunk_nodes(*chunks: str, **nodes: StubNode) -> dict[str, StubNode]:
    """Return the nodes of a camera that has these chunks."""
    chunk = {
        "ChunkModeActive": StubNode(value=False),
        "ChunkSelector": StubNode(chunks[0], chunks),
        "ChunkEnable": StubNode(value=False),
    }
    return chunk | nodes


def test_pulses_at_the_input_are_counted() -> None:
    """Of a camera that counts the pulses at its input, a gap is a pulse without a picture."""
    chunks = chunk_nodes("Framecounter", "Triggerinputcounter")
    camera = StubCamera(**chunks, **trigger_nodes())
    results = [
        StubResult(chunks={"ChunkTriggerinputcounter": n, "ChunkFramecounter": f})
        for n, f in ((7, 1), (8, 2), (10, 3))
    ]

    numbers = counters(camera, *results, trigger="hardware")

    assert numbers == [7, 8, 10]


def test_chunks_tell_clock_and_exposure() -> None:
    """Ticks of the camera's clock become ns, to the last; the exposure is in the origin."""
    camera = StubCamera(
        **chunk_nodes("Timestamp", "ExposureTime", "FrameID"),
        GevTimestampTickFrequency=StubNode(TICKS_HZ),
    )
    ticks = 2**53 + 1
    chunks = {"ChunkTimestamp": ticks, "ChunkExposureTime": 1500.5, "ChunkFrameID": 4}

    (capture,) = grabbed(camera, StubResult(chunks=chunks))

    assert capture.camera_ns == ticks * 8
    assert capture.origin == f"Basler camera {SERIAL}, 1500.5 us"
    assert (capture.counter, capture.offset_px) == (4, (16, 4))
    assert camera.nodes["ChunkModeActive"].value is True


def test_clock_without_chunks_is_the_buffers() -> None:
    """Without chunks the buffer's own time is taken, in ns; 0 is no time."""
    camera = StubCamera()

    captures = grabbed(camera, StubResult(ticks=123_456_789), StubResult(ticks=0))

    assert [one.camera_ns for one in captures] == [123_456_789, None]


def test_failed_buffer_takes_the_next_number() -> None:
    """A failed buffer has no chunks; it counts as one picture, so none is missed beside it."""
    camera = StubCamera(**chunk_nodes("Framecounter"))
    results = [
        StubResult(chunks={"ChunkFramecounter": 41}),
        StubResult(error="The buffer was incompletely grabbed.", code=0xE1000014),
        StubResult(chunks={"ChunkFramecounter": 43}),
    ]

    captures = grabbed(camera, *results)

    assert [one.counter for one in captures] == [41, 42, 43]
    fault = "buffer failed: 0xe1000014 The buffer was incompletely grabbed."
    assert [one.fault for one in captures] == ["", fault, ""]
    assert captures[1].pixels is None
    assert captures[1].camera_ns is None
    assert [one.released for one in results] == [1, 1, 1]


def test_gige_blocks_count_on() -> None:
    """GigE numbers blocks from 1 to 65535 and again from 1; our numbers go on."""
    camera = StubCamera(gige=True)
    blocks = [WRAP - 1, WRAP, 1, 3, WRAP, 2]

    numbers = counters(camera, *(StubResult(block=block) for block in blocks))

    assert numbers == [WRAP - 1, WRAP, WRAP + 1, WRAP + 3, 2 * WRAP, 2 * WRAP + 2]


def test_lost_block_number_is_the_next() -> None:
    """A failed buffer whose number was lost with it takes the next, also where they begin anew."""
    camera = StubCamera(gige=True)
    results = [StubResult(block=WRAP), StubResult(block=0, error="lost"), StubResult(block=2)]

    numbers = counters(camera, *results)

    assert numbers == [WRAP, WRAP + 1, WRAP + 2]


@pytest.mark.parametrize(("gige", "block"), [(True, 0), (True, 2**64 - 1), (False, 2**64 - 1)])
def test_no_block_number_is_none(*, gige: bool, block: int) -> None:
    """A camera that does not number its blocks has no counter, rather than one that stands."""
    camera = StubCamera(gige=gige)

    numbers = counters(camera, StubResult(block=block), StubResult(block=block))

    assert numbers == [None, None]


def test_usb_blocks_begin_at_zero() -> None:
    """USB numbers blocks from 0, in 64 bits."""
    camera = StubCamera(gige=False)

    numbers = counters(camera, StubResult(block=0), StubResult(block=1))

    assert numbers == [0, 1]


@pytest.mark.parametrize(
    ("sources", "numbers"), [(("Off", "FrameStart"), [5, 6]), (("Off", "Line1"), [70, 71])]
)
def test_counter_chunk_must_count_pictures(sources: tuple[str, ...], numbers: list[int]) -> None:
    """A general counter is used only where it can be made to count pictures; else the blocks."""
    camera = StubCamera(
        **chunk_nodes("CounterValue"),
        CounterSelector=StubNode("Counter1", ("Counter1",)),
        CounterEventSource=StubNode("Off", sources),
    )
    results = [StubResult(block=70 + n, chunks={"ChunkCounterValue": 5 + n}) for n in range(2)]

    assert counters(camera, *results) == numbers


def test_chunk_mode_without_chunks_is_left() -> None:
    """Where no chunk can be enabled, chunk mode is off again: pylon cannot parse nothing."""
    camera = StubCamera(ChunkModeActive=StubNode(value=False))

    device_of(camera)

    assert camera.nodes["ChunkModeActive"].history == [True, False]
