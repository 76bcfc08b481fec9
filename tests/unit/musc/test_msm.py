"""Mutual scoring of a whole window."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from musc import msm
from musc.msm import (
    half_square_norms,
    mean_of_lowest,
    mutual_scores,
    mutual_scores_naive,
    nearest_both_ways,
    squared_distances,
)


def unit_tokens(*shape: int, seed: int = 0) -> Tensor:
    """Random tokens of length 1."""
    return functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize(("frames", "side"), [(n, 3 + n) for n in range(2, 13)] + [(12, 16)])
def test_equals_the_naive_twin(frames: int, side: int, interpolate: bool) -> None:  # noqa: FBT001 - a table of cases
    """One product for each pair equals plain loops, from 2 frames of 5 x 5 to 12 of 16 x 16."""
    features = unit_tokens(frames, 2, side * side, 8, seed=frames)

    fast = mutual_scores(features, interpolate=interpolate)
    naive = mutual_scores_naive(features, interpolate=interpolate)

    assert fast.shape == (frames, side * side)
    torch.testing.assert_close(fast.double(), naive, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_small_windows_are_finite(frames: int) -> None:
    """With 30 % of fewer than four peers, the nearest peer counts and no score is NaN."""
    features = unit_tokens(frames, 1, 16, 6)

    scores = mutual_scores(features)

    nearest = mutual_scores(features, keep_lowest=1.0 / frames)
    assert scores.isfinite().all()
    assert torch.equal(scores, nearest)


def test_zero_tokens_have_their_true_distance() -> None:
    """A zero token is at 0 from a zero token and at 1 from every unit token."""
    features = unit_tokens(3, 1, 4, 5)
    features[0] = 0.0
    features[1, 0, 2] = 0.0

    scores = mutual_scores(features, keep_lowest=0.5)

    torch.testing.assert_close(scores[0], torch.zeros(4))
    assert scores[1, 2] == 0.0
    ones = mutual_scores(features[[0, 2]])
    torch.testing.assert_close(ones, torch.ones(2, 4))


def test_identical_frames_score_exactly_zero() -> None:
    """Copies are at distance 0, although float32 products of unit tokens are not exactly 1."""
    features = unit_tokens(1, 3, 64, 384).expand(5, -1, -1, -1)

    scores = mutual_scores(features)

    assert torch.equal(scores, torch.zeros_like(scores))


def test_near_copies_keep_their_squared_distance() -> None:
    """Above the snap, squared distances of near copies are right to 1e-6."""
    one = unit_tokens(32, 128)
    other = functional.normalize(one + 4e-3 * unit_tokens(32, 128, seed=1), dim=-1)
    true = (one.double() - other.double()).square().sum(dim=-1)
    half, half_other = half_square_norms(one), half_square_norms(other[None])

    nearest, _ = nearest_both_ways(one, other[None], half, half_other)

    squares = squared_distances(nearest[0], half)
    torch.testing.assert_close(squares.double(), true, atol=1e-6, rtol=0.0)


def test_tokens_of_any_length_find_their_nearest() -> None:
    """The nearest token is the Euclidean one, not the one of the largest product."""
    one = torch.tensor([[1.0, 0.0]])
    many = torch.tensor([[[0.9, 0.0], [5.0, 0.0], [0.0, 0.0]]])

    of_one, of_many = nearest_both_ways(one, many, half_square_norms(one), half_square_norms(many))

    squares = squared_distances(of_one, half_square_norms(one))
    torch.testing.assert_close(squares, torch.tensor([[0.01]]))
    squares = squared_distances(of_many, half_square_norms(many))
    torch.testing.assert_close(squares, torch.tensor([[0.01, 16.0, 1.0]]))


def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many peers enter one product is no part of the result."""
    features = unit_tokens(7, 2, 16, 12)
    whole = mutual_scores(features)
    monkeypatch.setattr(msm, "_GRAM_BYTES_CPU", 2 * 16 * 16 * 4)

    blocks = mutual_scores(features)

    torch.testing.assert_close(blocks, whole, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_frame_that_is_not_finite_never_scores_finite(value: float) -> None:
    """A token that is not finite leaves its own patch without a finite score."""
    features = unit_tokens(6, 2, 9, 4)
    features[2, 1, 3, 0] = value

    scores = mutual_scores(features)

    assert not scores[2, 3].isfinite()


def test_half_precision_tokens_are_compared_in_float32() -> None:
    """Scores of float16 tokens are those of the same values in float32."""
    features = unit_tokens(5, 2, 16, 32).half()

    scores = mutual_scores(features)

    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, mutual_scores(features.float()))


@pytest.mark.parametrize(
    ("peers", "keep_lowest", "interpolate", "expected"),
    [
        (10, 0.3, False, 1.0),  # 0 1 2
        (11, 0.3, False, 1.0),  # 3.3 peers are cut to 3
        (11, 0.3, True, (0 + 1 + 2 + 0.3 * 3) / 3.3),
        (10, 0.3, True, 1.0),  # a whole number has no next peer to count
        (4, 1.0, True, 1.5),  # all of them
        (2, 0.3, False, 0.0),  # at least one
        (2, 0.3, True, 0.0),
    ],
)
def test_how_many_peers_count(
    peers: int,
    keep_lowest: float,
    interpolate: bool,  # noqa: FBT001 - a table of cases
    expected: float,
) -> None:
    """Of n peers max(1, int(share * n)) count; interpolation adds a fraction of the next."""
    distances = torch.arange(peers, dtype=torch.float64).flip(0)[:, None]

    mean = mean_of_lowest(distances, keep_lowest, interpolate=interpolate)

    assert mean.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("step", [mutual_scores, mutual_scores_naive])
@pytest.mark.parametrize(
    ("shape", "keep_lowest", "message"),
    [
        ((1, 2, 4, 3), 0.3, "hold 1 frame"),
        ((0, 2, 4, 3), 0.3, "hold 0 frame"),
        ((3, 0, 4, 3), 0.3, r"\(3, 0, 4, 3\)"),
        ((3, 4, 3), 0.3, r"\(3, 4, 3\)"),
        ((3, 2, 4, 3), 0.0, "keep_lowest is 0.0"),
        ((3, 2, 4, 3), 1.1, "keep_lowest is 1.1"),
        ((3, 2, 4, 3), float("nan"), "keep_lowest is nan"),
    ],
)
def test_misuse_is_named(
    step: Callable[[Tensor, float], Tensor],
    shape: tuple[int, ...],
    keep_lowest: float,
    message: str,
) -> None:
    """A window without a peer, or a share that keeps nobody, is refused by name."""
    with pytest.raises(ValueError, match=message):
        step(torch.zeros(shape), keep_lowest)


def test_no_peer_has_no_mean() -> None:
    """The mean over no peer at all is an error, not NaN."""
    with pytest.raises(ValueError, match="0 peers"):
        mean_of_lowest(torch.zeros(0, 4))
