"""LNAMD: patch tokens that know their neighbourhood, at several scales.

A patch token describes one patch; a long scratch or a missing part is larger.
Each stage of the backbone is therefore averaged over r x r patches for every
degree r, and each result is brought to unit length, so that a dot product of
two tokens is their cosine. This module knows nothing of windows or peers.

Main path: ``aggregate`` runs in production; ``aggregate_naive`` is the same
formula in plain loops, and tests hold the first to the second.

Source: Li et al., MuSc, ICLR 2024, section 3.1. The authors' unfold followed by
adaptive average pooling equals the zero-padded average pooling used here.
"""

from collections.abc import Sequence
from itertools import product
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional

DEGREES = (1, 3, 5)
"""Sides of the averaged squares, in patches; the authors' choice."""

VARIANCE_FLOOR = 1e-5
"""Added to the variance under the root, as PyTorch's layer normalisation does."""

NORM_FLOOR = 1e-6
"""Tokens shorter than this become (nearly) zero; real ones have a norm near sqrt(C)."""


def aggregate(tokens: Tensor, degrees: Sequence[int] = DEGREES) -> Tensor:
    """Centre, pool and normalise the patch tokens of each frame on its own.

    Each stage of each frame is layer-normalised over all its P*C numbers (no
    affine), averaged over r x r patches (zero padding, divided by r*r also at
    the border), and each token is L2-normalised. A stage that is constant over
    the frame gives zero tokens, never NaN.

    Args:
        tokens: Patch tokens [N, S, P, C]: frames, stages, patches in row-major
            order of a square grid, channels. Half precision is computed and
            returned in float32.
        degrees: The sides r in patches, odd and positive.

    Returns:
        [N, G, P, C] with G = S * len(degrees), stage-major: s0r1, s0r3, s0r5,
        s1r1, and so on. Every token has length 1, or 0 where it had none.

    Raises:
        ValueError: Not four axes, P not a square number, or a degree that is
            not odd and positive.
    """
    side = grid_side(tokens, degrees)
    frames, stages, patches, channels = tokens.shape
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    grid = layer_normalised(tokens).reshape(-1, side, side, channels).permute(0, 3, 1, 2)
    groups = tokens.new_empty(frames, stages, len(degrees), patches, channels)
    for index, r in enumerate(degrees):
        pooled = functional.avg_pool2d(grid, r, 1, r // 2, count_include_pad=True)
        pooled = pooled.permute(0, 2, 3, 1).reshape(frames, stages, patches, channels)
        groups[:, :, index] = functional.normalize(pooled, dim=-1, eps=NORM_FLOOR)
    return groups.reshape(frames, stages * len(degrees), patches, channels)


def aggregate_naive(tokens: Tensor, degrees: Sequence[int] = DEGREES) -> Tensor:
    """``aggregate`` in plain loops and float64: [N, S, P, C] -> [N, G, P, C]."""
    side = grid_side(tokens, degrees)
    frames, stages, patches, channels = tokens.shape
    rows = []
    for stage in tokens.double().flatten(0, 1):
        centred = stage - stage.mean()
        grid = (centred / (centred.square().mean() + VARIANCE_FLOOR).sqrt()).reshape(side, side, -1)
        for r, y, x in product(degrees, range(side), range(side)):
            top, left = max(0, y - r // 2), max(0, x - r // 2)
            square = grid[top : y + r // 2 + 1, left : x + r // 2 + 1]
            mean = square.sum(dim=(0, 1)) / (r * r)
            rows.append(mean / max(float(mean.norm()), NORM_FLOOR))
    return torch.stack(rows).reshape(frames, stages * len(degrees), patches, channels)


def layer_normalised(tokens: Tensor) -> Tensor:
    """[N, S, P, C] with mean 0 and variance 1 over P and C of each frame and stage."""
    # The mean of a constant stage must be that constant exactly: one unit in the last place
    # left over would be blown up to a full-length token of arbitrary direction.
    mean = tokens.mean(dim=(2, 3), keepdim=True, dtype=torch.float64).to(tokens.dtype)
    centred = tokens - mean
    numbers = tokens.shape[2] * tokens.shape[3]
    norm = torch.linalg.vector_norm(centred, dim=(2, 3), keepdim=True)
    return centred.div_((norm.square() / numbers + VARIANCE_FLOOR).sqrt())


def grid_side(tokens: Tensor, degrees: Sequence[int]) -> int:
    """Patches along one side of the grid of tokens [N, S, P, C].

    Raises:
        ValueError: The arguments cannot be aggregated.
    """
    if tokens.ndim != 4:  # noqa: PLR2004 - the axes are N, S, P, C
        msg = f"tokens have the shape {tuple(tokens.shape)}, wanted [N, S, P, C]"
        raise ValueError(msg)
    side = isqrt(tokens.shape[2])
    if side == 0 or side * side != tokens.shape[2]:
        msg = f"tokens have {tokens.shape[2]} patches, wanted a square number of at least 1"
        raise ValueError(msg)
    if not degrees or any(r < 1 or r % 2 == 0 for r in degrees):
        msg = f"degrees are {tuple(degrees)}, wanted one or more odd positive numbers"
        raise ValueError(msg)
    return side
