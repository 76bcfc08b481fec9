"""Box-filter similarities along both frames and keep the maxima, in one compiled pass.

The input is the matrix of dot products of two frames' tokens. Summed over r x r
squares along both of its axes, it becomes the matrix of their averaged tokens
(``musc.pair_kernel``); of that only the maxima of each row and column are wanted.
The pass walks through one peer's rows of the grid and never writes a filtered
matrix out: what it holds, 60 kB on 16 x 16 patches, stays in the first caches.

Sums are taken directly, up to 9 terms along an axis. Running sums need fewer, but
one token a thousand times longer than the others leaves its rounding error in all
sums that come after it.

Compiled by numba at the first call, a few seconds, and then read from its cache.
The loops run over whole rows of P patches; patches that a shift would carry over
the edge of the grid are multiplied by 0. Loops along the sides of a grid would be
16 numbers long, too short to fill the vector units: measured five times slower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

_F = TypeVar("_F", bound=Callable[..., Any])
_Floats = NDArray[np.float32]

_njit: Any = partial(
    njit,
    nogil=True,
    error_model="numpy",
    # Sound for finite numbers: no NaN comes in, and a sum may be taken in any order.
    fastmath={"nnan", "nsz", "reassoc", "contract"},
)


def _compiled(function: _F) -> _F:
    """Compile at the first call; without a cache where no folder can be written to."""
    try:
        return cast("_F", _njit(cache=True)(function))
    except RuntimeError:
        return cast("_F", _njit()(function))


def compile_now() -> None:
    """Have the pass compiled, or read from its cache, before the first frame waits for it."""
    one = np.ones((1, 1, 1), np.float32)
    box_maxima(one, np.zeros(1, np.int64), one[0], one, 0, one.copy(), one.copy())


def box_maxima(
    gram: _Floats,
    halves: NDArray[np.int64],
    inverse_one: _Floats,
    inverse_many: _Floats,
    reach: int,
    of_one: _Floats,
    of_many: _Floats,
) -> None:
    """Fill in the largest cosines of averaged tokens, both ways; safe in several threads.

    Args:
        gram: Finite dot products [n, P, P] of r = 1 tokens, first a peer's, then the frame's;
            patches row-major on a square grid.
        halves: (r - 1) / 2 of each degree, [R].
        inverse_one: 1 / length of the frame's summed tokens, [R, P].
        inverse_many: The same of the peers', [n, R, P].
        reach: Rows and columns that two patches may be apart; the side - 1 for any.
        of_one: Result [n, R, P], for each patch of the frame over those of a peer.
        of_many: Result [n, R, P], for each patch of a peer over those of the frame.
    """
    side = round(gram.shape[1] ** 0.5)
    inside = _inside(side, int(halves.max(initial=0)))
    _all_peers(gram, side, halves, inverse_one, inverse_many, inside, reach, of_one, of_many)


def _inside(side: int, half: int) -> _Floats:
    """1 where the column -h and +h from a patch's own is on the grid, else 0: [half + 1, 2, P]."""
    column = np.arange(side * side) % side
    shift = np.arange(half + 1)[:, None]
    return np.stack([column >= shift, column + shift < side], axis=1).astype(np.float32)


@_compiled
def _all_peers(  # noqa: PLR0917 - compiled functions take what they need one by one
    gram: _Floats,
    side: int,
    halves: NDArray[np.int64],
    inverse_one: _Floats,
    inverse_many: _Floats,
    inside: _Floats,
    reach: int,
    of_one: _Floats,
    of_many: _Floats,
) -> None:
    patches, widest = side * side, len(inside) - 1
    # Zeros on both sides stand for what is beyond the edge of the grid.
    rows = np.zeros((side + 2 * widest) * patches, np.float32)
    columns = np.zeros((side + 2 * widest) * side, np.float32)
    squares = np.zeros(patches + 2 * widest, np.float32)
    boxed = np.empty(patches, np.float32)
    for peer in range(len(gram)):
        of_one[peer] = -np.inf
        flat = gram[peer].reshape(patches * patches)
        for row in range(side):
            # Of the frame's patches, those in the rows that any square may cover.
            start = max(0, row - reach - widest) * side
            stop = min(side, row + reach + widest + 1) * side
            summed = rows[widest * patches :]
            done = 0
            _copy_row(summed, flat[row * side * patches :], side, start, stop)
            for degree in range(len(halves)):
                half = halves[degree]
                if half < done:
                    _copy_row(summed, flat[row * side * patches :], side, start, stop)
                    done = 0
                _add_rows(summed, flat, row, side, done, half, start, stop)
                done = half
                _one_row(
                    rows, row, side, half, inverse_one[degree], inverse_many[peer, degree],
                    inside, reach, of_one[peer, degree], of_many[peer, degree],
                    columns, squares, boxed,
                )  # fmt: skip
        # Lengths are positive, so the frame's own may be left out until the maxima are known.
        for degree in range(len(halves)):
            for patch in range(patches):
                of_one[peer, degree, patch] *= inverse_one[degree, patch]


