"""Same-position matching: a patch is compared only with patches near its own place.

Where parts lie still in the picture (boards, trays, anything in a fixture), a
patch need not look for its like all over a peer: within q rows and q columns of
its own position is enough. A right thing in the wrong place is then anomalous
too, and fewer products are needed. Where parts lie anyhow, plain mutual scoring
is the better choice. This module knows one frame and its peers; the mean over
peers and groups stays with ``musc.msm``.

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

_BLOCK_BYTES_CPU = 1 << 21  # tokens and similarities of a tile, in the second-level caches
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
    tile; beside the result and the frame, blocks of about 2 MiB are needed on a CPU.

    Args:
        one: Tokens [G, P, C] of the frame, row-major on a square grid.
        many: Tokens [G, n, P, C] of its peers.
        half_one: ``msm.half_square_norms(one)``, [G, P].
        half_many: ``msm.half_square_norms(many)``, [G, n, P].
        locality: Rows and columns q that two patches may be apart, at least 0.

    Returns:
        Twice [G, n, P]; each group is what ``msm.nearest_both_ways`` would find if the
        tokens that are near were the only ones.

    Raises:
        ValueError: A negative locality, P not a square number, or peers of another P.
    """
    check_locality(locality)
    side = _common_side(one, many)
    frame, half_frame = (_on_grid(t, 1, side) for t in (one.to(half_one), half_one))
    peers, half_peers = (_on_grid(t, 2, side) for t in (many, half_many))
    of_one = torch.full_like(half_peers, -torch.inf)
    of_many = torch.empty_like(half_peers)
    tile = _TILE_CPU if one.device.type == "cpu" else _TILE_GPU
    barrier = _barrier(tile, locality, half_one)
    spans = list(_spans(side, tile, locality))
    for (g, n), rows, columns in product(_blocks(many, barrier), spans, spans):
        cut = barrier[rows.barrier_own, columns.barrier_own]
        of_frame, of_peers = _tile_both_ways(
            frame[g, rows.window, columns.window],
            half_frame[g, rows.window, columns.window],
            peers[g, n, rows.own, columns.own].to(half_one.dtype),
            half_peers[g, n, rows.own, columns.own],
            cut[:, :, rows.barrier_window, columns.barrier_window],
        )
        best = of_one[g, n, rows.window, columns.window]
        torch.maximum(best, of_frame, out=best)
        of_many[g, n, rows.own, columns.own] = of_peers
    return of_one.flatten(2), of_many.flatten(2)


def nearest_nearby_naive(
    one: Tensor, many: Tensor, half_one: Tensor, half_many: Tensor, locality: int
) -> tuple[Tensor, Tensor]:
    """``nearest_nearby`` by all products of [G, P, C] and [G, n, P, C], in float64."""
    check_locality(locality)
    _common_side(one, many)
    far = too_far(one.shape[1], locality).to(one.device)
    gram = many.double() @ one.double().transpose(1, 2)[:, None]
    gram = gram.masked_fill(far, -torch.inf)
    return (gram - half_many[..., None]).amax(dim=2), (gram - half_one[:, None, None]).amax(dim=3)


def multiply_nearby(many: Tensor, one: Tensor, locality: int, out: Tensor) -> None:
    """Fill in the products of tokens near the same position; others may stay as they were.

    Args:
        many: Tokens [n, P, C] of the peers, row-major on a square grid.
        one: Tokens [P, C] of the frame, of the type of the products.
        locality: Rows and columns that two patches may be apart, at least 0.
        out: Result [n, P, P], first a peer's patches, then the frame's; contiguous.

    Raises:
        ValueError: P is not a square number.
    """
    side = _side(len(one))
    peers, frame = _on_grid(many, 1, side), _on_grid(one, 0, side)
    products = out.view(-1, *(side,) * 4)
    spans = list(_spans(side, _TILE_CPU, locality))
    for rows, columns in product(spans, spans):
        tile = peers[:, rows.own, columns.own].to(one.dtype).flatten(0, 2)
        window = frame[rows.window, columns.window].flatten(0, 1)
        near = products[:, rows.own, columns.own, rows.window, columns.window]
        near.copy_((tile @ window.T).view(near.shape))


def _tile_both_ways(
    frame: Tensor, half_frame: Tensor, peers: Tensor, half_peers: Tensor, barrier: Tensor
) -> tuple[Tensor, Tensor]:
    """Maxima between a window [g, h, w, C] of the frame and a tile [g, n, y, x, C] of the peers.

    ``barrier`` is [y, x, h, w]. The product is added to what its numbers would have
    subtracted anyhow, so that they are -|a - b|^2 / 2 at once, and -inf where a and b
    are too far apart; a maximum over b lacks |a|^2 / 2, which is added to it alone.

    Returns:
        [g, n, h, w] and [g, n, y, x].
    """
    groups, count = half_peers.shape[:2]
    columns = frame.flatten(1, 2).transpose(1, 2)
    offset = barrier.flatten(2).flatten(0, 1) - half_frame.flatten(1)[:, None]
    gram = offset[:, None] - half_peers.reshape(groups, count, -1, 1)
    rows = peers.reshape(groups, -1, peers.shape[-1])
    gram.view(groups, -1, columns.shape[2]).baddbmm_(rows, columns)
    of_frame = gram.amax(dim=2).view(groups, count, *half_frame.shape[1:]).add_(half_frame[:, None])
    return of_frame, gram.amax(dim=3).view_as(half_peers).add_(half_peers)


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


def _blocks(many: Tensor, barrier: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut groups and peers into blocks whose tokens and similarities of a tile fit into one."""
    limit = _BLOCK_BYTES_CPU if many.device.type == "cpu" else _BLOCK_BYTES_GPU
    tile, _, window, _ = barrier.shape
    numbers = tile**2 * (many.shape[-1] + window**2)
    frames = max(1, limit // (numbers * barrier.element_size()))
    groups, count = many.shape[:2]
    together = max(1, frames // max(1, count))
    for g, n in product(range(0, groups, together), range(0, count, frames)):
        yield slice(g, g + together), slice(n, n + frames)


def _on_grid(tensor: Tensor, axis: int, side: int) -> Tensor:
    """View the axis of the patches as rows and columns."""
    shape = tensor.shape
    return tensor.view(*shape[:axis], side, side, *shape[axis + 1 :])


def _common_side(one: Tensor, many: Tensor) -> int:
    """Patches along one side of the grid that a frame and its peers share.

    Raises:
        ValueError: They have different numbers of patches, or no square grid.
    """
    own, others = one.shape[1], many.shape[2]
    if own != others:
        msg = f"peers have {others} patches and the frame {own}, wanted the same grid"
        raise ValueError(msg)
    return _side(own)


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
