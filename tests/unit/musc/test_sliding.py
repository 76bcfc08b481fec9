"""The sliding window: slots, votes, errors and memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from musc import msm, pair_kernel
from musc.lnamd import aggregate
from musc.pair_store import estimated_bytes
from musc.sliding import SlidingMuSc, SlotError

STAGES, PATCHES, CHANNELS = 2, 16, 12


def frames(n: int, seed: int = 0) -> Tensor:
    """Random patch tokens of n frames."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(n, STAGES, PATCHES, CHANNELS, generator=source)


def feature(value: float) -> Tensor:
    """An image feature that can be told apart."""
    return torch.tensor([value, 1.0])


def filled(tokens: Tensor, capacity: int = 8) -> SlidingMuSc:
    """A window of voters, one for each frame, in slots 0, 1, ..."""
    window = SlidingMuSc(capacity)
    for i, frame in enumerate(tokens):
        window.push(frame, feature(i))
    return window


def test_the_newest_frame_scores_as_in_a_batch() -> None:
    """After each push every frame scores as batch scoring of the frames held."""
    tokens = frames(5)
    window = SlidingMuSc(3)

    for i, frame in enumerate(tokens):
        window.push(frame, feature(i))

        if i:
            batch = msm.mutual_scores(aggregate(tokens[max(0, i - 2) : i + 1]))
            torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


def test_interpolation_is_that_of_the_batch() -> None:
    """A window that interpolates the fractional peer equals a batch that does."""
    tokens = frames(6)
    window = SlidingMuSc(6, keep_lowest=0.5, interpolate=True)
    for i, frame in enumerate(tokens):
        window.push(frame, feature(i))

    batch = msm.mutual_scores(aggregate(tokens), 0.5, interpolate=True)

    torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


def test_a_full_window_loses_its_oldest_voter() -> None:
    """The slot of the oldest voter is used again; a slot that does not vote stays."""
    window = filled(frames(3), capacity=3)
    window.set_votes(0, False)

    slot = window.push(frames(1, seed=9)[0], feature(9))

    assert slot == 1
    assert window.slots == (0, 2, 1)
    assert window.voters == (2, 1)
    assert len(window) == window.capacity == 3


def test_a_freed_slot_is_used_before_a_voter_goes() -> None:
    """Evicting makes room for one frame, and age follows the pushes, not the slots."""
    window = filled(frames(3), capacity=3)
    window.evict(1)

    slot = window.push(frames(1, seed=9)[0], feature(9))

    assert slot == 1
    assert window.slots == (0, 2, 1)


def test_full_of_non_voters_is_an_error() -> None:
    """Where nobody may go, a push is refused and names the capacity."""
    window = filled(frames(2), capacity=2)
    for slot in window.slots:
        window.set_votes(slot, False)

    with pytest.raises(SlotError, match="all 2 slots"):
        window.push(frames(1)[0], feature(9))

    assert window.slots == (0, 1)


def test_a_vote_given_later_is_exact() -> None:
    """Pairs are kept for all slots: voting later equals having voted from the start."""
    tokens = frames(5)
    always, later = SlidingMuSc(5), SlidingMuSc(5)
    for i, frame in enumerate(tokens):
        always.push(frame, feature(i))
        later.push(frame, feature(i), votes=i % 2 == 0)

    for slot in (1, 3):
        later.set_votes(slot, True)

    assert torch.equal(later.all_patch_scores(), always.all_patch_scores())


