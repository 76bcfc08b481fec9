"""Mutual scoring: a patch that no other frame repeats is anomalous.

The input is the aggregated patch tokens of one window, the output one score
for each patch. Nothing is learned, and no frame is assumed to be good. This
module knows nothing of cameras, files or messages.

Main path: ``mutual_scores`` runs in production; ``mutual_scores_naive`` is the
same formula in plain loops, and tests hold the first to the second. The three
steps it is made of are public, and the sliding window uses the same ones:

1. ``nearest_both_ways``: one matrix product of two frames, both directions.
2. ``squared_distances``: from its maxima to true squared distances.
3. ``mean_of_lowest``: from the distances to every peer to one number.

Where parts lie still, ``locality`` lets a patch look for its like only near its
own position (``musc.locality``).

Step 1 keeps, for a token a and the tokens b of a peer, max(a.b - |b|^2 / 2): the
b that maximises it is the nearest one, for zero tokens too, and
|a - b|^2 = |a|^2 - 2 max(...). The square root touches the P maxima only.

Source: Li et al., MuSc, ICLR 2024, section 3.2, and the authors' code where the
paper leaves k open.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from musc.locality import nearest_nearby, restricts, too_far

KEEP_LOWEST = 0.3
"""Share of the peers whose distances count; the authors' interval average."""

SNAP = 4e-6
"""Squared distances below this, 0.002 in distance, are 0. A float32 product of unit tokens errs
by up to 7e-7 with 384 channels, by processor and library, and in proportion to their root."""

_GRAM_BYTES_CPU = 1 << 20  # similarities that stay in the second-level cache between two passes
_GRAM_BYTES_GPU = 1 << 28  # large enough that starting a kernel costs nothing beside it


def mutual_scores(
    features: Tensor,
    keep_lowest: float = KEEP_LOWEST,
    *,
    interpolate: bool = False,
    locality: int | None = None,
) -> Tensor:
    """Score every patch of every frame against the other frames of the window.

    Needs about N*N*P + N*P*C numbers beside the features, one group at a time.

    Args:
        features: Aggregated tokens [N, G, P, C] of length 1 or 0.
        keep_lowest: Share of the N-1 peers that count, 0 < share <= 1; at least
            one peer counts, where the authors' code returns NaN for N <= 4.
        interpolate: Count a fraction of the next peer instead of cutting
            keep_lowest * (N-1) to a whole number.
        locality: Compare a patch only with those of a peer within so many rows and
            so many columns of its own position on the H x H grid, P = H*H; None, or
            H-1 and more, compares it with all of them.

    Returns:
        [N, P] mean Euclidean distances, mean over the groups. A frame with a
        token that is not finite scores NaN there; its peers may score NaN too.

    Raises:
        ValueError: Not four axes, fewer than two frames, no group, a share outside
            its limits, or a locality that is negative or given for no square grid.
    """
    _check_window(features, keep_lowest, locality)
    frames, groups, patches, _ = features.shape
    wide = wide_dtype(features.dtype)
    total = torch.zeros(frames, patches, dtype=wide, device=features.device)
    for g in range(groups):
        nearest, half_squares = nearest_of_all(features[:, g], locality)
        for i in range(frames):
            peers = torch.cat([nearest[i, :i], nearest[i, i + 1 :]])
            distances = squared_distances(peers, half_squares[i]).sqrt_()
            total[i] += mean_of_lowest(distances, keep_lowest, interpolate=interpolate)
    return total / groups


def mutual_scores_naive(
    features: Tensor,
    keep_lowest: float = KEEP_LOWEST,
    *,
    interpolate: bool = False,
    locality: int | None = None,
) -> Tensor:
    """``mutual_scores`` in plain loops and float64: [N, G, P, C] -> [N, P]."""
    _check_window(features, keep_lowest, locality)
    frames, groups, patches, _ = features.shape
    far = too_far(patches, locality).to(features.device)
    kappa = max(1.0, keep_lowest * (frames - 1))
    weights = [1.0] * int(kappa) + [kappa % 1] * interpolate
    scores = torch.zeros(frames, patches, dtype=torch.float64)
    for i, g in product(range(frames), range(groups)):
        own = features[i, g].double()
        peers = [features[j, g].double() for j in range(frames) if j != i]
        pairs = [(own[:, None] - peer).norm(dim=-1).masked_fill(far, torch.inf) for peer in peers]
        rows = [distances.amin(dim=1) for distances in pairs]
        lowest = torch.stack(rows).sort(dim=0).values
        for weight, row in zip(weights, lowest, strict=False):
            scores[i] += weight * row / sum(weights) / groups
    return scores


