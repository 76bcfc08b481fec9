"""Fewer channels: tokens in the basis that keeps most of what a window's first frames hold.

The layer-normalised tokens of a few frames of one product fill their channels
unevenly: most of their squares lie in a subspace. In its coordinates tokens are
shorter vectors, so that products and memory shrink in proportion, and all that
follows is as before: averaging patches is linear and commutes with the projection,
lengths are measured after it, and a token has length 1 in the subspace. The scores
are those of mutual scoring of the projected tokens, not those of all channels; what
that costs, ``musc-edge bench loss`` measures.

Nothing is learned from labels or other lines: the basis comes from the window's own
frames, and the same frames give the same basis. Neither the sign of an axis nor its
place matters to a product of two projected tokens.

Main path: ``principal_axes``; its naive twin takes the singular vectors of the
tokens themselves, and tests hold the subspaces and what they keep to each other.

Source: the truncated singular value decomposition; by Eckart and Young (Psychometrika
1, 1936) no other subspace of that size keeps more of the tokens' squares.
"""

import torch
from torch import Tensor

BASIS_FRAMES = 8
"""Frames of a window whose tokens decide which channels are kept."""


def principal_axes(tokens: Tensor, channels: int) -> Tensor:
    """Find the subspace of each stage that keeps most of the tokens' squares.

    The second moments are taken about 0, not about the mean: cosines are too.

    Args:
        tokens: Layer-normalised tokens [S, n, P, C] of n frames.
        channels: Axes K of the subspace, 1 to C.

    Returns:
        [S, C, K] orthonormal columns, the one that keeps most first, in float32 or
        wider on the tokens' device. Where the tokens have fewer than K directions, the
        further axes are any that are orthogonal to them.
    """
    wide = torch.promote_types(tokens.dtype, torch.float32)
    rows = tokens.to(wide).flatten(1, 2)
    # On the CPU and in float64: small matrices are slow on a GPU, and axes of nearly equal weight
    # turn by what the arithmetic rounds away.
    moments = (rows.mT @ rows).cpu().double()
    _, axes = torch.linalg.eigh(moments)
    kept: Tensor = axes.flip(-1)[..., :channels]
    return kept.to(tokens.device, wide).contiguous()


def principal_axes_naive(tokens: Tensor, channels: int) -> Tensor:
    """``principal_axes`` as singular vectors, stage by stage, in float64."""
    stages = [stage.flatten(0, 1).double() for stage in tokens]
    return torch.stack([torch.linalg.svd(rows)[2][:channels].T for rows in stages])


def project(tokens: Tensor, axes: Tensor) -> Tensor:
    """Coordinates [S, ..., K] of tokens [S, ..., C] along axes [S, C, K], of the axes' type."""
    rows = tokens.to(axes.dtype).flatten(1, -2)
    return (rows @ axes).view(*tokens.shape[:-1], axes.shape[-1])
