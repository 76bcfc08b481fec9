"""Any history of pushes, evictions and votes scores like a batch of what is left.

With a locality too: then the batch's tokens look only near their own position.

Distances are compared squared. The square root is ill-conditioned near 0: two
near copies at squared distance 1e-6 +- 1e-7 differ by little there and by much
in distance, and the snap to 0 moves a distance by 2e-3. Every squared distance is
held to 1e-5 of the same tokens' in float64; a mean of distances then errs by at
most sqrt(1e-5), because |sqrt(a) - sqrt(b)| <= sqrt(|a - b|), and that bound holds
for the scores.
"""

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from musc.lnamd import aggregate
from musc.locality import too_far
from musc.msm import mutual_scores_naive
from musc.sliding import SlidingMuSc, SlotError

CAPACITY, STAGES, PATCHES, CHANNELS, DEGREES, KEEP = 5, 2, 9, 6, (1, 3), 0.5
SQUARED = 1e-5

KINDS = ("fresh", "copy", "near copy", "constant", "outlier")


def drawn_tokens(kind: str, seed: int, earlier: list[Tensor]) -> Tensor:
    """Patch tokens [S, P, C] of one frame, alike to an earlier one where the kind says so."""
    source = torch.Generator().manual_seed(seed)
    fresh = torch.randn(STAGES, PATCHES, CHANNELS, generator=source)
    model = earlier[seed % len(earlier)] if earlier else fresh
    if kind == "copy":
        return model.clone()
    if kind == "near copy":
        return model + 1e-3 * fresh
    if kind == "constant":
        return torch.full_like(fresh, float(seed))
    if kind == "outlier":
        fresh[seed % STAGES, seed % PATCHES] += 1e4
    return fresh


def true_squares(one: Tensor, other: Tensor, locality: int | None) -> Tensor:
    """Squared distance [G, P] of each token [G, P, C] to its nearest, in float64."""
    squares = (one[:, :, None] - other[:, None]).square().sum(dim=-1)
    return squares.masked_fill(too_far(PATCHES, locality), torch.inf).amin(dim=-1)


class SlidingEqualsBatch(RuleBasedStateMachine):
    """A window and its naive twin: a list of frames, scored as a batch each time."""

    locality: int | None = None

    def __init__(self) -> None:
        """Start with an empty window."""
        super().__init__()
        self.window = SlidingMuSc(CAPACITY, DEGREES, KEEP, locality=self.locality)
        self.frames: dict[int, tuple[Tensor, bool]] = {}  # slot: features, votes; oldest first
        self.pushed: list[Tensor] = []

    @rule(kind=st.sampled_from(KINDS), seed=st.integers(0, 50), votes=st.booleans())
    def push(self, kind: str, seed: int, votes: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """A frame comes; when full, the oldest voter goes."""
        tokens = drawn_tokens(kind, seed, self.pushed)
        voters = self.voters()
        full = len(self.frames) == CAPACITY
        if full and not voters:
            with pytest.raises(SlotError):
                self.window.push(tokens, tokens[0, 0], votes)
            return
        slot = self.window.push(tokens, tokens[0, 0], votes)
        if full:
            assert slot == voters[0]
            del self.frames[slot]
        assert slot not in self.frames
        self.frames[slot] = (aggregate(tokens[None], DEGREES)[0].double(), votes)
        self.pushed.append(tokens)

    @precondition(lambda self: self.frames)
    @rule(pick=st.integers(0, CAPACITY - 1))
    def evict(self, pick: int) -> None:
        """A frame goes."""
        slot = list(self.frames)[pick % len(self.frames)]
        self.window.evict(slot)
        del self.frames[slot]

    @precondition(lambda self: self.frames)
    @rule(pick=st.integers(0, CAPACITY - 1), votes=st.booleans())
    def set_votes(self, pick: int, votes: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """A frame is admitted or put aside."""
        slot = list(self.frames)[pick % len(self.frames)]
        self.window.set_votes(slot, votes)
        self.frames[slot] = (self.frames[slot][0], votes)

    @invariant()
    def slots_are_those_of_the_twin(self) -> None:
        """Slots and voters are the twin's, oldest first."""
        assert list(self.window.slots) == list(self.frames)
        assert list(self.window.voters) == self.voters()

    @invariant()
    def every_squared_distance_is_true(self) -> None:
        """Each frame's distances to each voter are those of its tokens."""
        for slot, (features, _) in self.frames.items():
            peers = [voter for voter in self.voters() if voter != slot]
            if not peers:
                continue
            others = [self.frames[peer][0] for peer in peers]
            true = torch.stack([true_squares(features, other, self.locality) for other in others])
            ours = self.window.squared_distances(slot).double()
            torch.testing.assert_close(ours, true, atol=SQUARED, rtol=0.0)

    @invariant()
    def every_score_is_that_of_a_batch(self) -> None:
        """A voter scores as in a batch of the voters, another as in that batch and itself."""
        for slot in self.frames:
            batch = [slot] + [voter for voter in self.voters() if voter != slot]
            if len(batch) == 1:
                with pytest.raises(SlotError, match=f"slot {slot} "):
                    self.window.patch_scores(slot)
                continue
            features = torch.stack([self.frames[member][0] for member in batch])
            true = mutual_scores_naive(features, KEEP, locality=self.locality)[0]
            ours = self.window.patch_scores(slot).double()
            torch.testing.assert_close(ours, true, atol=SQUARED**0.5, rtol=0.0)

    def voters(self) -> list[int]:
        """The twin's voters, oldest first."""
        return [slot for slot, (_, votes) in self.frames.items() if votes]


class NearbySlidingEqualsBatch(SlidingEqualsBatch):
    """The same where a patch sees only its neighbours: 3 x 3 patches, not across the frame."""

    locality = 1


HISTORIES = settings(max_examples=25, stateful_step_count=15, deadline=None)

TestSlidingEqualsBatch = SlidingEqualsBatch.TestCase
TestSlidingEqualsBatch.settings = HISTORIES

TestNearbySlidingEqualsBatch = NearbySlidingEqualsBatch.TestCase
TestNearbySlidingEqualsBatch.settings = HISTORIES