def test_a_slot_that_does_not_vote_is_scored_by_the_voters_only() -> None:
    """A suspect is scored like any frame and scores nobody."""
    tokens = frames(5)
    window = filled(tokens)
    window.set_votes(1, False)
    window.set_votes(3, False)

    with_suspect = msm.mutual_scores(aggregate(tokens[[0, 2, 4, 3]]))
    voters = msm.mutual_scores(aggregate(tokens[[0, 2, 4]]))

    torch.testing.assert_close(window.patch_scores(3), with_suspect[3], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(window.patch_scores(2), voters[1], atol=1e-5, rtol=0.0)


def test_among_restricts_the_voters() -> None:
    """Only voters among the given slots count; one that does not vote adds nothing."""
    tokens = frames(5)
    window = filled(tokens)
    window.set_votes(4, False)

    scores = window.patch_scores(0, among=iter([0, 2, 3, 4]))

    batch = msm.mutual_scores(aggregate(tokens[[0, 2, 3]]))
    torch.testing.assert_close(scores, batch[0], atol=1e-5, rtol=0.0)


def test_a_masked_pair_does_not_count_for_the_slot() -> None:
    """Masked peers are left out of the frame's score and of nobody else's."""
    tokens = frames(5)
    window = filled(tokens)
    before = window.all_patch_scores()

    window.mask_pairs(0, iter([1, 4]))

    assert window.masked_pairs(0) == {1, 4}
    assert window.masked_pairs(1) == set()
    batch = msm.mutual_scores(aggregate(tokens[[0, 2, 3]]))
    torch.testing.assert_close(window.patch_scores(0), batch[0], atol=1e-5, rtol=0.0)
    assert torch.equal(window.all_patch_scores()[1:], before[1:])
    assert len(window.squared_distances(0, among=[1, 2])) == 1


def test_a_mask_is_replaced_by_the_next() -> None:
    """What was masked before counts again, and no peers at all unmask the frame."""
    window = filled(frames(4))
    before = window.patch_scores(2)
    window.mask_pairs(2, [0])

    window.mask_pairs(2, [])

    assert window.masked_pairs(2) == set()
    assert torch.equal(window.patch_scores(2), before)


def test_a_masked_peer_may_lose_and_win_its_vote() -> None:
    """Votes come and go, the mask stays."""
    window = filled(frames(4))
    window.mask_pairs(0, [1])
    masked = window.patch_scores(0)
    window.set_votes(1, False)

    window.set_votes(1, True)

    assert torch.equal(window.patch_scores(0), masked)


def test_masks_end_with_either_frame() -> None:
    """A slot that is used again starts without masks, its own and those of others."""
    tokens = frames(4)
    window = filled(tokens, capacity=4)
    window.mask_pairs(0, [1])
    window.mask_pairs(2, [0, 3])
    window.mask_pairs(3, [1])

    window.push(tokens[0], feature(0))
    window.evict(1)
    window.push(tokens[1], feature(1))

    assert [window.masked_pairs(slot) for slot in range(4)] == [set(), set(), {3}, set()]


def test_a_frame_whose_peers_are_all_masked_has_no_score() -> None:
    """Nobody left to be compared with is an error, as without voters."""
    window = filled(frames(3))
    window.mask_pairs(1, [0, 2])

    with pytest.raises(SlotError, match="slot 1 has no voter"):
        window.patch_scores(1)


def test_squared_distances_are_in_the_order_of_the_voters() -> None:
    """One row for each voter but the frame, oldest first, whatever the order of ``among``."""
    tokens = frames(3)
    window = filled(tokens, capacity=3)
    window.evict(0)
    window.push(tokens[0], feature(0))

    rows = window.squared_distances(0, among=[2, 1])

    features = aggregate(tokens).double()
    for row, peer in zip(rows, (1, 2), strict=True):
        true = torch.cdist(features[0], features[peer]).amin(dim=-1).square()
        torch.testing.assert_close(row.double(), true, atol=1e-5, rtol=0.0)


def test_image_features_come_in_the_order_asked_for() -> None:
    """Features are copied for the given slots, in their order."""
    window = filled(frames(4))

    features = window.image_features([3, 0])
    features += 1.0

    assert window.image_features([3, 0])[:, 0].tolist() == [3.0, 0.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda window: window.patch_scores(5),
        lambda window: window.patch_scores(0, among=[0, 5]),
        lambda window: window.squared_distances(5),
        lambda window: window.set_votes(5, True),
        lambda window: window.evict(5),
        lambda window: window.mask_pairs(5, [0]),
        lambda window: window.mask_pairs(0, [1, 5]),
        lambda window: window.masked_pairs(5),
        lambda window: window.image_features([0, 5]),
    ],
)
def test_a_slot_that_is_not_there_is_named(call: Callable[[SlidingMuSc], object]) -> None:
    """Every call with a slot that holds no frame names the slot and those that do."""
    window = filled(frames(2))

    with pytest.raises(SlotError, match=r"slot 5 is not occupied, occupied are \[0, 1\]"):
        call(window)


def test_an_evicted_slot_is_gone() -> None:
    """After eviction the slot is unknown until it is used again."""
    window = filled(frames(3))
    window.evict(1)

    with pytest.raises(SlotError, match="slot 1 is not occupied"):
        window.patch_scores(1)


def test_nobody_to_be_compared_with_is_an_error() -> None:
    """A frame without another voter has no score, and the error names it."""
    window = filled(frames(2))
    window.set_votes(1, False)

    with pytest.raises(SlotError, match="slot 0 has no voter"):
        window.patch_scores(0)
    with pytest.raises(SlotError, match="slot 1 has no voter"):
        window.patch_scores(1, among=[1])
    with pytest.raises(SlotError, match="slot 0 has no voter"):
        window.all_patch_scores()


def test_an_empty_window_has_no_scores() -> None:
    """Scores and features of nothing are refused, not empty."""
    window = SlidingMuSc(4)

    with pytest.raises(SlotError, match="0 of 4 slots"):
        window.all_patch_scores()
    with pytest.raises(SlotError, match="no slot is given"):
        window.image_features([])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("held", [0, 3])
