"""The numbers of a sliding window: tokens of each slot, nearest tokens of each pair.

A slot is a place in memory. Which slots hold a frame, and which frame has to go,
``musc.sliding`` knows; here a frame is put into a slot together with its pairs
with the slots that are named, and nothing else is touched.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from musc import msm
from musc.pair_kernel import Centred, PairKernel


class PairStore:
    """Tokens, image features and pairs of every slot; numbers of free slots mean nothing."""

    def __init__(self, capacity: int, frame: Centred, image_feature: Tensor) -> None:
        """Take the memory for frames like this one.

        Args:
            capacity: Slots in all.
            frame: A frame as ``pair_kernel.centre`` returns it; its device is the store's,
                and the pairs are of the type of its lengths, float32 or wider.
            image_feature: Its image feature [D].
        """
        like = frame.half_squares
        stages, degrees, patches = like.shape
        # An inference tensor could not be written to outside inference mode.
        with torch.inference_mode(mode=False):
            # Stage first: the slots of one stage lie side by side and enter a product in one piece.
            self.frames = Centred(
                *(
                    torch.zeros(len(t), capacity, *t.shape[1:], dtype=t.dtype, device=t.device)
                    for t in frame
                )
            )
            pairs = (capacity, capacity, stages * degrees, patches)
            self.nearest = torch.zeros(pairs, dtype=like.dtype, device=like.device)
            self.image_features = torch.zeros(capacity, len(image_feature), device=like.device)

    @property
    def nbytes(self) -> int:
        """Bytes of tokens, averages and pairs."""
        return sum(tensor.nbytes for tensor in (*self.frames, self.nearest))

    def store(
        self,
        slot: int,
        frame: Centred,
        image_feature: Tensor,
        peers: Sequence[int],
        kernel: PairKernel,
    ) -> None:
        """Put a frame into a slot, with its pairs with the peers (ascending) both ways.

        Everything is computed before anything is written.

        Args:
            slot: Where the frame goes; no peer.
            frame: The frame, of the shape of the first.
            image_feature: Its image feature [D].
            peers: Slots that hold frames.
            kernel: How frames are compared; the same for all.
        """
        of_new, of_peers = kernel.compare(frame, self.frames, peers)
        for held, new in zip(self.frames, frame, strict=True):
            held[:, slot] = new
        self.image_features[slot] = image_feature
        for peer in peers:
            self.nearest[slot, peer] = of_new[:, peer].flatten(0, 1)
            self.nearest[peer, slot] = of_peers[:, peer].flatten(0, 1)

    def squared_distances(self, slot: int, peers: Sequence[int]) -> Tensor:
        """Squared distances of one slot's tokens to the nearest of each peer, [n, G, P]."""
        half_squares = self.frames.half_squares[:, slot].flatten(0, 1)
        return msm.squared_distances(self.nearest[slot, peers], half_squares)
