"""The numbers of a sliding window: tokens of each slot, nearest tokens of each pair.

A slot is a place in memory. Which slots hold a frame, and which frame has to go,
``musc.sliding`` knows; here a frame is put into a slot together with its pairs
with the slots that are named, and nothing else is touched.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from musc import msm
from musc.locality import nearest_nearby, restricts


class PairStore:
    """Tokens, image features and pairs of every slot; numbers of free slots mean nothing."""

    def __init__(
        self,
        capacity: int,
        features: Tensor,
        image_feature: Tensor,
        *,
        locality: int | None,
        dtype: torch.dtype,
    ) -> None:
        """Take the memory for frames like this one.

        Args:
            capacity: Slots in all.
            features: Aggregated tokens [G, P, C] of a frame; its device is the store's.
            image_feature: Its image feature [D].
            locality: As ``msm.mutual_scores``.
            dtype: Type of the stored tokens; the pairs are float32 or wider.
        """
        groups, patches, channels = features.shape
        held, pairs = (groups, capacity, patches), (capacity, capacity, groups, patches)
        wide = msm.wide_dtype(dtype)
        device = features.device
        self._locality = locality
        # An inference tensor could not be written to outside inference mode.
        with torch.inference_mode(mode=False):
            # Group first: the slots of one group lie side by side and enter a product in one piece.
            self.tokens = torch.zeros(*held, channels, dtype=dtype, device=device)
            self.half_squares = torch.zeros(held, dtype=wide, device=device)
            self.nearest = torch.zeros(pairs, dtype=wide, device=device)
            self.image_features = torch.zeros(capacity, len(image_feature), device=device)

    def store(
        self, slot: int, features: Tensor, image_feature: Tensor, peers: Sequence[int]
    ) -> None:
        """Put a frame into a slot, with its pairs with the peers (ascending) both ways.

        Everything is computed before anything is written.

        Args:
            slot: Where the frame goes; no peer.
            features: Its aggregated tokens [G, P, C].
            image_feature: Its image feature [D].
            peers: Slots that hold frames.
        """
        tokens = features.to(self.tokens.dtype)
        half = msm.half_square_norms(tokens)
        of_new = torch.empty_like(self.half_squares)
        of_peers = torch.empty_like(of_new)
        # A full window has peers on both sides of the slot that is used again. Near the same
        # position, two products of 15 peers take 15 % longer than one of 32.
        for run in _runs(peers, bridged=int(restricts(self._locality, half.shape[1]))):
            of_new[:, run], of_peers[:, run] = self._compare(tokens, half, run)
        self.tokens[:, slot] = tokens
        self.half_squares[:, slot] = half
        self.image_features[slot] = image_feature
        index = torch.tensor(peers, dtype=torch.long, device=half.device)
        self.nearest[slot, index] = of_new[:, index].transpose(0, 1)
        self.nearest[index, slot] = of_peers[:, index].transpose(0, 1)

    def _compare(self, tokens: Tensor, half: Tensor, run: slice) -> tuple[Tensor, Tensor]:
        """Maxima [G, n, P] of a frame with the n slots of a run, and of those with it."""
        others, half_others = self.tokens[:, run], self.half_squares[:, run]
        if self._locality is not None and restricts(self._locality, half.shape[1]):
            return nearest_nearby(tokens, others, half, half_others, self._locality)
        of_new = torch.empty_like(half_others)
        of_others = torch.empty_like(half_others)
        for g in range(len(half)):
            of_new[g], of_others[g] = msm.nearest_both_ways(
                tokens[g], others[g], half[g], half_others[g]
            )
        return of_new, of_others


def _runs(slots: Sequence[int], bridged: int) -> list[slice]:
    """Cut ascending slots into slices of consecutive ones: 0 1 2 5 6 -> 0:3, 5:7.

    Gaps of up to ``bridged`` slots become part of a slice.
    """
    runs: list[slice] = []
    for slot in slots:
        if runs and slot - runs[-1].stop <= bridged:
            runs[-1] = slice(runs[-1].start, slot + 1)
        else:
            runs.append(slice(slot, slot + 1))
    return runs
