"""The numbers of a sliding window: tokens of each slot, nearest tokens of each pair.

A slot is a place in memory. Which slots hold a frame, and which frame has to go,
``musc.sliding`` knows; here a frame is put into a slot together with its pairs
with the slots that are named, and nothing else is touched.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musc import msm
from musc.pair_kernel import Centred, PairKernel
from musc.pair_memory import PairMemory, frame_digest


class PairStore:
    """Tokens, image features and pairs of every slot; numbers of free slots mean nothing."""

    def __init__(
        self,
        capacity: int,
        frame: Centred,
        image_feature: Tensor,
        *,
        memory: PairMemory | None = None,
    ) -> None:
        """Take the memory for frames like this one.

        Args:
            capacity: Slots in all.
            frame: A frame as ``pair_kernel.centre`` returns it; its device is the store's,
                and the pairs are of the type of its lengths, float32 or wider.
            image_feature: Its image feature [D].
            memory: Asked for pairs before they are compared, and told of those that are.
        """
        self._memory = memory
        self._digests: dict[int, bytes] = {}
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
        digest = b"" if self._memory is None else frame_digest(frame, kernel.rule)
        pairs = list(self._pairs(digest, frame, peers, kernel))
        for held, new in zip(self.frames, frame, strict=True):
            held[:, slot] = new
        self.image_features[slot] = image_feature
        self._digests[slot] = digest
        for peer, of_new, of_peer in pairs:
            self.nearest[slot, peer] = of_new
            self.nearest[peer, slot] = of_peer

    def squared_distances(self, slot: int, peers: Sequence[int]) -> Tensor:
        """Squared distances of one slot's tokens to the nearest of each peer, [n, G, P]."""
        half_squares = self.frames.half_squares[:, slot].flatten(0, 1)
        return msm.squared_distances(self.nearest[slot, peers], half_squares)

    def _pairs(
        self, digest: bytes, frame: Centred, peers: Sequence[int], kernel: PairKernel
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each peer with the frame's nearest tokens [G, P] and its own, remembered or compared."""
        memory, unknown = self._memory, []
        for peer in peers:
            known = None if memory is None else memory.recall(digest, self._digests[peer])
            if known is None:
                unknown.append(peer)
            else:
                yield peer, known[0], known[1]
        if not unknown:
            return
        of_frame, of_peers = kernel.compare(frame, self.frames, unknown)
        for peer in unknown:
            both = of_frame[:, peer].flatten(0, 1), of_peers[:, peer].flatten(0, 1)
            if memory is not None:
                memory.keep(digest, self._digests[peer], *both)
            yield peer, *both