def test_numbers_that_are_not_finite_are_refused(value: float, held: int) -> None:
    """One bad token or feature refuses the frame, and the window stays as it was."""
    window = filled(frames(held), capacity=3)
    bad = frames(1)[0]
    bad[1, 2, 3] = value

    with pytest.raises(ValueError, match="not finite"):
        window.push(bad, feature(0.0))
    with pytest.raises(ValueError, match="not finite"):
        window.push(frames(1)[0], feature(value))

    assert window.slots == tuple(range(held))
    assert window.push(frames(1)[0], feature(0.0)) == held % 3


def test_another_shape_than_the_first_is_refused() -> None:
    """A frame unlike the first one is refused with both shapes."""
    window = filled(frames(2))

    with pytest.raises(ValueError, match=r"\(2, 9, 12\) and \(2,\), wanted \(2, 16, 12\) and \(2,"):
        window.push(torch.zeros(2, 9, 12), feature(0.0))
    with pytest.raises(ValueError, match=r"\(2, 16, 12\) and \(3,\), wanted"):
        window.push(frames(1)[0], torch.zeros(3))

    assert window.slots == (0, 1)


def test_a_batch_is_no_frame() -> None:
    """A first push with a batch axis is refused by its shape."""
    with pytest.raises(ValueError, match=r"wanted \[S, P, C\] and \[D\]"):
        SlidingMuSc(4).push(frames(1), feature(0.0))


def test_a_push_that_fails_half_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last product runs out of memory, slots, votes and scores are as before."""
    window = filled(frames(4), capacity=4)
    before = window.all_patch_scores()
    calls: list[int] = []

    def failing(*args: Any) -> None:
        calls.append(1)
        if len(calls) == STAGES:
            raise MemoryError
        box_maxima(*args)

    box_maxima = pair_kernel.box_maxima
    monkeypatch.setattr(pair_kernel, "box_maxima", failing)

    with pytest.raises(MemoryError):
        window.push(frames(1, seed=9)[0], feature(9))

    assert window.slots == window.voters == (0, 1, 2, 3)
    assert torch.equal(window.all_patch_scores(), before)


def test_copies_score_zero_in_half_precision() -> None:
    """Stored as float16, identical frames are still at distance 0, and others stay near."""
    tokens = frames(5)
    half = SlidingMuSc(6, dtype=torch.float16)
    for frame in (*tokens, tokens[0]):
        half.push(frame, feature(0.0))

    scores = half.all_patch_scores()

    batch = msm.mutual_scores(aggregate(torch.cat([tokens, tokens[:1]])))
    assert scores.dtype == torch.float32
    assert torch.equal(scores[0], torch.zeros(PATCHES))
    torch.testing.assert_close(scores, batch, atol=2e-3, rtol=0.0)


def test_inference_mode_may_come_and_go() -> None:
    """A window filled inside inference mode can be filled further outside, and back."""
    tokens = frames(4)
    window = SlidingMuSc(3)
    for i, frame in enumerate(tokens):
        with torch.inference_mode(mode=i % 2 == 0):
            window.push(frame * 1.0, feature(i))

    batch = msm.mutual_scores(aggregate(tokens[1:]))

    torch.testing.assert_close(window.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


def test_gradients_are_not_kept() -> None:
    """Tokens that want gradients are taken in as numbers."""
    window = filled(frames(2).requires_grad_(), capacity=2)

    assert not window.all_patch_scores().requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_memory_is_known_beforehand(dtype: torch.dtype) -> None:
    """The estimate is the bytes of tokens, norms and pairs that a window holds."""
    window = SlidingMuSc(5, (1, 3), dtype=dtype)
    window.push(frames(1)[0], feature(0.0))

    estimate = estimated_bytes(5, STAGES, PATCHES, CHANNELS, (1, 3), dtype)

    assert estimate == window.held_bytes
    assert SlidingMuSc(5).held_bytes == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capacity": 1}, "capacity is 1"),
        ({"capacity": 4, "keep_lowest": 0.0}, "keep_lowest is 0.0"),
    ],
)
def test_misuse_is_named(arguments: dict[str, float], message: str) -> None:
    """A window without room for a peer, or a share that keeps nobody, is refused by name."""
    with pytest.raises(ValueError, match=message):
        SlidingMuSc(**arguments)  # type: ignore[arg-type]  # wrong values are the point


def test_unit_features_find_themselves() -> None:
    """Image features come back as they went in, so rescoring finds each frame itself."""
    features = functional.normalize(frames(3)[:, 0, 0], dim=-1)
    window = SlidingMuSc(3)
    for frame, image_feature in zip(frames(3), features, strict=True):
        window.push(frame, image_feature)

    assert torch.equal(window.image_features(window.slots), features)