@_compiled
def _add_rows(
    rows: _Floats,
    flat: _Floats,
    row: int,
    side: int,
    done: int,
    half: int,
    start: int,
    stop: int,
) -> None:
    """Add the peer's rows of the grid that are more than ``done`` and up to ``half`` away."""
    length = side**3
    for away in range(done + 1, half + 1):
        if row >= away:
            _add_row(rows, flat[(row - away) * length :], side, start, stop)
        if row + away < side:
            _add_row(rows, flat[(row + away) * length :], side, start, stop)


@_compiled
def _copy_row(out: _Floats, source: _Floats, side: int, start: int, stop: int) -> None:
    """Copy a row of the peer's grid, [side, P], of the frame's patches start to stop."""
    for first in range(0, side**3, side**2):
        _copy(out[first + start :], source[first + start :], stop - start)


@_compiled
def _add_row(out: _Floats, source: _Floats, side: int, start: int, stop: int) -> None:
    """Add a row of the peer's grid, as ``_copy_row`` copies it."""
    for first in range(0, side**3, side**2):
        _add(out[first + start :], source[first + start :], stop - start)


@_compiled
def _one_row(  # noqa: PLR0917 - compiled functions take what they need one by one
    rows: _Floats,
    row: int,
    side: int,
    half: int,
    inverse_one: _Floats,
    inverse_many: _Floats,
    inside: _Floats,
    reach: int,
    of_one: _Floats,
    of_many: _Floats,
    columns: _Floats,
    squares: _Floats,
    boxed: _Floats,
) -> None:
    """Maxima of one row of the peer's grid, whose rows are summed already: [side, P]."""
    patches, widest = side * side, len(inside) - 1
    # Of the frame's patches those in the rows that may be seen, and what their squares cover.
    first, last = max(0, row - reach) * side, min(side, row + reach + 1) * side
    start, stop = max(0, first - half * side), min(patches, last + half * side)
    for column in range(side):
        patch = row * side + column
        own = (widest + column) * patches
        if half == 0:
            boxed[first:last] = rows[own + first : own + last]
        else:
            _box(columns[widest * side + start :], rows, own + start, patches, half, stop - start)
            _box(
                squares[widest + first :], columns, widest * side + first, side, half, last - first
            )
            _box_within(boxed, squares, widest, half, inside, first, last)
        scale = inverse_many[patch]
        if reach >= side - 1:
            of_many[patch] = scale * _maxima(boxed, scale, inverse_one, of_one, 0, patches)
            continue
        best = np.float32(-np.inf)
        for line in range(first, last, side):
            left, right = line + max(0, column - reach), line + min(side, column + reach + 1)
            best = max(best, _maxima(boxed, scale, inverse_one, of_one, left, right))
        of_many[patch] = scale * best


@_compiled
def _maxima(
    boxed: _Floats, scale: np.float32, inverse: _Floats, best: _Floats, first: int, last: int
) -> np.float32:
    """Raise ``best`` to the scaled numbers, and return the largest of them times ``inverse``."""
    numbers, lengths, largest = boxed[first:last], inverse[first:last], best[first:last]
    top: np.float32 = np.float32(-np.inf)
    for k in range(last - first):
        largest[k] = max(largest[k], numbers[k] * scale)
        top = max(top, numbers[k] * lengths[k])
    return top


@_compiled
def _box(out: _Floats, source: _Floats, first: int, step: int, half: int, length: int) -> None:
    """Sum the source at -half..half steps from each place: ``length`` places from ``first`` on."""
    middle = source[first : first + length]
    before, after = source[first - step :], source[first + step :]
    if half == 2:  # noqa: PLR2004 - five terms at once: the default degrees need no third loop
        before_2, after_2 = source[first - 2 * step :], source[first + 2 * step :]
        for k in range(length):
            out[k] = (before[k] + after[k]) + (before_2[k] + after_2[k]) + middle[k]
        return
    for k in range(length):
        out[k] = before[k] + middle[k] + after[k]
    for away in range(2, half + 1):
        left, right = source[first - away * step :], source[first + away * step :]
        for k in range(length):
            out[k] += left[k] + right[k]


@_compiled
def _box_within(
    out: _Floats,
    padded: _Floats,
    pad: int,
    half: int,
    inside: _Floats,
    first: int,
    last: int,
) -> None:
    """Sum along the columns of the frame's grid, not across its edges."""
    boxed, middle = out[first:last], padded[pad + first :]
    for k in range(last - first):
        boxed[k] = middle[k]
    for away in range(1, half + 1):
        left, right = padded[pad + first - away :], padded[pad + first + away :]
        on_left, on_right = inside[away, 0, first:last], inside[away, 1, first:last]
        for k in range(last - first):
            boxed[k] += on_left[k] * left[k] + on_right[k] * right[k]


@_compiled
def _copy(out: _Floats, source: _Floats, length: int) -> None:
    for k in range(length):
        out[k] = source[k]


@_compiled
def _add(out: _Floats, source: _Floats, length: int) -> None:
    for k in range(length):
        out[k] += source[k]
