"""One product for all degrees: the nearest tokens of two frames from their r = 1 tokens.

Let X and Y [P, C] be the layer-normalised tokens of two frames and B_r the matrix
that sums zero-padded r x r squares of the grid. The averaged tokens of degree r are
B_r X and B_r Y up to a factor, so

    (B_r X) (B_r Y)^T = B_r (X Y^T) B_r^T:

the similarities of every degree are box-filtered copies of one Gram matrix, divided
by the lengths of the averaged tokens. A pair of frames takes one product for each
stage instead of one for each stage and degree, and only r = 1 tokens are kept.

Rounding: a sum over r^4 numbers errs in proportion to their size. Where averaged
tokens are much shorter than what they average, because it cancels, the cosine would
err more than the 1e-5 in squared distance that are promised; such tokens, and those
without a length, send their stage and degree of a pair to the plain product of
averaged tokens. Real tokens share a direction and do not cancel.

With a locality, products are taken only as far from a position as the averages of
two patches that may meet reach: on 16 x 16 patches, q = 2 and r up to 5 more than
half of them, on 37 x 37 a seventh.

Main path: ``PairKernel.compare``; ``compare_naive`` averages, multiplies and
compares in float64, and tests hold one to the other. On a CPU the filter and the
maxima are one compiled pass (``musc.box_maxima``), elsewhere torch operations.

Source: the identity is linear algebra on LNAMD (Li et al., MuSc, ICLR 2024, section
3.1), whose averaging is linear and comes before the only non-linear step.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from musc import msm
from musc.box_maxima import box_maxima
from musc.lnamd import NORM_FLOOR, aggregate, grid_side, layer_normalised
from musc.locality import check_locality, multiply_nearby, restricts, too_far
from musc.projection import project
from musc.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from typing_extensions import Self

_Job: TypeAlias = tuple[int, slice]  # a stage, and some frames in a row

CANCELLATION_LIMIT = 64.0
"""Largest product of two frames' cancellations for which one product serves all degrees.

The squared distance then errs by less than 1e-5; of tokens drawn at random, the worst
case without a cause, 25 cancel to a fifth: 5 * 5 = 25."""

_GRAM_BYTES_CPU = 1 << 19  # similarities of two peers on 16 x 16 patches: half a second-level cache
_GRAM_BYTES_GPU = 1 << 26  # the filter holds up to four of them
_NEARBY_PEERS_CPU = 16  # with 8 a push takes 1.1 times as long, with 2 half as long again
_NEARBY_BYTES_CPU = 1 << 25


class Centred(NamedTuple):
    """Frames, as the kernel compares them: one, or several along an axis after S."""

    tokens: Tensor
    """Layer-normalised r = 1 tokens [S, ..., P, C], as stored."""
    inverse: Tensor
    """1 / length of the tokens summed over r x r patches, [S, ..., R, P]; 0 where there is none."""
    half_squares: Tensor
    """|t|^2 / 2 of the averaged tokens brought to length 1, [S, ..., R, P]: 1/2, or 0."""
    cancellation: Tensor
    """Summed lengths over the length of the sum, the worst of the frame, [S, ..., R]."""


def centre(
    tokens: Tensor, degrees: Sequence[int], dtype: torch.dtype, axes: Tensor | None = None
) -> Centred:
    """Layer-normalise one frame's tokens and measure the averages of each degree.

    Args:
        tokens: The backbone's patch tokens [S, P, C].
        degrees: As ``lnamd.aggregate``.
        dtype: Type in which they are stored; lengths are those of the stored tokens.
        axes: Axes [S, C, K] whose coordinates are stored in place of the channels.

    Raises:
        ValueError: As ``lnamd.aggregate``.
    """
    grid_side(tokens[None], degrees)
    return measured(
        layer_normalised(tokens[None].to(msm.wide_dtype(tokens.dtype)))[0], degrees, dtype, axes
    )


def measured(
    normalised: Tensor, degrees: Sequence[int], dtype: torch.dtype, axes: Tensor | None = None
) -> Centred:
    """``centre`` of tokens [S, P, C] that are layer-normalised already."""
    stored = (normalised if axes is None else project(normalised, axes)).to(dtype)
    side = round(stored.shape[1] ** 0.5)
    grid = stored.to(msm.wide_dtype(dtype)).view(len(stored), side, side, -1)
    lengths = torch.linalg.vector_norm(grid, dim=-1, keepdim=True)
    sums = [_measured(grid, lengths, r) for r in degrees]
    inverse, half_squares, cancellation = map(torch.stack, zip(*sums, strict=True))
    return Centred(
        stored,
        inverse.transpose(0, 1).contiguous(),
        half_squares.transpose(0, 1).contiguous(),
        cancellation.T.contiguous(),
    )


def _measured(grid: Tensor, lengths: Tensor, degree: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse length and half square [S, P] and cancellation [S] of one degree's sums."""
    norms = torch.linalg.vector_norm(_summed(grid, degree), dim=-1).flatten(1)
    floor = NORM_FLOOR * degree**2
    inverse = torch.where(norms < floor, 0.0, 1.0 / norms)
    cancels = _summed(lengths, degree).flatten(1) * inverse
    cancels.masked_fill_(norms < floor, torch.inf)
    return inverse, (norms / norms.clamp_min(floor)).square_().div_(2.0), cancels.amax(dim=-1)


