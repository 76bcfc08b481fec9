"""One region's memory: how the config's settings reach its window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from factories import config

from musc.lnamd import aggregate
from musc.msm import mutual_scores
from pipeline.config_method import MuscSettings
from pipeline.region_stream import RegionStream
from pipeline.stream_window import FrameId


@pytest.mark.parametrize("locality", [None, 0, 1])
def test_locality_of_the_config_is_that_of_the_window(locality: int | None) -> None:
    """A frame scores as in a batch of its window with the config's locality."""
    tokens = torch.randn(6, 2, 25, 8, generator=torch.Generator().manual_seed(0))
    stream = RegionStream(
        config(
            musc={"locality_patches": locality} if locality is not None else {},
            window={"admission": "all"},
        ),
        torch.device("cpu"),
        image_size=5,
        regions=1,
    )

    for frame in tokens:
        scores = stream.score(frame, frame[0, 0], np.zeros((5, 5), bool), FrameId("b", 1, "p"))
        stream.keep()

    batch = mutual_scores(aggregate(tokens), interpolate=True, locality=locality)[-1]
    assert scores is not None
    np.testing.assert_allclose(scores.patches, batch.reshape(5, 5), atol=1e-5)


@pytest.mark.parametrize("locality", [-1, 65, 1.5])
def test_locality_is_a_number_of_patches(locality: float) -> None:
    """A locality that is negative, beyond any grid or no whole number is refused."""
    with pytest.raises(ValueError, match="locality_patches"):
        MuscSettings.model_validate({"locality_patches": locality})


def stream_of(count: int, start: RegionStream | None = None) -> tuple[RegionStream, list[Any]]:
    """Show so many random frames to a stream; return it and the calibrations that it told of."""
    settings = config(
        window={"size_frames": 12, "min_peers": 8, "admission": "all"},
        judge={"min_scores": 8, "rejects_per_1000": 400},
    )
    stream = RegionStream(settings, torch.device("cpu"), image_size=5, regions=1)
    if start is not None:
        stream.restore(start.state())
    told = []
    for number in range(count):
        frame = torch.randn(2, 25, 8, generator=torch.Generator().manual_seed(number))
        name = FrameId("b" * 16, number + 1, "p")
        scores = stream.score(frame, frame[0, 0], np.zeros((5, 5), bool), name)
        events = scores.stream.events if scores is not None else ()
        told += [(number, one.detail) for one in events if one.kind == "calibration"]
        stream.keep()
    return stream, told


def test_calibration_is_told_when_there_is_a_threshold_and_when_it_is_supported() -> None:
    """Two events: the first score that is decided by a threshold, and the first supported one."""
    stream, told = stream_of(60)
    _, again = stream_of(60, start=stream)

    (first, at_first), (then, at_last) = told
    # Scores of 8 peers on count, and 8 of them set a threshold; ten rejects need 25 scores.
    assert (first, then) == (8 + 8, 8 + 25)
    assert (at_first["scores"], at_first["more_needed"]) == (8, 17)
    assert (at_last["scores"], at_last["more_needed"]) == (25, 0)
    assert at_first["threshold"] > 0
    assert again == [], "a stream that goes on has told it"


def test_withdrawn_frame_tells_nothing_for_good() -> None:
    """What a withdrawn frame would have told is told by the next."""
    stream, _ = stream_of(16)
    name = FrameId("b" * 16, 99, "p")
    frames = torch.randn(2, 2, 25, 8, generator=torch.Generator().manual_seed(99))
    ignored = np.zeros((5, 5), bool)

    withdrawn = stream.score(frames[0], frames[0, 0, 0], ignored, name)
    stream.withdraw()
    kept = stream.score(frames[1], frames[1, 0, 0], ignored, name)

    assert withdrawn is not None
    assert kept is not None
    for scores in (withdrawn, kept):
        assert [one.kind for one in scores.stream.events] == ["calibration"]