def nearest_both_ways(
    one: Tensor,
    many: Tensor,
    half_one: Tensor,
    half_many: Tensor,
    *,
    locality: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the nearest tokens between a frame and n peers, both ways from one product.

    Half precision is widened block by block, so the products are float32.

    Args:
        one: Tokens [P, C] of the frame.
        many: Tokens [n, Q, C] of its peers.
        half_one: ``half_square_norms(one)``, [P].
        half_many: ``half_square_norms(many)``, [n, Q].
        locality: As ``mutual_scores``; with one, Q = P.

    Returns:
        [n, P], for each token a of the frame the max over the tokens b of a peer of
        a.b - |b|^2 / 2; and [n, Q], the same for each token of each peer over the
        tokens of the frame. ``squared_distances`` takes either.

    Raises:
        ValueError: As ``locality.nearest_nearby``.
    """
    if locality is not None and restricts(locality, one.shape[0]):
        pair = (one[None], many[None], half_one[None], half_many[None])
        near_one, near_many = nearest_nearby(*pair, locality)
        return near_one[0], near_many[0]
    of_one = half_many.new_empty(many.shape[0], one.shape[0])
    of_many = torch.empty_like(half_many)
    turned = one.to(half_one.dtype).T
    block = _peers_per_product(one.shape[0], half_one)
    for start in range(0, many.shape[0], block):
        peers = slice(start, start + block)
        rows = many[peers].to(half_one.dtype).flatten(0, 1)
        gram = (rows @ turned).reshape(-1, many.shape[1], one.shape[0])
        of_many[peers] = (gram - half_one).amax(dim=2)
        of_one[peers] = gram.sub_(half_many[peers, :, None]).amax(dim=1)
    return of_one, of_many


def nearest_of_all(tokens: Tensor, locality: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the nearest tokens between all frames of one group.

    Args:
        tokens: [N, P, C], N >= 2.
        locality: As ``mutual_scores``.

    Returns:
        What ``nearest_both_ways`` finds for every ordered pair, [N, N, P], and half
        norms, [N, P]. The diagonal is left unset: a frame is never its own peer.

    Raises:
        ValueError: As ``locality.nearest_nearby``.
    """
    tokens = tokens.contiguous()
    half = half_square_norms(tokens)
    frames, patches = half.shape
    nearest = half.new_empty(frames, frames, patches)
    for i in range(frames - 1):
        later = slice(i + 1, frames)
        nearest[i, later], nearest[later, i] = nearest_both_ways(
            tokens[i], tokens[later], half[i], half[later], locality=locality
        )
    return nearest, half


def squared_distances(nearest: Tensor, half_squares: Tensor) -> Tensor:
    """Turn the maxima of ``nearest_both_ways`` into squared Euclidean distances.

    Args:
        nearest: max(a.b - |b|^2 / 2), [..., P].
        half_squares: ``half_square_norms`` of the tokens a, broadcast to it.

    Returns:
        |a - b|^2 of the nearest b, [..., P], never negative, and 0 below ``SNAP``.
        What is not finite stays so.
    """
    squares = (half_squares - nearest).mul_(2.0)
    return squares.masked_fill_(squares < SNAP, 0.0)


def half_square_norms(tokens: Tensor) -> Tensor:
    """|t|^2 / 2 of each token, [..., P, C] -> [..., P], in float32 or wider."""
    wide = wide_dtype(tokens.dtype)
    norms: Tensor = torch.linalg.vector_norm(tokens, dim=-1, dtype=wide)
    return norms.square_().div_(2.0)


def mean_of_lowest(
    distances: Tensor, keep_lowest: float = KEEP_LOWEST, *, interpolate: bool = False
) -> Tensor:
    """Average the lowest share of the distances to n peers.

    Args:
        distances: [n, ...], one row for each peer, n >= 1. NaN sorts last.
        keep_lowest: Share that counts. k = max(1, int(keep_lowest * n)) rows, as
            the authors count, but at least one.
        interpolate: With kappa = max(1, keep_lowest * n), take the floor(kappa)
            lowest and the fraction of the next, divided by kappa: the mean then
            does not jump when the window grows by a frame.

    Returns:
        [...], the mean over the kept rows.

    Raises:
        ValueError: No peer, or keep_lowest outside 0 < share <= 1.
    """
    check_share(keep_lowest)
    peers = distances.shape[0]
    if peers == 0:
        msg = "distances of 0 peers have no mean, wanted at least 1 peer"
        raise ValueError(msg)
    kappa = max(1.0, keep_lowest * peers)
    whole = int(kappa)
    if not interpolate or whole == peers:
        return _lowest(distances, whole).mean(dim=0)
    lowest = _lowest(distances, whole + 1)
    return (lowest[:whole].sum(dim=0) + (kappa - whole) * lowest[whole]) / kappa


def _lowest(distances: Tensor, count: int) -> Tensor:
    """The lowest of [n, ...] at each place, ascending, [count, ...]; NaN sorts last."""
    if distances.device.type == "cpu":
        # The same numbers in a third of the time, and a fifth of it for 200 peers.
        return torch.from_numpy(np.sort(distances.detach().numpy(), axis=0)[:count])
    return distances.topk(count, dim=0, largest=False, sorted=True).values


def check_share(keep_lowest: float) -> None:
    """Refuse a share of peers that cannot be kept.

    Raises:
        ValueError: keep_lowest is not in 0 < share <= 1.
    """
    if not 0.0 < keep_lowest <= 1.0:
        msg = f"keep_lowest is {keep_lowest}, wanted 0 < keep_lowest <= 1"
        raise ValueError(msg)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of products and distances for tokens of this type: float32 or wider."""
    return torch.promote_types(dtype, torch.float32)


def _peers_per_product(patches: int, like: Tensor) -> int:
    """Peers whose similarities fit into one block on the device of ``like``."""
    limit = _GRAM_BYTES_CPU if like.device.type == "cpu" else _GRAM_BYTES_GPU
    return max(1, limit // (patches * patches * like.element_size()))


def _check_window(features: Tensor, keep_lowest: float, locality: int | None) -> None:
    """Refuse what cannot be scored.

    Raises:
        ValueError: The shape, the share or the locality is wrong.
    """
    check_share(keep_lowest)
    if features.ndim != 4 or features.shape[1] == 0:  # noqa: PLR2004 - the axes are N, G, P, C
        msg = f"features have the shape {tuple(features.shape)}, wanted [N, G, P, C] with G >= 1"
        raise ValueError(msg)
    if features.shape[0] < 2:  # noqa: PLR2004 - a frame and one peer
        msg = f"features hold {features.shape[0]} frame, wanted at least 2: a frame needs a peer"
        raise ValueError(msg)
    restricts(locality, features.shape[2])
