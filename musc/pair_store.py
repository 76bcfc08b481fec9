"""The numbers of a sliding window: tokens of each slot, nearest tokens of each pair.

A slot is a place in memory. Which slots hold a frame, and which frame has to go,
``musc.sliding`` knows; here a frame is put into a slot together with its pairs
with the slots that are named, and nothing else is touched.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from musc import msm
from musc.lnamd import DEGREES
from musc.pair_kernel import Centred, PairKernel, measured
from musc.pair_memory import PairMemory, frame_digest
from musc.projection import BASIS_FRAMES, principal_axes
from musc.worker_threads import alone


def estimated_bytes(
    capacity: int,
    stages: int,
    patches: int,
    channels: int,
    degrees: Sequence[int] = DEGREES,
    dtype: torch.dtype = torch.float32,
    kept: int | None = None,
) -> int:
    """Memory that a full ``SlidingMuSc`` holds, known before it is built.

    Counts tokens, what is known of their averages, and the pairs of every slot with
    every slot; not the image features (a few kB each) nor the blocks in work.

    CLIP ViT-L-14-336 at 518 px (S = 4, P = 1369, C = 1024), 64 slots in float16: tokens
    718 MB, averages 8 MB, pairs 269 MB. The pairs take half as much as squared distances
    in float16: off by 5e-4 of each, so near copies stay apart, but not by 1e-5.

    Args:
        capacity: As ``SlidingMuSc``, like degrees and dtype.
        stages: S of the tokens.
        patches: P of the tokens.
        channels: C of the tokens.
        degrees: As ``lnamd.aggregate``.
        dtype: Type of the stored tokens.
        kept: The window's ``channels``; fewer take the memory of their axes too.

    Returns:
        Bytes.
    """
    wide = msm.wide_dtype(dtype).itemsize
    groups = stages * len(degrees)
    stored = channels if kept is None else min(kept, channels)
    axes = stages * channels * stored * wide if stored < channels else 0
    tokens = axes + capacity * stages * patches * stored * dtype.itemsize
    averages = capacity * groups * (2 * patches + 1) * wide
    return tokens + averages + capacity * capacity * groups * patches * wide


class PairStore:
    """Tokens, image features and pairs of every slot; numbers of free slots mean nothing."""

    def __init__(
        self,
        capacity: int,
        frame: Centred,
        image_feature: Tensor,
        *,
        keep: int | None = None,
        axes: Tensor | None = None,
        memory: PairMemory | None = None,
    ) -> None:
        """Take the memory for frames like this one.

        Args:
            capacity: Slots in all.
            frame: A frame as ``pair_kernel.centre`` returns it; its device is the store's,
                and the pairs are of the type of its lengths, float32 or wider.
            image_feature: Its image feature [D].
            keep: How many channels ``reduced`` keeps; None, or as many as the tokens have,
                keeps all.
            axes: Axes [S, C, K] along which the frame's tokens are; None if along the
                backbone's channels.
            memory: Asked for pairs before they are compared, and told of those that are.
        """
        reduces = axes is None and keep is not None and keep < frame.tokens.shape[-1]
        self._keep = keep if reduces else None
        self._capacity = capacity
        # Few slots are ever used by tokens that are soon reduced.
        capacity = min(capacity, BASIS_FRAMES) if reduces else capacity
        self.axes = axes
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
        """Bytes of tokens, averages, pairs and axes."""
        axes = 0 if self.axes is None else self.axes.nbytes
        return axes + sum(tensor.nbytes for tensor in (*self.frames, self.nearest))

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
        with alone():
            for held, new in zip(self.frames, frame, strict=True):
                held[:, slot] = new
            self.image_features[slot] = image_feature
            self._digests[slot] = digest
            for peer, of_new, of_peer in pairs:
                self.nearest[slot, peer] = of_new
                self.nearest[peer, slot] = of_peer

    def reduced(
        self, slots: Sequence[int], degrees: Sequence[int], kernel: PairKernel
    ) -> "PairStore":
        """The store that a next frame comes into: in fewer channels, once they can be chosen.

        They are chosen from the frames held, before the next one is, so that taking that
        one out again leaves no trace.

        Args:
            slots: Those that hold frames, oldest first; each stays its frame's.
            degrees: As the frames were measured with.
            kernel: As ``store``.

        Returns:
            A new store in fewer channels, with the same frames; or this one, where all
            channels are kept, too few frames are held, or it is reduced already.
        """
        if self._keep is None or len(slots) < min(self._capacity, BASIS_FRAMES):
            return self
        held = self.frames.tokens[:, list(slots)]
        axes = principal_axes(held, self._keep, kernel.threads)
        wide = held.to(axes.dtype).unbind(1)
        frames = [measured(tokens, degrees, held.dtype, axes) for tokens in wide]
        new = PairStore(
            self._capacity, frames[0], self.image_features[slots[0]], axes=axes, memory=self._memory
        )
        for i, (slot, frame) in enumerate(zip(slots, frames, strict=True)):
            new.store(slot, frame, self.image_features[slot], sorted(slots[:i]), kernel)
        return new

    def state(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """Copy the numbers of n slots, for :meth:`restore`.

        Returns:
            The fields of ``Centred`` [S, n, ...], ``nearest`` [n, n, G, P],
            ``image_features`` [n, D] and, where channels are chosen, ``axes`` [S, C, K].
        """
        index = torch.tensor(slots, device=self.nearest.device)
        state = {name: held[:, index] for name, held in self.frames._asdict().items()}
        state["nearest"] = self.nearest[index[:, None], index]
        state["image_features"] = self.image_features[index]
        return state if self.axes is None else state | {"axes": self.axes.clone()}

    def restore(
        self, slots: Sequence[int], state: Mapping[str, Tensor], kernel: PairKernel
    ) -> None:
        """Put n frames and all their pairs into slots, as :meth:`state` gave them.

        Args:
            slots: Where they go, in the order of the state.
            state: The numbers, on any device.
            kernel: How frames are compared.
        """
        index = torch.tensor(slots, device=self.nearest.device)
        with torch.no_grad():
            for name, held in self.frames._asdict().items():
                held[:, index] = state[name].to(held.device)
            self.nearest[index[:, None], index] = state["nearest"].to(self.nearest)
            self.image_features[index] = state["image_features"].to(self.image_features)
        for number, slot in enumerate(slots):
            frame = Centred(*(state[name][:, number] for name in Centred._fields))
            known = self._memory is not None
            self._digests[slot] = frame_digest(frame, kernel.rule) if known else b""

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
