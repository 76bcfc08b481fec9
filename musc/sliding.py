"""Sliding window: one new frame costs one row and one column, not the window.

For each ordered pair of frames the nearest-token maxima are kept. A new frame
is compared with every frame held, both ways and in all degrees from one product
(``musc.pair_kernel``); an evicted frame takes its row and column with it. Scores are
read off the pairs on demand, and equal batch mutual scoring of the current voters.

Frames are held in slots. A voter scores the others; a slot that does not vote
(a suspect in quarantine) is scored like any other, and its pairs are kept too,
so that giving it the vote later is exact and costs nothing. A single pair can be
left out of a frame's score too (``mask_pairs``). With fewer ``channels`` the first
frames choose which are kept (``musc.projection``), until the window is empty. This
module knows nothing of time, admission or verdicts.

Main path: ``SlidingMuSc``; its naive twin is ``msm.mutual_scores`` over the
voters, and tests hold one to the other after every step.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from musc import msm
from musc.box_maxima import compile_now
from musc.lnamd import DEGREES
from musc.pair_kernel import PairKernel
from musc.pair_memory import PairMemory
from musc.pair_store import PairStore
from musc.projection import check_channels
from musc.sliding_state import Contents, Rules, Shapes, check_shapes, packed, unpacked


class SlotError(ValueError):
    """A slot that is not there, not free, or has nobody to be compared with."""


class SlidingMuSc:
    """Mutual scores of a window that changes by one frame at a time.

    Not safe for use by several threads at once. A call that raises leaves the
    state as it was.
    """

    def __init__(
        self,
        capacity: int,
        degrees: Sequence[int] = DEGREES,
        keep_lowest: float = msm.KEEP_LOWEST,
        *,
        interpolate: bool = False,
        locality: int | None = None,
        channels: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        memory: PairMemory | None = None,
    ) -> None:
        """Describe the window; memory is taken at the first push.

        On a CPU the comparison is compiled here, some seconds where no cache has it.

        Args:
            capacity: Slots in all: peers, quarantine and pins; at least 2.
            degrees: As ``lnamd.aggregate``.
            keep_lowest: As ``msm.mutual_scores``.
            interpolate: As ``msm.mutual_scores``.
            locality: As ``msm.mutual_scores``.
            channels: How many of a token's channels are kept; None, or no fewer, keeps all.
            device: Where tokens and pairs live.
            dtype: Type of the stored tokens. The pairs are float32 or wider: a
                cosine in half precision is off by 0.03 in distance near 0.
            memory: Pairs that other windows compared, or that this one will again.

        Raises:
            ValueError: A capacity below 2, or a share, locality or channels outside their limits.
        """
        if capacity < 2:  # noqa: PLR2004 - a frame and one peer
            msg = f"capacity is {capacity}, wanted at least 2 slots: a frame needs a peer"
            raise ValueError(msg)
        check_channels(channels)
        msm.check_share(keep_lowest)
        self._keep_lowest = keep_lowest
        self._interpolate = interpolate
        kernel, place = PairKernel(degrees, locality), torch.device(device)
        own = (capacity, tuple(degrees), locality, channels)
        self._rules = Rules(*own, dtype, place, kernel, memory)
        if place.type == "cpu" and msm.wide_dtype(dtype) == torch.float32:
            compile_now()
        self._votes: dict[int, bool] = {}  # occupied slots, oldest first
        self._masked: dict[int, frozenset[int]] = {}  # by slot, who does not count for its score
        self._rings: PairStore | None = None
        self._shapes: Shapes | None = None

    @property
    def capacity(self) -> int:
        """Slots in all."""
        return self._rules.capacity

    @property
    def slots(self) -> tuple[int, ...]:
        """Occupied slots, oldest first."""
        return tuple(self._votes)

    @property
    def voters(self) -> tuple[int, ...]:
        """Occupied slots that score others, oldest first."""
        return tuple(slot for slot, votes in self._votes.items() if votes)

    @property
    def held_bytes(self) -> int:
        """Memory of the tensors held, 0 before the first push; see ``pair_store``."""
        return 0 if self._rings is None else self._rings.nbytes

    @property
    def axes(self) -> Tensor | None:
        """[S, C, K], along which tokens are held; None while that is the backbone's channels."""
        return None if self._rings is None else self._rings.axes

    def __len__(self) -> int:
        """Occupied slots."""
        return len(self._votes)

    def push(self, tokens: Tensor, image_feature: Tensor, votes: bool = True) -> int:  # noqa: FBT001, FBT002 - the published signature
        """Take in a frame and compare it with every frame held.

        Where no slot is free, the oldest voter goes and its slot is used again.

        Args:
            tokens: The backbone's patch tokens [S, P, C], not yet aggregated.
            image_feature: Its image feature [D].
            votes: Whether the frame scores others.

        Returns:
            The slot, 0 to capacity - 1.

        Raises:
            ValueError: Numbers that are not finite, or shapes that are not those
                of the first push.
            SlotError: Full, and nobody votes.
        """
        rules, shapes = self._rules, (tuple(tokens.shape), tuple(image_feature.shape))
        check_shapes(shapes, self._shapes)
        with torch.no_grad():
            rings = self._rings and self._rings.reduced(self.slots, rules.degrees, rules.kernel)
            axes = None if rings is None else rings.axes
            frame = rules.centred(tokens.to(rules.device), axes)
            # A token that is not finite has a length that is not; their sum is read once.
            if not (frame.half_squares.sum().isfinite() and image_feature.isfinite().all()):
                msg = "tokens or image_feature hold numbers that are not finite"
                raise ValueError(msg)
            slot, evicted = self._choose_slot()
            rings = rings or PairStore(
                rules.capacity, frame, image_feature, keep=rules.channels, memory=rules.memory
            )
            peers = sorted(other for other in self._votes if other != evicted)
            rings.store(slot, frame, image_feature, peers, rules.kernel)
        self._rings, self._shapes = rings, shapes
        if evicted is not None:
            self._forget(evicted)
        self._votes[slot] = bool(votes)
        return slot

    def set_votes(self, slot: int, votes: bool) -> None:  # noqa: FBT001 - the published signature
        """Let a slot score others, or no longer; its age stays.

        Raises:
            SlotError: The slot is not occupied.
        """
        self._occupied(slot)
        self._votes[slot] = bool(votes)

    def evict(self, slot: int) -> None:
        """Free a slot.

        Raises:
            SlotError: The slot is not occupied.
        """
        self._occupied(slot)
        self._forget(slot)

    def mask_pairs(self, slot: int, peers: Iterable[int]) -> None:
        """Leave peers out of one frame's score, for as long as both are held.

        It says nothing of what the frame means to them, nor of votes: a peer that does
        not vote now stays left out when it does. Called again, it replaces what was said
        before; without peers all count again.

        Args:
            slot: The frame.
            peers: Occupied slots that do not count for its score.

        Raises:
            SlotError: A slot is not occupied.
        """
        masked = frozenset(peers)
        for other in (slot, *masked):
            self._occupied(other)
        self._masked[slot] = masked

    def masked_pairs(self, slot: int) -> frozenset[int]:
        """Slots that are left out of one frame's score by ``mask_pairs``.

        Raises:
            SlotError: The slot is not occupied.
        """
        self._occupied(slot)
        return self._masked.get(slot, frozenset())

    def patch_scores(self, slot: int, among: Iterable[int] | None = None) -> Tensor:
        """Score one frame against the voters.

        Args:
            slot: The frame, a voter or not.
            among: Occupied slots; only the voters among them count, less masked pairs.

        Returns:
            [P] mean distances, as ``msm.mutual_scores``.

        Raises:
            SlotError: A slot is not occupied, or no voter is left but the frame.
        """
        return self.scores_of(self.squared_distances(slot, among).sqrt_())

    def scores_of(self, distances: Tensor) -> Tensor:
        """Score a frame by its distances to peers, however they were chosen.

        Args:
            distances: [n, G, P], at least one peer; not squared.

        Returns:
            [P] mean distances, as ``msm.mutual_scores``.
        """
        kept = msm.mean_of_lowest(distances, self._keep_lowest, interpolate=self._interpolate)
        return kept.mean(dim=0)

    def all_patch_scores(self) -> Tensor:
        """Score every frame held, [n, P] in the order of ``slots``.

        Raises:
            SlotError: Empty, or a frame has no voter but itself.
        """
        if not self._votes:
            msg = f"0 of {self._rules.capacity} slots are occupied: nothing to score"
            raise SlotError(msg)
        return torch.stack([self.patch_scores(slot) for slot in self._votes])

    def squared_distances(self, slot: int, among: Iterable[int] | None = None) -> Tensor:
        """Squared distance of each token to the nearest token of each voter.

        Args:
            slot: The frame, a voter or not.
            among: Occupied slots; only the voters among them count, less masked pairs.

        Returns:
            [n, G, P], one row for each voter but the frame, oldest first.

        Raises:
            SlotError: A slot is not occupied, or no voter is left but the frame.
        """
        rings = self._occupied(slot)
        allowed = set(self._votes if among is None else among)
        for other in allowed:
            self._occupied(other)
        allowed -= self.masked_pairs(slot)
        peers = [other for other in self.voters if other != slot and other in allowed]
        if not peers:
            msg = f"slot {slot} has no voter to be compared with, {len(self)} slots are occupied"
            raise SlotError(msg)
        return rings.squared_distances(slot, peers)

    def squared_distances_to(self, slot: int, others: Sequence[int]) -> Tensor:
        """Squared distance of each token to the nearest token of each of these frames.

        Args:
            slot: The frame.
            others: Occupied slots but its own, whether they vote or not.

        Returns:
            [n, G, P] in the given order; [0, G, P] for none.

        Raises:
            SlotError: A slot is not occupied, or is the frame's own.
        """
        rings = self._occupied(slot)
        for other in others:
            self._occupied(other)
        if slot in others:
            msg = f"slot {slot} has no distance to itself"
            raise SlotError(msg)
        return rings.squared_distances(slot, others)

    def image_features(self, slots: Iterable[int]) -> Tensor:
        """Copy the image features of occupied slots, [n, D] in the given order.

        Raises:
            SlotError: A slot is not occupied, or none is given.
        """
        wanted = list(slots)
        if not wanted:
            msg = "no slot is given, wanted at least 1"
            raise SlotError(msg)
        return torch.stack([self._occupied(slot).image_features[slot] for slot in wanted])

    def state(self) -> dict[str, Tensor]:
        """Copy all that later scores depend on; ``sliding_state`` says what that is."""
        held = Contents(self._votes, self._masked, self._rings, self._shapes)
        return packed(held, self._rules)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Become the window that gave ``state``; no pair is compared again.

        Raises:
            ValueError: It is no state of a window like this one; nothing has changed.
        """
        self._votes, self._masked, self._rings, self._shapes = unpacked(state, self._rules)

    def _choose_slot(self) -> tuple[int, int | None]:
        """The slot for a new frame, and the slot whose frame must go.

        Raises:
            SlotError: Full, and nobody votes.
        """
        if len(self._votes) < self._rules.capacity:
            free = (slot for slot in range(self._rules.capacity) if slot not in self._votes)
            return next(free), None
        oldest = next(iter(self.voters), None)
        if oldest is None:
            msg = f"all {self._rules.capacity} slots are occupied and none votes: evict one first"
            raise SlotError(msg)
        return oldest, oldest

    def _forget(self, slot: int) -> None:
        """Drop a slot from the window, and from every pair that is left out."""
        del self._votes[slot]
        if not self._votes and self.axes is not None:
            self._rings = None
        self._masked.pop(slot, None)
        self._masked = {own: peers - {slot} for own, peers in self._masked.items()}

    def _occupied(self, slot: int) -> PairStore:
        """The rings, once the slot is known to hold a frame.

        Raises:
            SlotError: It holds none.
        """
        if self._rings is None or slot not in self._votes:
            msg = f"slot {slot} is not occupied, occupied are {list(self._votes)}"
            raise SlotError(msg)
        return self._rings
