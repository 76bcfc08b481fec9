"""What a frame scores where frames are pinned: few-shot MuSc if they vote, a floor if not."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from factories import BOOT, config

from musc.few_shot import few_shot_scores_naive
from musc.lnamd import aggregate
from musc.msm import mutual_scores
from pipeline.region_stream import RegionStream
from pipeline.stream_window import FrameId

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.worst_region import RegionScores

SIDE, SIZE = 5, 6
NOTHING_IGNORED = np.zeros((SIDE, SIDE), bool)
FIXED = {"method": "fixed", "fixed_threshold": 0.8}


def drawn(seed: int, *shape: int) -> Tensor:
    """Return numbers that a seed decides."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stream(**window: Any) -> RegionStream:
    """Return the stream of a region with a small window."""
    settings = config(window={"size_frames": SIZE, "min_peers": 2, **window}, judge=FIXED)
    return RegionStream(settings, torch.device("cpu"), SIDE, regions=1)


def inspected(one: RegionStream, number: int, tokens: Tensor) -> RegionScores | None:
    """Let a frame in, and keep it."""
    name = FrameId(BOOT, number, f"P{number}")
    scores = one.score(tokens, tokens[0, 0], NOTHING_IGNORED, name)
    one.keep()
    return scores


@pytest.mark.parametrize("references", [0, 1, 3])
def test_pins_that_vote_are_few_shot_scoring(references: int) -> None:
    """Each frame scores as in a batch of its window's peers and all pins, old or new."""
    window = stream(admission="all", references="vote")
    good, frames = drawn(1, references, 1, 25, 8), drawn(2, 20, 1, 25, 8)
    for number, tokens in enumerate(good, 1):
        window.begin_with(tokens, tokens[0, 0], FrameId("good", number, f"good {number}"))
    pins, peers = list(good), deque[torch.Tensor](maxlen=SIZE)
    seen = []

    for number, tokens in enumerate(frames, 1):
        scores = inspected(window, number, tokens)
        peers.append(tokens)
        if scores is not None:
            seen.append(number)
            together = aggregate(torch.stack([*pins, *peers]))
            batch = mutual_scores(together, interpolate=True)[-1]
            np.testing.assert_allclose(scores.patches.ravel(), batch, atol=1e-5)
            assert scores.peers == len(together) - 1
        if number == 9:
            assert window.pin(BOOT, 8) == "done"
            pins.append(frames[7])
            del peers[-2]

    assert scores is not None
    naive = few_shot_scores_naive(together[len(pins) :], together[: len(pins)], interpolate=True)[
        -1
    ]
    np.testing.assert_allclose(scores.patches.ravel(), naive, atol=1e-5)
    assert seen == list(range(1 if references else 2, 21))


def test_pins_as_a_floor_do_not_vote() -> None:
    """The window alone makes the score until normal frames have told the ratio of both."""
    plain, pinned = stream(admission="all"), stream(admission="all")
    good, frames = drawn(1, 2, 25, 8), drawn(2, 3, 2, 25, 8)
    pinned.begin_with(good, good[0, 0], FrameId("good", 1, "good"))

    without = [inspected(plain, number, tokens) for number, tokens in enumerate(frames[:2], 1)]
    beside = [inspected(pinned, number, tokens) for number, tokens in enumerate(frames[:2], 1)]

    assert without[0] is None
    assert beside[0] is None
    assert without[1] is not None
    assert beside[1] is not None
    np.testing.assert_array_equal(without[1].patches, beside[1].patches)
    assert beside[1].peers == 1


def test_what_a_voting_pin_shows_is_good() -> None:
    """Peers that share an unusual spot are left out of a score, a pin that shares it never is."""
    base, scratch = drawn(3, 25, 32), drawn(4, 25, 32)
    spot = [6, 7, 11, 12]

    def part(seed: int, *, scratched: bool = False) -> Tensor:
        tokens = base + 0.3 * drawn(100 + seed, 25, 32)
        if scratched:
            tokens[spot] = 1.5 * scratch[spot] + 0.3 * drawn(200 + seed, len(spot), 32)
        return tokens[None]

    scores = {}
    for name in ("good", "scratched"):
        window = stream(size_frames=12, references="vote", pins_frames=7)
        for number in range(1, 8):
            tokens = part(900 + number, scratched=name == "scratched" and number > 2)
            window.begin_with(tokens, tokens[0, 0], FrameId("good", number, "good"))
        for number in range(1, 16):
            inspected(window, number, part(number))
        seen = inspected(window, 16, part(16, scratched=True))
        assert seen is not None
        scores[name] = seen

    assert scores["good"].deciding >= 0.8 > scores["scratched"].deciding
    assert scores["good"].stream.admission == "quarantine"
    assert scores["scratched"].stream.admission == "peer"
    assert scores["scratched"].peers == 11 + 7