def _summed(grid: Tensor, degree: int) -> Tensor:
    """Sum r x r patches with zeros around the grid, [S, H, H, C]."""
    return _box(_box(grid, 1, degree // 2), 2, degree // 2)


def _box(numbers: Tensor, axis: int, half: int) -> Tensor:
    """Sum -half..half along an axis, zeros beyond its ends; a new tensor."""
    out, size = numbers.clone(), numbers.shape[axis]
    for away in range(1, min(half, size - 1) + 1):
        kept = size - away
        out.narrow(axis, away, kept).add_(numbers.narrow(axis, 0, kept))
        out.narrow(axis, 0, kept).add_(numbers.narrow(axis, away, kept))
    return out


def averaged(tokens: Tensor, degree: int) -> Tensor:
    """Average stored tokens [n, P, C] and bring them to length 1, as ``lnamd.aggregate`` does."""
    wide = tokens.to(msm.wide_dtype(tokens.dtype))
    side = round(wide.shape[1] ** 0.5)
    grid = wide.view(-1, side, side, wide.shape[2]).permute(0, 3, 1, 2)
    pooled = functional.avg_pool2d(grid, degree, 1, degree // 2, count_include_pad=True)
    return functional.normalize(pooled.permute(0, 2, 3, 1).flatten(1, 2), dim=-1, eps=NORM_FLOOR)


def compare_naive(
    one: Tensor, many: Tensor, degrees: Sequence[int], locality: int | None = None
) -> tuple[Tensor, Tensor]:
    """``compare`` of patch tokens [S, P, C] and [n, S, P, C], averaged first, in float64."""
    stages, patches, _ = one.shape
    far = too_far(patches, locality).to(one.device)
    own = aggregate(one[None], degrees)[0].double()
    others = aggregate(many, degrees).double()
    gram = (others @ own.mT).masked_fill(far, -torch.inf)
    of_one = (gram - msm.half_square_norms(others)[..., None]).amax(dim=-2)
    of_many = (gram - msm.half_square_norms(own)[:, None]).amax(dim=-1)
    by_stage = (len(many), stages, len(degrees), patches)
    return of_one.view(by_stage).transpose(0, 1), of_many.view(by_stage).transpose(0, 1)


class PairKernel:
    """The comparison of one frame with many, for all stages and degrees.

    Several threads may share a kernel; their calls take turns.
    """

    def __init__(self, degrees: Sequence[int], locality: int | None = None) -> None:
        """Choose the degrees, as ``lnamd.aggregate``, and the locality, as ``mutual_scores``."""
        check_locality(locality)
        self._degrees = tuple(degrees)
        self._halves = np.array([r // 2 for r in degrees], dtype=np.int64)
        self._locality = locality
        self.threads = WorkerThreads()
        """Those that share the products, for other work on the same frames too."""

    def __deepcopy__(self, memo: object) -> "Self":
        """Return the kernel itself: it keeps nothing of frames, and copies of a window share it."""
        return self

    @property
    def rule(self) -> str:
        """How frames are compared, in words: what else the numbers depend on but the frames."""
        return f"degrees {self._degrees} locality {self._locality}"

    def compare(self, one: Centred, many: Centred, peers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Find the nearest tokens of each degree between a frame and its peers, both ways.

        Args:
            one: The frame: tokens [S, P, C].
            many: Frames in a row, contiguous: tokens [S, n, P, C].
            peers: Which of the n are compared, ascending.

        Returns:
            Twice [S, n, R, P], as ``msm.nearest_both_ways`` in every stage and degree:
            for each token of the frame, and for each token of a peer. What belongs to no
            peer is left unset.
        """
        of_one = torch.empty_like(many.inverse)
        of_many = torch.empty_like(of_one)
        both = (of_one, of_many)
        wide = one._replace(tokens=one.tokens.to(of_one.dtype).contiguous())
        step = self._peers_at_once(wide.tokens, len(peers))
        jobs = product(range(len(wide.tokens)), _blocks(peers, step))
        if of_one.device.type == "cpu" and of_one.dtype == torch.float32:
            self.threads.share(jobs, lambda some: self._compiled(some, step, wide, many, both))
        else:
            self._in_torch(jobs, wide, many, both)
        self._averaged_first(one, many, peers, both)
        return both

    def _compiled(
        self,
        jobs: Iterable[_Job],
        step: int,
        one: Centred,
        many: Centred,
        both: tuple[Tensor, Tensor],
    ) -> None:
        """Fill in the largest cosines, a block that stays in the cache at a time."""
        patches = one.tokens.shape[1]
        reach = patches if self._locality is None else self._locality
        apart = self._furthest_product()
        buffer = torch.zeros(step, patches, patches)  # what is too far is added up, never used
        results = [maxima.numpy() for maxima in both]
        for stage, peers in jobs:
            others, own = many.tokens[stage, peers], one.tokens[stage]
            gram = buffer[: len(others)]
            if apart is not None and restricts(apart, patches):
                multiply_nearby(others, own, apart, gram)
            else:
                rows = others.to(buffer.dtype).flatten(0, 1)
                torch.mm(rows, own.T, out=gram.view(-1, patches))
            box_maxima(
                gram.numpy(),
                self._halves,
                one.inverse[stage].numpy(),
                many.inverse[stage, peers].numpy(),
                reach,
                *(maxima[stage, peers] for maxima in results),
            )
            for maxima in results:
                maxima[stage, peers] -= 0.5

    def _furthest_product(self) -> int | None:
        """Rows and columns that two patches are apart at most whose product is needed.

        An average reaches half a square beyond its patch, on both sides of a pair.
        """
        return None if self._locality is None else self._locality + 2 * int(self._halves.max())

    def _peers_at_once(self, tokens: Tensor, peers: int) -> int:
        """Peers whose similarities make one block beside tokens [S, P, C]."""
        stages, patches, _ = tokens.shape
        numbers = patches**2 * tokens.element_size()
        if tokens.device.type != "cpu":
            return max(1, _GRAM_BYTES_GPU // numbers)
        if not restricts(self._furthest_product(), patches):
            return max(1, _GRAM_BYTES_CPU // numbers)
        # Products near a position have few rows: they want many peers, and a job for each thread.
        shared = stages * peers // (2 * torch.get_num_threads())
        return max(1, min(_NEARBY_PEERS_CPU, shared, _NEARBY_BYTES_CPU // numbers))

    def _in_torch(
        self, jobs: Iterable[_Job], one: Centred, many: Centred, both: tuple[Tensor, Tensor]
    ) -> None:
        """The same in torch's operations: for a GPU, and for float64."""
        patches = one.tokens.shape[1]
        side = round(patches**0.5)
        far = too_far(patches, self._locality).to(one.tokens.device)
        for (stage, peers), (r, half) in product(jobs, enumerate(self._halves.tolist())):
            rows = many.tokens[stage, peers].to(one.tokens.dtype).flatten(0, 1)
            boxed = (rows @ one.tokens[stage].T).view(-1, *(side,) * 4)
            for axis in range(1, 5) if half else ():
                boxed = _box(boxed, axis, half)
            cosines = boxed.view(-1, patches, patches).mul_(one.inverse[stage, r])
            cosines.mul_(many.inverse[stage, peers, r, :, None]).masked_fill_(far, -torch.inf)
            both[0][stage, peers, r] = cosines.amax(dim=1).sub_(0.5)
            both[1][stage, peers, r] = cosines.amax(dim=2).sub_(0.5)

    def _averaged_first(
        self, one: Centred, many: Centred, peers: Sequence[int], both: tuple[Tensor, Tensor]
    ) -> None:
        """Compare once more, by averaged tokens, what the common product cannot tell."""
        index = torch.tensor(peers, dtype=torch.long, device=many.cancellation.device)
        doubtful = one.cancellation[:, None] * many.cancellation[:, index] > CANCELLATION_LIMIT
        for stage, number, r in doubtful.nonzero().tolist():
            peer = slice(peers[number], peers[number] + 1)
            own = averaged(one.tokens[stage, None], self._degrees[r])
            other = averaged(many.tokens[stage, peer], self._degrees[r])
            both[0][stage, peer, r], both[1][stage, peer, r] = msm.nearest_both_ways(
                own[0],
                other,
                msm.half_square_norms(own)[0],
                msm.half_square_norms(other),
                locality=self._locality,
            )


def _blocks(slots: Sequence[int], longest: int) -> Iterator[slice]:
    """Cut ascending slots into slices of consecutive ones: 0 1 2 5 6 -> 0:2, 2:3, 5:7 for 2."""
    first = 0
    for k in range(1, len(slots) + 1):
        if k == len(slots) or slots[k] > slots[k - 1] + 1 or k - first == longest:
            yield slice(slots[first], slots[k - 1] + 1)
            first = k
