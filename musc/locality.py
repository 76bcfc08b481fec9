"""Same-position matching: a patch is compared only with patches near its own place.

Where parts lie still in the picture (boards, trays, anything in a fixture), a
patch need not look for its like all over a peer: within q rows and q columns of
its own position is enough. A right thing in the wrong place is then anomalous
too, and fewer products are needed. Where parts lie anyhow, plain mutual scoring
is the better choice. This module knows one frame, its peers and one group of
tokens at a time; the mean over peers and groups stays with ``musc.msm``.

Main path: ``nearest_nearby`` cuts the grid into tiles and multiplies the peers'
tokens of each with the frame's tokens near it; ``nearest_nearby_naive`` multiplies
everything and masks what is too far, and tests hold the first to the second.

Source: users of MuSc asked for it, for boards that lie still. The rule is an
addition to its mutual scoring (Li et al., ICLR 2024, section 3.2), which takes the
nearest patch of the whole peer; PaDiM (Defard et al., ICPR 2020) is the other
extreme, the same position only.
"""

from collections.abc import Iterator
from itertools import product
from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor

# Sides of a tile. On 16 x 16 patches with q = 2, tiles of 4 x 4 need 19 % of the products in
# matrices that still fill the CPU; whole rows need 29 %, tiles of 2 x 2 need 12 % at half the pace.
_TILE_CPU = 4
_TILE_GPU = 8  # fewer and larger products: not measured, starting a kernel costs about 5 us

_BLOCK_BYTES_CPU = 1 << 20  # tokens and similarities of a tile: the second-level cache
_BLOCK_BYTES_GPU = 1 << 28


class _Span(NamedTuple):
    """A tile along one axis of the grid, and the positions within q of any of its own."""

    own: slice
    window: slice
    barrier_own: slice
    """Where ``own`` lies in the barrier of a tile that no edge cuts."""
    barrier_window: slice


def restricts(locality: int | None, patches: int) -> bool:
    """Tell whether a locality leaves out any pair of patches.

    Args:
        locality: Rows and columns that two patches may be apart; None is any.
        patches: Patches P of a frame.

    Raises:
        ValueError: A negative locality, or one on patches that are no square grid.
    """
    check_locality(locality)
    return locality is not None and locality < _side(patches) - 1


def check_locality(locality: int | None) -> None:
    """Refuse a distance that no two patches have.

    Raises:
        ValueError: It is negative.
    """
    if locality is not None and locality < 0:
        msg = f"locality is {locality}, wanted at least 0 patches, or None for any distance"
        raise ValueError(msg)


def too_far(patches: int, locality: int | None) -> Tensor:
    """Which pairs of positions are more than ``locality`` rows or columns apart.

    Args:
        patches: Patches P of a frame, row-major on a square grid.
        locality: As ``restricts``.

    Returns:
        [P, P] bool, symmetric; nowhere true for None.

    Raises:
        ValueError: As ``restricts``.
    """
    if locality is None or not restricts(locality, patches):
        return torch.zeros(patches, patches, dtype=torch.bool)
    side = torch.arange(_side(patches))
    place = torch.cartesian_prod(side, side)
    return (place[:, None] - place).abs().amax(dim=-1) > locality


