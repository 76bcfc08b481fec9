"""Slower ways to score a window, which the line's own is measured against.

They hold the same frames and find the same distances. The plain way is incremental
too, but takes a product for each degree; the recomputing way is batch MuSc as
published, run on the whole window for each new frame.
"""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import TYPE_CHECKING

import torch

from musc import msm
from musc.lnamd import aggregate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pipeline.bench_race import SeenFrame, SlidingContestant


class PlainContestant:
    """One product and both maxima for each group and peer, on averaged tokens."""

    def __init__(
        self, window: int, degrees: Sequence[int], keep_lowest: float, device: torch.device
    ) -> None:
        """Start with an empty window; memory is taken with the first frame."""
        self._size = window
        self._degrees = tuple(degrees)
        self._keep_lowest = keep_lowest
        self._device = device
        self._taken = 0
        self._tokens = self._halves = self._nearest = torch.empty(0)

    def take(self, frame: SeenFrame) -> None:
        """Compare the frame with every frame held, both ways."""
        features = aggregate(frame.tokens[None].to(self._device), self._degrees)[0]
        groups, patches, channels = features.shape
        if not self._taken:
            self._tokens = features.new_empty(groups, self._size, patches, channels)
            self._halves = features.new_empty(groups, self._size, patches)
            self._nearest = features.new_empty(self._size, self._size, groups, patches)
        slot, half = self._taken % self._size, msm.half_square_norms(features)
        held = min(self._taken, self._size)
        for g, run in product(range(groups), (slice(0, slot), slice(slot + 1, held))):
            self._nearest[slot, run, g], self._nearest[run, slot, g] = msm.nearest_both_ways(
                features[g], self._tokens[g, run], half[g], self._halves[g, run]
            )
        self._tokens[:, slot], self._halves[:, slot] = features, half
        self._taken += 1

    def score(self) -> Tensor:
        """Score the newest frame."""
        return self._scored(-1)

    def refine(self) -> Tensor:
        """Score the frame in the middle of the window anew."""
        return self._scored(min(self._taken, self._size) // 2)

    def squared_distances(self, age: int) -> Tensor:
        """[n, G, P] of one frame, counted from the oldest, to all others, oldest first."""
        newest = self._taken - 1
        order = [k % self._size for k in range(max(0, self._taken - self._size), newest + 1)]
        slot = order[age]
        peers = [other for other in order if other != slot]
        return msm.squared_distances(self._nearest[slot, peers], self._halves[:, slot])

    def _scored(self, age: int) -> Tensor:
        distances = self.squared_distances(age).sqrt_()
        return msm.mean_of_lowest(distances, self._keep_lowest, interpolate=True).mean(dim=0).cpu()


class RecomputingContestant:
    """Batch MuSc as published: every frame of the window anew, each against all others.

    Source: Li et al., MuSc, ICLR 2024, sections 3.1 and 3.2: LNAMD of every frame, then
    for each group, frame and peer the distances of all patches and their minima.
    """

    def __init__(
        self, window: int, degrees: Sequence[int], keep_lowest: float, device: torch.device
    ) -> None:
        """Start with an empty window."""
        self._held: deque[Tensor] = deque(maxlen=window)
        self._degrees = tuple(degrees)
        self._keep_lowest = keep_lowest
        self._device = device

    def take(self, frame: SeenFrame) -> None:
        """Keep the frame's tokens; nothing is computed yet."""
        self._held.append(frame.tokens)

    def score(self) -> Tensor:
        """Score every frame held, and return the newest one's scores."""
        windows = [aggregate(t[None].to(self._device), self._degrees)[0] for t in self._held]
        return torch.stack([self._scored(i, windows) for i in range(len(windows))])[-1].cpu()

    def refine(self) -> None:
        """Do nothing: every frame is scored anew already."""

    def _scored(self, frame: int, windows: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(windows[frame][0, :, 0])
        peers = [other for i, other in enumerate(windows) if i != frame]
        for g, own in enumerate(windows[frame]):
            nearest = torch.stack([torch.cdist(own, peer[g]).amin(dim=1) for peer in peers])
            total += msm.mean_of_lowest(nearest, self._keep_lowest, interpolate=True)
        return total / len(windows[frame])


def largest_difference(fast: SlidingContestant, plain: PlainContestant, window: int) -> float:
    """Over the squared distances of every frame of full windows to every other."""
    return max(
        float((fast.squared_distances(age) - plain.squared_distances(age)).abs().max())
        for age in range(window)
    )
