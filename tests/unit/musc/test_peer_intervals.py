"""Other intervals of the peers: the ranks that count, and MuSc as one of them."""

from __future__ import annotations

import pytest
import torch

from musc.msm import mutual_scores
from musc.peer_intervals import MUSC, Interval, interval_scores


def features(frames: int = 9) -> torch.Tensor:
    """Return unit tokens [frames, 2, 4, 5]."""
    source = torch.Generator().manual_seed(3)
    tokens = torch.randn(frames, 2, 4, 5, generator=source)
    return torch.nn.functional.normalize(tokens, dim=-1)


def naive(tokens: torch.Tensor, interval: Interval) -> torch.Tensor:
    """Return the scores by plain loops in float64."""
    tokens = tokens.double()
    scores = torch.zeros(tokens.shape[0], tokens.shape[2], dtype=torch.float64)
    for i, g in torch.cartesian_prod(torch.arange(len(tokens)), torch.arange(tokens.shape[1])):
        others = [j for j in range(len(tokens)) if j != int(i)]
        rows = [torch.cdist(tokens[i, g], tokens[j, g]).amin(dim=1) for j in others]
        scores[i] += interval.of(torch.stack(rows).sort(dim=0).values) / tokens.shape[1]
    return scores


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_lowest_share_is_mutual_scoring(share: float) -> None:
    """The mean from rank 0 on is MuSc with that share."""
    got = interval_scores(features(), [Interval(highest=share)])

    torch.testing.assert_close(got[0], mutual_scores(features(), share))


def test_intervals_equal_plain_loops() -> None:
    """Several at once give what each gives alone."""
    wanted = [MUSC, Interval(0.2, 0.7), Interval(0.0, 1.0, "min"), Interval(0.0, 0.5, "max")]

    got = interval_scores(features(), wanted)

    for scores, interval in zip(got, wanted, strict=True):
        expected = naive(features(), interval).float()
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0.0, 1.0, "min"), 0.0),
        (Interval(0.0, 1.0, "max"), 9.0),
        (Interval(0.0, 1.0), 4.5),
        (Interval(0.0, 0.3, "max"), 2.0),
        (Interval(0.1, 0.3), 1.5),
        (Interval(0.0, 0.05), 0.0),
        (Interval(0.98, 1.0), 9.0),
    ],
)
def test_ranks_that_count(interval: Interval, expected: float) -> None:
    """Of the distances 0 to 9 the ranks int(lowest * 10) to int(highest * 10), at least one."""
    assert float(interval.of(torch.arange(10.0))) == expected


@pytest.mark.parametrize("limits", [(-0.1, 0.3), (0.3, 0.3), (0.5, 0.3), (0.0, 1.1)])
def test_limits_out_of_order_are_refused(limits: tuple[float, float]) -> None:
    """An interval without a rank is no interval."""
    with pytest.raises(ValueError, match="wanted 0 <= lowest < highest <= 1"):
        Interval(*limits)
