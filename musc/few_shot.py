"""Few-shot scoring: known good reference frames beside, or instead of, the peers.

Two extensions of mutual scoring. ``few_shot_scores`` lets references join the
frames that score; ``reference_scores`` (MuSc+) lets references alone score, and
takes the nearest of them. A reference that shows a defect hides that defect, so
what is given as one must be known to be good.

Main paths and their naive twins lie side by side; both are built on the steps
of ``musc.msm``. This module knows nothing of windows or streams.

Source: Li et al., MuSc, ICLR 2024, appendix A.6.1 and A.6.2 (equations 9 to 11).
"""

import torch
from torch import Tensor

from musc import msm


def few_shot_scores(
    features: Tensor,
    references: Tensor,
    keep_lowest: float = msm.KEEP_LOWEST,
    *,
    interpolate: bool = False,
) -> Tensor:
    """Score every frame against the other frames and the references (A.6.1).

    Equals ``msm.mutual_scores`` of frames and references together, without the
    references' own scores, whose pairs are not computed. Needs about N*(N+M)*P
    numbers beside the features and one group of them at a time.

    Args:
        features: Aggregated tokens [N, G, P, C] of the frames, of length 1 or 0.
        references: The same of known good frames, [M, G, P, C]; M may be 0.
        keep_lowest: Share of the N-1+M peers that count, as ``msm.mutual_scores``.
        interpolate: As ``msm.mutual_scores``.

    Returns:
        [N, P] mean Euclidean distances, mean over the groups.

    Raises:
        ValueError: Shapes that do not fit, no frame, one frame and no reference, or
            a share outside its limits.
    """
    msm.check_share(keep_lowest)
    _check(features, references, mutual=True)
    total = _zeros(features)
    frames, groups = features.shape[:2]
    for g in range(groups):
        everyone = torch.cat([features[:, g], references[:, g].to(features)])
        nearest, half_squares = _nearest_of_frames(everyone, frames)
        for i in range(frames):
            peers = torch.cat([nearest[i, :i], nearest[i, i + 1 :]])
            distances = msm.squared_distances(peers, half_squares[i]).sqrt_()
            total[i] += msm.mean_of_lowest(distances, keep_lowest, interpolate=interpolate)
    return total / groups


def few_shot_scores_naive(
    features: Tensor,
    references: Tensor,
    keep_lowest: float = msm.KEEP_LOWEST,
    *,
    interpolate: bool = False,
) -> Tensor:
    """``few_shot_scores`` as the paper says it, in float64: [N, G, P, C] -> [N, P]."""
    together = torch.cat([features, references])
    scores = msm.mutual_scores_naive(together, keep_lowest, interpolate=interpolate)
    return scores[: len(features)]


def reference_scores(features: Tensor, references: Tensor) -> Tensor:
    """Score every frame against the references only (MuSc+, A.6.2).

    A frame's score does not depend on the frames beside it.

    Args:
        features: Aggregated tokens [N, G, P, C] of the frames, of length 1 or 0.
        references: The same of known good frames, [M, G, P, C], M >= 1.

    Returns:
        [N, P] Euclidean distances to the nearest token of all references, mean over
        the groups.

    Raises:
        ValueError: Shapes that do not fit, no frame, or no reference.
    """
    _check(features, references, mutual=False)
    total = _zeros(features)
    frames, groups = features.shape[:2]
    for g in range(groups):
        known = references[:, g].to(features).contiguous()
        half_known = msm.half_square_norms(known)
        for i in range(frames):
            own = features[i, g]
            half = msm.half_square_norms(own)
            nearest, _ = msm.nearest_both_ways(own, known, half, half_known)
            total[i] += msm.squared_distances(nearest.amax(dim=0), half).sqrt_()
    return total / groups


def reference_scores_naive(features: Tensor, references: Tensor) -> Tensor:
    """``reference_scores`` in plain loops and float64: [N, G, P, C] -> [N, P]."""
    rows = []
    for frame in features.double():
        minima = []
        for own, known in zip(frame, references.double().transpose(0, 1), strict=True):
            to_each = [(own[:, None] - peer).norm(dim=-1).amin(dim=1) for peer in known]
            minima.append(torch.stack(to_each).amin(dim=0))
        rows.append(torch.stack(minima).mean(dim=0))
    return torch.stack(rows)


def _nearest_of_frames(everyone: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Maxima [N, N+M, P] of the first N frames of one group [N+M, P, C], and half norms [N+M, P].

    The diagonal is left unset: a frame is never its own peer.
    """
    half = msm.half_square_norms(everyone)
    nearest = half.new_empty(frames, *half.shape)
    for i in range(frames):
        later = slice(i + 1, len(everyone))
        of_one, of_later = msm.nearest_both_ways(everyone[i], everyone[later], half[i], half[later])
        nearest[i, later] = of_one
        nearest[i + 1 :, i] = of_later[: frames - i - 1]
    return nearest, half


def _zeros(features: Tensor) -> Tensor:
    """Where the groups are summed up, [N, P] in float32 or wider."""
    frames, _, patches, _ = features.shape
    wide = msm.wide_dtype(features.dtype)
    return torch.zeros(frames, patches, dtype=wide, device=features.device)


def _check(features: Tensor, references: Tensor, *, mutual: bool) -> None:
    """Refuse what cannot be scored; frames score each other if ``mutual``.

    Raises:
        ValueError: The message names the shapes, or the number of peers.
    """
    if features.ndim != 4 or 0 in features.shape[:2] or features.shape[1:] != references.shape[1:]:  # noqa: PLR2004 - the axes are N, G, P, C
        msg = (
            f"features and references have the shapes {tuple(features.shape)} and "
            f"{tuple(references.shape)}, wanted [N, G, P, C] and [M, G, P, C] with N, G >= 1"
        )
        raise ValueError(msg)
    if len(references) + (len(features) - 1) * mutual < 1:
        msg = (
            f"{len(features)} frames and {len(references)} references, wanted a peer for each frame"
        )
        raise ValueError(msg)
