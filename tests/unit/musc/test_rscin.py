"""RsCIN: rescoring frames by those that look like them."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from musc.rscin import rescore, rescore_naive


def unit_features(n: int, d: int, seed: int) -> Tensor:
    """Random image features of length 1, float64 so that no cosine ties by rounding."""
    source = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(n, d, generator=source, dtype=torch.float64), dim=-1)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12),
    d=st.integers(2, 16),
    neighbours=st.lists(st.integers(1, 15), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_equals_the_naive_twin(n: int, d: int, neighbours: list[int], seed: int) -> None:
    """Gathering all rows at once equals plain loops, also for k beyond the window."""
    features = unit_features(n, d, seed)
    scores = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    fast, naive = rescore(scores, features, neighbours), rescore_naive(scores, features, neighbours)

    torch.testing.assert_close(fast, naive, atol=1e-7, rtol=1e-7)


def test_one_neighbour_is_the_frame_itself() -> None:
    """With k = 1 every score stays, although duplicates tie with the frame itself."""
    features = unit_features(1, 8, 0).expand(6, -1).float()
    scores = torch.arange(6.0)

    assert torch.equal(rescore(scores, features, (1,)), scores)


def test_k_is_clipped_to_the_window() -> None:
    """More neighbours than frames are all the frames."""
    features, scores = unit_features(4, 8, 1), torch.rand(4, dtype=torch.float64)

    assert torch.equal(rescore(scores, features, (99,)), rescore(scores, features, (4,)))


def test_opposite_frames_keep_their_raw_scores() -> None:
    """A row of weights whose sum is not positive leaves the score as it was."""
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    scores = torch.tensor([0.2, 0.8])

    assert torch.equal(rescore(scores, features, (2,)), scores)


def test_scores_of_a_feature_that_is_nan_are_nan() -> None:
    """A feature that is not a number never leaves its frame with a finite score."""
    features, scores = unit_features(5, 8, 2), torch.rand(5, dtype=torch.float64)
    features[3] = torch.nan

    assert rescore(scores, features)[3].isnan()


def test_the_mean_of_equal_scores_is_that_score() -> None:
    """Weights sum to 1: a constant goes through unchanged."""
    features = functional.normalize(unit_features(7, 8, 3).abs(), dim=-1)
    scores = torch.full((7,), 0.4, dtype=torch.float64)

    torch.testing.assert_close(rescore(scores, features, (1, 3, 7)), scores)


@pytest.mark.parametrize("step", [rescore, rescore_naive])
@pytest.mark.parametrize(
    ("scores", "features", "neighbours", "message"),
    [
        ((3,), (4, 2), (1,), r"\(3,\) and image_features \(4, 2\)"),
        ((3, 1), (3, 2), (1,), r"\(3, 1\)"),
        ((3,), (3,), (1,), r"image_features \(3,\)"),
        ((3,), (3, 2), (), r"neighbours are \(\)"),
        ((3,), (3, 2), (1, 0), r"neighbours are \(1, 0\)"),
    ],
)
def test_misuse_is_named(
    step: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor],
    scores: tuple[int, ...],
    features: tuple[int, ...],
    neighbours: tuple[int, ...],
    message: str,
) -> None:
    """Shapes that do not belong together and an empty neighbourhood are refused by name."""
    with pytest.raises(ValueError, match=message):
        step(torch.zeros(scores), torch.zeros(features), neighbours)
