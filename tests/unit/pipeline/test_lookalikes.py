"""Copies and look-alikes, told by distances alone."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.lookalikes import copies, explains, look_alikes

PEERS, SIDE, LIMIT, KEPT = 30, 8, 1.0, 0.3
SPOT = [27, 28, 35, 36]


def distances(seed: int = 0) -> np.ndarray:
    """Return [30, 64] of a good part: 0.4 to 0.6, peers and patches alike."""
    drawn = np.random.default_rng(seed).uniform(0.4, 0.6, (PEERS, SIDE * SIDE))
    return drawn.astype(np.float32)


def spotted(alike: list[int], spot: list[int] = SPOT) -> np.ndarray:
    """Return those of a part with a spot that some peers have too."""
    drawn = distances()
    drawn[:, spot] += 0.9
    drawn[np.ix_(alike, spot)] -= 1.1
    return drawn


@pytest.mark.parametrize("count", [4, 7, 10])
def test_peers_with_the_same_spot_are_named(count: int) -> None:
    """Up to a third of the peers are found, and nobody else."""
    alike = list(range(3, 3 + count))

    found = look_alikes(spotted(alike), LIMIT, KEPT)

    assert np.flatnonzero(found).tolist() == alike


@pytest.mark.parametrize(
    "drawn",
    [
        distances(),
        spotted(list(range(12))),
        spotted(list(range(5)), [27]),
        spotted([]),
        distances()[:2],
        np.zeros((PEERS, SIDE * SIDE), np.float32),
    ],
    ids=["good", "more than a third", "one patch", "nobody", "two peers", "all equal"],
)
def test_nobody_is_left_out_without_evidence(drawn: np.ndarray) -> None:
    """One patch alone is an accident, and of a majority nobody knows who is good."""
    assert not look_alikes(drawn, LIMIT, KEPT).any()


def test_spot_that_would_pass_hides_nothing() -> None:
    """Peers that are near each other where the others are near enough are no look-alikes."""
    assert not look_alikes(spotted([0, 1, 2, 3, 4]), 5.0, KEPT).any()


@pytest.mark.parametrize("count", [6, 10, 12])
def test_clear_spot_among_first_frames_needs_no_limit(count: int) -> None:
    """Up to 0.4 of the peers are found where the limit of so few scores is too high."""
    alike = list(range(3, 3 + count))

    found = look_alikes(spotted(alike), 5.0, KEPT, at_first=True)

    assert np.flatnonzero(found).tolist() == alike


def test_clear_spot_that_decides_nothing_hides_nothing() -> None:
    """Where another patch scores more anyhow, near peers are no reason to leave them out."""
    drawn = spotted([*range(3, 9)])
    drawn[:, 0] = 2.0

    assert not look_alikes(drawn, 5.0, KEPT, at_first=True).any()


def test_copy_is_near_everywhere() -> None:
    """One peer is as near as noise; where one patch differs it is another part."""
    drawn = distances()
    drawn[4] = 0.05
    drawn[9] = 0.05
    drawn[9, 20] = 0.9

    assert np.flatnonzero(copies(drawn, usual=0.45)).tolist() == [4]
    assert copies(drawn[:0], usual=0.45).tolist() == []


def test_frame_explains_a_spot_if_it_is_near_there() -> None:
    """What happens elsewhere on the part does not matter."""
    drawn = spotted([1, 2])
    drawn[2, 0] = 9.0
    spot = np.zeros(SIDE * SIDE, bool)
    spot[SPOT] = True

    assert np.flatnonzero(explains(drawn, spot, LIMIT)).tolist() == [1, 2]