def nearest_nearby(
    one: Tensor, many: Tensor, half_one: Tensor, half_many: Tensor, locality: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest tokens near the same position, both ways from one product.

    A token that may see another may be seen by it. Half precision is widened tile by
    tile; beside the result and the frame, a block of about 1 MiB is needed on a CPU.

    Args:
        one: Tokens [P, C] of the frame, row-major on a square grid.
        many: Tokens [n, P, C] of its peers.
        half_one: ``msm.half_square_norms(one)``, [P].
        half_many: ``msm.half_square_norms(many)``, [n, P].
        locality: Rows and columns q that two patches may be apart, at least 0.

    Returns:
        Twice [n, P], as ``msm.nearest_both_ways`` over the tokens that are near.

    Raises:
        ValueError: A negative locality, P not a square number, or peers of another P.
    """
    check_locality(locality)
    _check_peers(one, many)
    side = _side(len(one))
    frame, half_frame = (t.view(side, side, *t.shape[1:]) for t in (one.to(half_one), half_one))
    peers, half_peers = (t.view(-1, side, side, *t.shape[2:]) for t in (many, half_many))
    of_one = torch.full_like(half_peers, -torch.inf)
    of_many = torch.empty_like(half_peers)
    tile = _TILE_CPU if one.device.type == "cpu" else _TILE_GPU
    barrier = _barrier(tile, locality, half_one)
    spans = list(_spans(side, tile, locality))
    for block, rows, columns in product(_blocks(many, barrier), spans, spans):
        near, at = (rows.window, columns.window), (block, rows.own, columns.own)
        cut = barrier[rows.barrier_own, columns.barrier_own]
        of_frame, of_many[at] = _tile_both_ways(
            frame[near],
            half_frame[near],
            peers[at].to(half_one.dtype),
            half_peers[at],
            cut[:, :, rows.barrier_window, columns.barrier_window],
        )
        best = of_one[block, rows.window, columns.window]
        torch.maximum(best, of_frame, out=best)
    return of_one.flatten(1), of_many.flatten(1)


def nearest_nearby_naive(
    one: Tensor, many: Tensor, half_one: Tensor, half_many: Tensor, locality: int
) -> tuple[Tensor, Tensor]:
    """``nearest_nearby`` by all products of [P, C] and [n, P, C], in float64."""
    check_locality(locality)
    _check_peers(one, many)
    far = too_far(len(one), locality).to(one.device)
    gram = (many.double() @ one.double().T).masked_fill(far, -torch.inf)
    return (gram - half_many[..., None]).amax(dim=1), (gram - half_one).amax(dim=2)


def _tile_both_ways(
    frame: Tensor, half_frame: Tensor, peers: Tensor, half_peers: Tensor, barrier: Tensor
) -> tuple[Tensor, Tensor]:
    """Maxima between a window [h, w, C] of the frame and a tile [n, y, x, C] of the peers.

    ``barrier`` is [y, x, h, w]. The product is added to what its numbers would have
    subtracted anyhow, so that they are -|a - b|^2 / 2 at once, and -inf where a and b
    are too far apart; a maximum over b lacks |a|^2 / 2, which is added to it alone.

    Returns:
        [n, h, w] and [n, y, x].
    """
    tokens, channels = half_frame.numel(), frame.shape[-1]
    offset = (barrier - half_frame).reshape(1, -1, tokens)
    gram = offset - half_peers.reshape(len(peers), -1, 1)
    gram.view(-1, tokens).addmm_(peers.reshape(-1, channels), frame.reshape(-1, channels).T)
    of_frame = gram.amax(dim=1).view(-1, *half_frame.shape).add_(half_frame)
    return of_frame, gram.amax(dim=2).view_as(half_peers).add_(half_peers)


def _barrier(tile: int, locality: int, like: Tensor) -> Tensor:
    """0 where a position of a tile may see one of its window and -inf elsewhere, [t, t, w, w]."""
    own = torch.arange(tile, device=like.device)[:, None] + locality
    far = (own - torch.arange(tile + 2 * locality, device=like.device)).abs() > locality
    either = far[:, None, :, None] | far[None, :, None, :]
    return like.new_zeros(either.shape).masked_fill_(either, -torch.inf)


def _spans(side: int, tile: int, locality: int) -> Iterator[_Span]:
    """Cut an axis into tiles; at its ends tiles and windows are smaller."""
    for first in range(0, side, tile):
        last = min(first + tile, side)
        start, stop = max(0, first - locality), min(side, last + locality)
        before = start - (first - locality)
        yield _Span(
            slice(first, last),
            slice(start, stop),
            slice(0, last - first),
            slice(before, before + stop - start),
        )


def _blocks(many: Tensor, barrier: Tensor) -> Iterator[slice]:
    """Cut the peers into blocks whose tokens and similarities of a tile fit into one."""
    limit = _BLOCK_BYTES_CPU if many.device.type == "cpu" else _BLOCK_BYTES_GPU
    tile, _, window, _ = barrier.shape
    numbers = tile**2 * (many.shape[-1] + window**2)
    block = max(1, limit // (numbers * barrier.element_size()))
    for start in range(0, len(many), block):
        yield slice(start, start + block)


def _check_peers(one: Tensor, many: Tensor) -> None:
    """Refuse peers whose positions are not the frame's.

    Raises:
        ValueError: They have another number of patches.
    """
    if many.shape[1] != len(one):
        msg = f"peers have {many.shape[1]} patches and the frame {len(one)}, wanted the same grid"
        raise ValueError(msg)


def _side(patches: int) -> int:
    """Patches along one side of the grid.

    Raises:
        ValueError: They are no square grid.
    """
    side = isqrt(patches)
    if side * side != patches:
        msg = f"features have {patches} patches, wanted a square number for locality"
        raise ValueError(msg)
    return side
