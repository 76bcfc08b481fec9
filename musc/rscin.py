"""RsCIN: frames that look alike lend each other their scores.

A frame score is replaced by the mean over the frames whose image features are
most like its own, itself among them, weighted by the cosine. It smooths noise,
and so it can also dilute a lone defect: callers keep the raw score beside it.
The module works on any method's frame scores.

The authors scale the scores to 0..1 first. Rows of weights sum to 1, so the
scaling commutes with the step and is left out: scores keep one scale over time.

Main path: ``rescore``; ``rescore_naive`` is the same formula in plain loops.

Source: Li et al., MuSc, ICLR 2024, section 3.3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEIGHBOURS = (1, 2, 3)
"""Neighbourhood sizes for MVTec AD and BTAD; the authors use (1, 8, 9) for VisA."""


def rescore(
    scores: Tensor, image_features: Tensor, neighbours: Sequence[int] = NEIGHBOURS
) -> Tensor:
    """Average each frame score over the frames that look like it.

    For each k the k largest cosines of a row are kept, the frame itself always
    among them; the weights are divided by their sum. A row whose sum is not
    positive keeps its raw score. The results are averaged over the list.

    Args:
        scores: Frame scores [N].
        image_features: Image features [N, D] of unit length.
        neighbours: The k, itself included, each at least 1; more than N counts
            as N.

    Returns:
        [N] in the type of ``scores``. A feature that is not finite makes every
        result NaN that it enters, its own always.

    Raises:
        ValueError: Shapes that do not fit, an empty list, or a k below 1.
    """
    _check(scores, image_features, neighbours)
    similar = (image_features @ image_features.T).to(scores.dtype)
    ranks = similar.clone().fill_diagonal_(torch.inf)  # itself first, also among duplicates
    total = torch.zeros_like(scores)
    for k in neighbours:
        kept = ranks.topk(min(k, len(scores)), dim=1).indices
        weights = similar.gather(1, kept)
        row_sums = weights.sum(dim=1)
        means = (weights * scores[kept]).sum(dim=1) / row_sums
        total += torch.where(row_sums <= 0.0, scores, means)
    return total / len(neighbours)


def rescore_naive(
    scores: Tensor, image_features: Tensor, neighbours: Sequence[int] = NEIGHBOURS
) -> Tensor:
    """``rescore`` in plain loops: [N] and [N, D] -> [N]."""
    _check(scores, image_features, neighbours)
    rescored = []
    for i in range(len(scores)):
        cosines = [float(image_features[i] @ other) for other in image_features]
        order = sorted(range(len(scores)), key=lambda j: (j != i, -cosines[j]))
        means = []
        for k in neighbours:
            total = sum(cosines[j] for j in order[:k])
            weighted = sum(cosines[j] * float(scores[j]) for j in order[:k])
            means.append(float(scores[i]) if total <= 0.0 else weighted / total)
        rescored.append(sum(means) / len(means))
    return torch.tensor(rescored, dtype=scores.dtype, device=scores.device)


def _check(scores: Tensor, image_features: Tensor, neighbours: Sequence[int]) -> None:
    """Refuse arguments that do not belong together.

    Raises:
        ValueError: The message names both shapes, or the list.
    """
    if scores.ndim != 1 or image_features.ndim != 2 or len(scores) != len(image_features):  # noqa: PLR2004 - [N] and [N, D]
        msg = (
            f"scores have the shape {tuple(scores.shape)} and image_features "
            f"{tuple(image_features.shape)}, wanted [N] and [N, D]"
        )
        raise ValueError(msg)
    if not neighbours or min(neighbours) < 1:
        msg = f"neighbours are {tuple(neighbours)}, wanted one or more numbers of at least 1"
        raise ValueError(msg)
