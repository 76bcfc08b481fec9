"""The method against a small case computed with the authors' own modules."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musc.anomaly_map import frame_scores, upsample
from musc.lnamd import aggregate, aggregate_naive
from musc.msm import mutual_scores, mutual_scores_naive
from musc.rscin import rescore, rescore_naive
from musc.sliding import SlidingMuSc

TOLERANCE = 1e-5


@pytest.fixture
def case() -> dict[str, Tensor]:
    """The authors' inputs and outputs: 9 frames, 3 stages, 49 patches, 24 channels."""
    with np.load(Path(__file__).with_name("parity.npz")) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def worst(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference; NaN if there is one, which no tolerance admits."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max())


@pytest.mark.parametrize("step", [aggregate, aggregate_naive])
def test_aggregation(step: Callable[[Tensor], Tensor], case: dict[str, Tensor]) -> None:
    """Aggregated tokens are those of the authors' unfold and adaptive pooling."""
    aggregated = step(case["tokens"])

    assert worst(aggregated, case["aggregated"]) < TOLERANCE


@pytest.mark.parametrize("step", [mutual_scores, mutual_scores_naive])
def test_mutual_scores(step: Callable[[Tensor], Tensor], case: dict[str, Tensor]) -> None:
    """Patch scores are the authors' mutual scores."""
    scores = step(case["aggregated"])

    assert worst(scores, case["patch_scores"]) < TOLERANCE


def test_sliding_window(case: dict[str, Tensor]) -> None:
    """Frames pushed one by one end with the authors' scores of the whole set."""
    window = SlidingMuSc(capacity=9)

    for tokens, image_feature in zip(case["tokens"], case["image_features"], strict=True):
        window.push(tokens, image_feature)

    assert worst(window.all_patch_scores(), case["patch_scores"]) < TOLERANCE


def test_maps(case: dict[str, Tensor]) -> None:
    """Anomaly maps at 98 px are the authors' maps."""
    maps = upsample(case["patch_scores"], (98, 98))

    assert worst(maps, case["maps_98"]) < TOLERANCE


def test_frame_scores(case: dict[str, Tensor]) -> None:
    """Frame scores are the maxima of the authors' maps, from tokens to the end."""
    scores = frame_scores(mutual_scores(aggregate(case["tokens"])), 98)

    assert worst(scores, case["frame_scores"]) < TOLERANCE


@pytest.mark.parametrize("step", [rescore, rescore_naive])
@pytest.mark.parametrize("neighbours", [(1, 2, 3), (1, 8, 9)])
def test_rescored(
    step: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor],
    neighbours: tuple[int, ...],
    case: dict[str, Tensor],
) -> None:
    """Rescored frame scores are the authors', for both of their lists."""
    expected = case["rescored_" + "_".join(map(str, neighbours))]

    rescored = step(case["frame_scores"], case["image_features"], neighbours)

    assert worst(rescored, expected) < TOLERANCE


def test_rescoring_commutes_with_scaling(case: dict[str, Tensor]) -> None:
    """Scaling the scores to 0..1 first gives the authors' result with their scaling."""
    raw = case["frame_scores"]
    scaled = (raw - raw.min()) / (raw.max() - raw.min())

    rescored = rescore(scaled, case["image_features"])

    assert worst(rescored, case["rescored_minmax_1_2_3"]) < TOLERANCE
