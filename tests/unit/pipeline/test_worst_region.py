"""The worst region decides: FAIL by any, PASS by all, and one level for the whole map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.arrival import StreamNews
from pipeline.worst_region import RegionScores, decide

MIN_PEERS = 8


def region(
    deciding: float, threshold: float | None = 1.0, peers: int = 8, raw: float | None = None
) -> RegionScores:
    """Return a region whose largest patch score is its raw score."""
    raw = deciding if raw is None else raw
    patches = np.array([[raw, raw / 2], [0, 0]], np.float32)
    return RegionScores(raw, deciding, deciding, peers, threshold, patches)


@pytest.mark.parametrize(
    ("regions", "verdict", "state", "worst"),
    [
        ([region(0.5)], "PASS", "READY", 0),
        ([region(1.0)], "FAIL", "READY", 0),
        ([region(0.5, None)], "NO_RESULT", "WARMING", 0),
        ([region(0.5, peers=7)], "NO_RESULT", "WARMING", 0),
        ([region(0.0, None)], "NO_RESULT", "WARMING", 0),
        ([region(0.5), region(0.6)], "PASS", "READY", 1),
        ([region(0.9, 1.0), region(0.6, 0.5)], "FAIL", "READY", 1),
        ([region(1.5), region(3.0, 2.5)], "FAIL", "READY", 0),
        ([region(0.5), region(0.4, None)], "NO_RESULT", "WARMING", 1),
        ([region(1.5), region(0.4, None)], "FAIL", "WARMING", 0),
        ([region(1.5, peers=7), region(0.4, peers=7)], "NO_RESULT", "WARMING", 0),
        ([region(0.5), region(0.0, None)], "PASS", "READY", 0),
        ([region(0.0, None), region(0.0, None)], "NO_RESULT", "WARMING", 0),
    ],
)
def test_worst_region_decides(
    regions: list[RegionScores], verdict: str, state: str, worst: int
) -> None:
    """One that fails is enough, one that waits forbids a PASS, one without content does neither."""
    outcome = decide(regions, MIN_PEERS)

    assert (outcome.verdict, outcome.state, outcome.worst) == (verdict, state, worst)


def test_one_level_holds_for_all_regions() -> None:
    """In the scaled map each region's own threshold lies at the level of the worst."""
    regions = [region(0.4, 0.5), region(1.2, 2.0), region(0.06, 0.05)]

    outcome = decide(regions, MIN_PEERS)

    assert (outcome.worst, outcome.map_level) == (2, 0.05)
    for one, patches in zip(regions, outcome.patches, strict=True):
        assert patches.max() / 0.05 == pytest.approx(one.excess)


def test_worst_region_keeps_its_scores_bit_by_bit() -> None:
    """Where there is one region nothing is scaled."""
    one = region(0.3, 0.7)

    (patches,) = decide([one], MIN_PEERS).patches

    assert patches.dtype == np.float32
    np.testing.assert_array_equal(patches, one.patches)


def test_rescoring_moves_the_level() -> None:
    """RsCIN moves a region's score, not its map: the level follows by the same factor."""
    outcome = decide([region(0.6, 0.5, raw=0.9)], MIN_PEERS)

    assert outcome.map_level == pytest.approx(0.75)


def test_map_of_zeros_has_a_level() -> None:
    """A frame that repeats its peers and fails by its neighbours' scores still has a scale."""
    outcome = decide([region(0.6, 0.5, raw=0.0)], MIN_PEERS)

    assert (outcome.verdict, outcome.map_level) == ("FAIL", 0.5)


def test_region_that_waits_paints_nothing() -> None:
    """In the map of a failed frame a region without a threshold cannot look like a defect."""
    outcome = decide([region(1.5), region(9.0, None)], MIN_PEERS)

    assert outcome.patches[1].max() == 0


@pytest.mark.parametrize(
    ("regions", "detail"),
    [
        ([region(0.5, None, peers=3)] * 2, "5 more peers needed"),
        ([region(0.5, None)], "the judge needs more scores"),
        ([region(0.5), region(0.5, None)], "the judges of 1 of 2 regions need more scores"),
        ([region(0.5)], ""),
    ],
)
def test_what_a_frame_waits_for_is_named(regions: list[RegionScores], detail: str) -> None:
    """NO_RESULT says how much is missing."""
    assert decide(regions, MIN_PEERS).detail == detail


@pytest.mark.parametrize(
    ("deciding", "news", "verdict", "why", "state"),
    [
        (0.5, StreamNews(degraded=True), "NO_RESULT", "regime_change", "DEGRADED"),
        (1.5, StreamNews(degraded=True), "FAIL", "score", "DEGRADED"),
        (0.5, StreamNews(stale=True), "NO_RESULT", "stale", "READY"),
        (1.5, StreamNews(stale=True), "NO_RESULT", "stale", "READY"),
        (0.5, StreamNews(admission="doubtful", warns=True), "PASS", "score", "READY"),
    ],
)
def test_stream_can_forbid_a_pass(
    deciding: float, news: StreamNews, verdict: str, why: str, state: str
) -> None:
    """Nothing passes while a regime change waits for its release or a camera repeats itself."""
    outcome = decide([replace(region(deciding), stream=news)], MIN_PEERS)

    assert (outcome.verdict, outcome.why, outcome.state) == (verdict, why, state)


def test_one_region_that_changes_is_a_camera_that_does_not_repeat() -> None:
    """The white of a light table is always a copy: only all regions together are stale."""
    still = replace(region(0.5), stream=StreamNews(stale=True))

    assert decide([still, region(0.5)], MIN_PEERS).verdict == "PASS"
