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

from collections.abc import Iterable

import torch
from torch import Tensor

from musc.worker_threads import WorkerThreads

BASIS_FRAMES = 8
"""Frames of a window whose tokens decide which channels are kept."""


def principal_axes(tokens: Tensor, channels: int, threads: WorkerThreads | None = None) -> Tensor:
    """Find the subspace of each stage that keeps most of the tokens' squares.

    The second moments are taken about 0, not about the mean: cosines are too.

    Args:
        tokens: Layer-normalised tokens [S, n, P, C] of n frames.
        channels: Axes K of the subspace, 1 to C.
        threads: Those that share the stages, one to each; new ones if None.

    Returns:
        [S, C, K] orthonormal columns, the one that keeps most first, in float32 or
        wider on the tokens' device; the same bits however many threads there are. Where
        the tokens have fewer than K directions, the further axes are any that are
        orthogonal to them.
    """
    wide = torch.promote_types(tokens.dtype, torch.float32)
    found: dict[int, Tensor] = {}

    def find(stages: Iterable[int]) -> None:
        for stage in stages:
            rows = tokens[stage].to(wide).flatten(0, 1)
            # On the CPU and in float64: small matrices are slow on a GPU, and axes of nearly equal
            # weight turn by what the arithmetic rounds away.
            moments = (rows.T @ rows).cpu().double()
            found[stage] = torch.linalg.eigh(moments).eigenvectors.flip(-1)[:, :channels]

    # A decomposition that two busy cores share waits for itself: measured 22 s in place of 0.1 s.
    (threads or WorkerThreads()).share(range(len(tokens)), find)
    kept = torch.stack([found[stage] for stage in range(len(tokens))])
    return kept.to(tokens.device, wide).contiguous()


def check_channels(channels: int | None) -> None:
    """Refuse to keep no channel; None keeps all.

    Raises:
        ValueError: Fewer than 1.
    """
    if channels is not None and channels < 1:
        msg = f"channels is {channels}, wanted at least 1"
        raise ValueError(msg)


def principal_axes_naive(tokens: Tensor, channels: int) -> Tensor:
    """``principal_axes`` as singular vectors, stage by stage, in float64."""
    stages = [stage.flatten(0, 1).double() for stage in tokens]
    return torch.stack([torch.linalg.svd(rows)[2][:channels].T for rows in stages])


def project(tokens: Tensor, axes: Tensor) -> Tensor:
    """Coordinates [S, ..., K] of tokens [S, ..., C] along axes [S, C, K], of the axes' type."""
    rows = tokens.to(axes.dtype).flatten(1, -2)
    return (rows @ axes).view(*tokens.shape[:-1], axes.shape[-1])
