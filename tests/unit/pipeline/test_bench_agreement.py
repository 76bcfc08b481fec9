"""Agreement of scores: rank correlation, AUROC and its change, and how well they are known."""

from __future__ import annotations

import numpy as np
import pytest

from musc.metrics import auroc
from pipeline.bench_agreement import ScoredStream, auroc_intervals, rank_correlation


def stream(
    seed: int, shift: float = 0.0, good: int = 40, bad: int = 10, prefix: str = ""
) -> ScoredStream:
    """Exact scores that tell parts apart somewhat, and others of which bad ones rise by shift."""
    rng = np.random.default_rng(seed)
    labels = [0] * good + [1] * bad
    exact = rng.normal(size=good + bad) + 1.5 * np.array(labels)
    other = exact + shift * np.array(labels) + 0.05 * rng.normal(size=good + bad)
    names = [f"{prefix}{number}" for number in range(good + bad)]
    return ScoredStream(names, labels, {"exact": exact.tolist(), "other": other.tolist()})


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 90], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        ([1, 1, 2], [1, 2, 3], 3**0.5 / 2),
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_rank_correlation_is_spearmans(one: list[float], other: list[float], wanted: float) -> None:
    """Only the order counts, ties share their mean rank, and a constant row has none."""
    assert rank_correlation(one, other) == pytest.approx(wanted)


def test_the_auroc_of_equal_streams_is_their_mean() -> None:
    """The figures are those of the metric, stream by stream; the change is their difference."""
    streams = [stream(0, shift=-0.7), stream(1, shift=-0.7)]

    areas, changes = auroc_intervals(streams, "exact")

    for name in ("exact", "other"):
        each = [auroc(one.labels, one.scores[name]) for one in streams]
        assert areas[name].value == pytest.approx(np.mean(each))
    assert changes["other"].value == pytest.approx(areas["other"].value - areas["exact"].value)
    assert changes["exact"] == changes["exact"].__class__(0.0, 0.0, 0.0)


def test_ties_count_half() -> None:
    """A defective part that scores like a good one is neither above nor below it."""
    tied = ScoredStream("abc", [0, 0, 1], {"exact": [1.0, 2.0, 2.0]})

    areas, _ = auroc_intervals([tied], "exact")

    assert areas["exact"].value == auroc([0, 0, 1], [1.0, 2.0, 2.0]) == 0.75


def test_a_large_loss_is_told_from_chance() -> None:
    """Scores that bury the defective parts lose, and the interval leaves out 0."""
    _, changes = auroc_intervals([stream(0, shift=-1.5)], "exact")

    assert changes["other"].high < 0
    assert changes["other"].excludes_0


def test_noise_is_not_told_from_chance() -> None:
    """Scores with a little noise change nothing that the interval does not cover."""
    _, changes = auroc_intervals([stream(0)], "exact")

    assert changes["other"].low <= 0 <= changes["other"].high
    assert not changes["other"].excludes_0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of many samples of a known AUROC, about 95 in 100 have it in their interval."""
    truth = 0.8556  # P(normal shifted by 1.5 above another) = Phi(1.5 / sqrt(2))
    covered = 0

    for seed in range(200):
        interval = auroc_intervals([stream(seed)], "exact", seed, draws=300)[0]["exact"]
        covered += interval.low <= truth <= interval.high

    assert 0.87 <= covered / 200 <= 0.99


def test_parts_that_streams_share_are_no_further_parts() -> None:
    """The same stream twice is known no better; a stream of other parts makes it better."""
    once = auroc_intervals([stream(0)], "exact")[0]["exact"]

    twice = auroc_intervals([stream(0), stream(0)], "exact")[0]["exact"]
    further = auroc_intervals([stream(0), stream(1, prefix="x")], "exact")[0]["exact"]

    assert twice == once
    assert further.high - further.low < once.high - once.low


def test_the_same_seed_gives_the_same_intervals() -> None:
    """What is drawn follows from the seed."""
    streams = [stream(0, shift=0.3)]

    assert auroc_intervals(streams, "exact", 3) == auroc_intervals(streams, "exact", 3)
    assert auroc_intervals(streams, "exact", 3) != auroc_intervals(streams, "exact", 4)
