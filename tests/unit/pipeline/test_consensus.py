"""A full window pins its most usual frames by itself: once, spread in time, until let go."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from factories import BOOT, FakeBackbone, config, frame

from musc.anomaly_map import frame_scores
from musc.lnamd import aggregate
from musc.msm import mutual_scores
from musc.preprocess import to_batch
from pipeline.inspector import Inspector
from pipeline.region_stream import RegionStream
from pipeline.stream_window import FrameId

SIZE = 10
PLAIN: dict[str, Any] = {"size_frames": SIZE, "min_peers": 4, "pins": "consensus"}


def picture(seed: int) -> np.ndarray:
    """Return a noisy part."""
    rng = np.random.default_rng(seed)
    base = np.tile(np.arange(28, dtype=np.float64) * 4 + 40, (28, 1))
    return (base + rng.normal(0, 2, (28, 28))).clip(0, 255).astype(np.uint8)


def line(judge: dict[str, Any] | None = None, **window: Any) -> Inspector:
    """Return an inspector that pins by consensus."""
    settings = config(window=PLAIN | window, judge=judge or {"min_scores": 8})
    return Inspector(settings, FakeBackbone(), "a89d1abb", timer=lambda: 0.0)


def run(box: Inspector, first: int, last: int) -> list[list[str]]:
    """Inspect parts; return what was told of pins."""
    seen = [box.inspect(frame(seq, picture(seq))) for seq in range(first, last)]
    events = [event for one in seen for event in one.events if event.kind == "pinned"]
    return [event.detail["parts"] for event in events]  # type: ignore[misc]


def pins(box: Inspector) -> list[str]:
    """Return the parts that are pinned."""
    (stream,) = box.windows.streams("c1")
    return [stream.window[slot].frame.part for slot in stream.window.pins]


def test_lowest_of_each_stretch_is_pinned() -> None:
    """By batch MuSc over the full window: the lowest frame score of each half of it."""
    box = line(admission="all", pins_frames=2)

    told = run(box, 1, SIZE + 1)

    pictures = [picture(seq) for seq in range(1, SIZE + 1)]
    batch = to_batch(pictures, image_size=28, mean=(0, 0, 0), std=(1, 1, 1), pixel_format="mono")
    patches = mutual_scores(aggregate(FakeBackbone().extract(batch).tokens), interpolate=True)
    scores = frame_scores(patches, 28)
    lowest = [int(scores[:5].argmin()) + 1, int(scores[5:].argmin()) + 6]
    assert told == [[f"P{seq}" for seq in lowest]]
    assert pins(box) == told[0]


def test_it_is_done_once_for_a_window() -> None:
    """They stay when their age would have taken them; what is let go is not taken again."""
    box = line(pins_frames=2)
    (first,) = run(box, 1, 3 * SIZE)
    stayed = pins(box)

    let_go = box.unpin("c1")
    later = run(box, 3 * SIZE, 6 * SIZE)
    box.reset("c1")
    anew = run(box, 6 * SIZE, 8 * SIZE)

    assert stayed == first
    assert (let_go, later) == (2, [])
    assert len(anew) == 1
    assert len(anew[0]) == 2


def test_as_many_as_there_is_room_for() -> None:
    """What a person has pinned before takes room."""
    box = line(pins_frames=3)
    run(box, 1, 5)
    box.pin("c1", BOOT, 2)

    told = run(box, 5, 2 * SIZE)

    assert [len(parts) for parts in told] == [2]
    assert len(pins(box)) == 3


def test_line_that_is_ready_stays_ready() -> None:
    """No more is pinned than leaves the peers that a score needs."""
    box = line({"method": "fixed", "fixed_threshold": 1.9}, min_peers=9, pins_frames=8)

    told = run(box, 1, SIZE + 1)
    seen = box.inspect(frame(50, picture(50)))

    assert [len(parts) for parts in told] == [1]
    assert (seen.window_n, seen.why) == (9, "score")


def test_stretch_of_unusual_frames_keeps_none() -> None:
    """What would fail is no reference; the ledger says that nothing is pinned."""
    box = line({"method": "fixed", "fixed_threshold": 1e-9}, admission="all")

    told = run(box, 1, 3 * SIZE)

    assert told == [[]]
    assert pins(box) == []


def test_off_unless_asked_for() -> None:
    """By default no window chooses anything."""
    box = line(pins="none")

    assert run(box, 1, 3 * SIZE) == []
    assert pins(box) == []


def test_frame_that_is_withdrawn_pins_nothing() -> None:
    """The next frame fills the window in its place."""
    settings = config(window=PLAIN | {"pins_frames": 2}, judge={"min_scores": 8})
    stream = RegionStream(settings, torch.device("cpu"), 5, regions=1)
    tokens = torch.randn(SIZE + 1, 1, 25, 8, generator=torch.Generator().manual_seed(0))
    nothing, told = np.zeros((5, 5), bool), []

    for number, one in enumerate(tokens, 1):
        scores = stream.score(one, one[0, 0], nothing, FrameId(BOOT, number, f"P{number}"))
        told += [event.kind for event in scores.stream.events] if scores else []
        if number == SIZE:
            stream.withdraw()
            withdrawn = list(stream.window.pins)
        else:
            stream.keep()

    assert withdrawn == []
    assert told == ["pinned", "pinned"]
    assert len(stream.window.pins) == 2
