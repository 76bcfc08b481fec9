"""Few-shot scoring and MuSc+ with known good references."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from musc.few_shot import (
    few_shot_scores,
    few_shot_scores_naive,
    reference_scores,
    reference_scores_naive,
)
from musc.msm import mutual_scores

TOLERANCE = 1e-5


def unit_tokens(*shape: int, seed: int = 0) -> Tensor:
    """Random tokens of length 1."""
    return functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def worst(one: Tensor, other: Tensor) -> float:
    """The largest difference; NaN if there is one, which no tolerance admits."""
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 6),
    references=st.integers(1, 6),
    groups=st.integers(1, 3),
    share=st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    interpolate=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_few_shot_equals_the_naive_twin(
    frames: int,
    references: int,
    groups: int,
    share: float,
    interpolate: bool,  # noqa: FBT001 - a drawn case
    seed: int,
) -> None:
    """Leaving out the references' own pairs changes no score of a frame (A.6.1)."""
    features = unit_tokens(frames, groups, 9, 7, seed=seed)
    known = unit_tokens(references, groups, 9, 7, seed=seed + 1)

    fast = few_shot_scores(features, known, share, interpolate=interpolate)

    naive = few_shot_scores_naive(features, known, share, interpolate=interpolate)
    assert worst(fast, naive) < TOLERANCE


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 5), references=st.integers(1, 5), seed=st.integers(0, 1000))
def test_reference_scores_equal_the_naive_twin(frames: int, references: int, seed: int) -> None:
    """One product for each frame equals equations 9 to 11 in plain loops (A.6.2)."""
    features = unit_tokens(frames, 3, 9, 7, seed=seed)
    known = unit_tokens(references, 3, 9, 7, seed=seed + 1)

    fast = reference_scores(features, known)

    assert worst(fast, reference_scores_naive(features, known)) < TOLERANCE


def test_the_authors_appendix_in_their_own_order_of_steps() -> None:
    """Distances to all peers by torch.cdist, sorted and cut, then averaged: A.6.1 to the digit."""
    features, known = unit_tokens(4, 2, 16, 8), unit_tokens(8, 2, 16, 8, seed=1)
    everyone = torch.cat([features, known]).double()
    expected = torch.zeros(4, 16, dtype=torch.float64)
    for i in range(4):
        peers = torch.cat([everyone[:i], everyone[i + 1 :]])
        nearest = torch.cdist(everyone[i], peers).amin(dim=-1)
        expected[i] = nearest.sort(dim=0).values[:3].mean(dim=(0, 1))

    scores = few_shot_scores(features, known)

    assert worst(scores, expected) < TOLERANCE


def test_without_references_few_shot_is_mutual_scoring() -> None:
    """No reference, no difference."""
    features = unit_tokens(5, 2, 9, 6)

    scores = few_shot_scores(features, features[:0])

    assert worst(scores, mutual_scores(features)) < TOLERANCE


def test_with_one_peer_both_ways_are_one() -> None:
    """One frame and one reference: both ways of scoring are the distance between the two."""
    frame, known = unit_tokens(1, 2, 9, 6), unit_tokens(1, 2, 9, 6, seed=1)

    few, plus = few_shot_scores(frame, known), reference_scores(frame, known)

    assert worst(few, plus) < TOLERANCE
    assert worst(few, mutual_scores(torch.cat([frame, known]))[:1]) < TOLERANCE


def test_a_frame_that_is_a_reference_scores_0() -> None:
    """MuSc+ takes the nearest reference, so a known frame is perfect."""
    features = unit_tokens(3, 2, 9, 6)
    known = torch.cat([unit_tokens(2, 2, 9, 6, seed=1), features[1:2]])

    scores = reference_scores(features, known)

    assert torch.equal(scores[1], torch.zeros(9))
    assert float(scores[[0, 2]].min()) > 0.0


def test_with_references_only_frames_do_not_see_each_other() -> None:
    """A frame's MuSc+ score is the same alone and in company."""
    features, known = unit_tokens(4, 2, 9, 6), unit_tokens(3, 2, 9, 6, seed=1)

    together = reference_scores(features, known)

    assert worst(together[2:3], reference_scores(features[2:3], known)) < TOLERANCE


def test_half_precision_references_serve_wide_frames() -> None:
    """Stored in halves, references score frames in float32 to half precision's rounding."""
    features, known = unit_tokens(3, 2, 9, 6), unit_tokens(3, 2, 9, 6, seed=1)

    for score in (few_shot_scores, reference_scores):
        scores = score(features, known.half())

        assert scores.dtype == torch.float32
        assert worst(scores, score(features, known)) < 5e-3


@pytest.mark.parametrize("score", [few_shot_scores, reference_scores])
@pytest.mark.parametrize(
    ("features", "references"),
    [
        ((3, 2, 9, 6), (3, 2, 9, 5)),
        ((3, 2, 9, 6), (3, 1, 9, 6)),
        ((0, 2, 9, 6), (3, 2, 9, 6)),
        ((3, 0, 9, 6), (3, 0, 9, 6)),
        ((3, 9, 6), (3, 9, 6)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    score: Callable[[Tensor, Tensor], Tensor],
    features: tuple[int, ...],
    references: tuple[int, ...],
) -> None:
    """Other shapes are refused, and the message shows both."""
    with pytest.raises(ValueError, match="features and references have the shapes"):
        score(torch.zeros(features), torch.zeros(references))


def test_a_frame_without_a_peer_is_refused() -> None:
    """Mutual scoring needs two frames or a reference, MuSc+ needs a reference."""
    features = unit_tokens(2, 1, 4, 3)

    with pytest.raises(ValueError, match="1 frames and 0 references, wanted a peer"):
        few_shot_scores(features[:1], features[:0])
    with pytest.raises(ValueError, match="2 frames and 0 references, wanted a peer"):
        reference_scores(features, features[:0])
    with pytest.raises(ValueError, match=r"keep_lowest is 0\.0"):
        few_shot_scores(features, features, 0.0)
