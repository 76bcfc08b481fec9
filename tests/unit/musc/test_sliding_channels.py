"""The sliding window in fewer channels: when the axes are found, and what they change."""

import pytest
import torch
from torch import Tensor

from musc import msm
from musc.lnamd import NORM_FLOOR, aggregate, layer_normalised
from musc.pair_memory import PairMemory
from musc.pair_store import estimated_bytes
from musc.projection import BASIS_FRAMES, principal_axes
from musc.sliding import SlidingMuSc

STAGES, PATCHES, CHANNELS, KEPT = 2, 16, 12, 5
DEGREES = (1, 3)
FEATURE = torch.tensor([1.0, 0.0])


def frames(n: int, seed: int = 0, rank: int = CHANNELS) -> Tensor:
    """Tokens [n, S, P, C] of n frames in so many directions."""
    source = torch.Generator().manual_seed(seed)
    mixed = torch.randn(STAGES, rank, CHANNELS, generator=source)
    return torch.randn(n, STAGES, PATCHES, rank, generator=source) @ mixed


def window(capacity: int = 12, channels: int | None = KEPT, **more: PairMemory) -> SlidingMuSc:
    """An empty window."""
    return SlidingMuSc(capacity, DEGREES, channels=channels, **more)


def pushed(into: SlidingMuSc, tokens: Tensor) -> list[int]:
    """The slots of frames that were pushed one after the other."""
    return [into.push(frame, FEATURE) for frame in tokens]


def axes_of(tokens: Tensor, channels: int = KEPT) -> Tensor:
    """Axes of frames [n, S, P, C]."""
    return principal_axes(layer_normalised(tokens).transpose(0, 1), channels)


def batch_scores(tokens: Tensor, axes: Tensor, locality: int | None = None) -> Tensor:
    """Batch mutual scores [n, P] of frames [n, S, P, C] along axes, in float64."""
    projected = layer_normalised(tokens.double()) @ axes.double()
    side = int(PATCHES**0.5)
    groups = []
    for stage in projected.unbind(1):
        grid = stage.view(-1, side, side, axes.shape[-1]).permute(0, 3, 1, 2)
        for r in DEGREES:
            pooled = torch.nn.functional.avg_pool2d(grid, r, 1, r // 2).flatten(2).mT
            groups.append(torch.nn.functional.normalize(pooled, dim=-1, eps=NORM_FLOOR))
    return msm.mutual_scores_naive(torch.stack(groups, dim=1), locality=locality)


def test_a_window_scores_as_a_batch_of_projected_tokens() -> None:
    """After each push from the ninth on, every frame scores as its projected tokens do."""
    tokens = frames(20)
    held = window()
    axes = axes_of(tokens[:BASIS_FRAMES])
    pushed(held, tokens[:BASIS_FRAMES])

    for i in range(BASIS_FRAMES, len(tokens)):
        held.push(tokens[i], FEATURE)

        batch = batch_scores(tokens[max(0, i - 11) : i + 1], axes)
        torch.testing.assert_close(held.all_patch_scores().double(), batch, atol=1e-5, rtol=0.0)


def test_the_first_frames_are_compared_in_all_channels() -> None:
    """Until eight frames are held there are no axes, and scores are the exact ones."""
    tokens = frames(BASIS_FRAMES)
    held = window()

    pushed(held, tokens)

    assert held.axes is None
    batch = msm.mutual_scores(aggregate(tokens, DEGREES))
    torch.testing.assert_close(held.all_patch_scores(), batch, atol=1e-5, rtol=0.0)


def test_the_axes_are_those_of_the_first_frames() -> None:
    """They come with the ninth push, from the eight before it, and stay."""
    tokens = frames(20)
    held = window()

    pushed(held, tokens[: BASIS_FRAMES + 1])
    first = held.axes
    pushed(held, tokens[BASIS_FRAMES + 1 :])

    assert first is not None
    assert torch.equal(first, axes_of(tokens[:BASIS_FRAMES]))
    assert held.axes is first


def test_a_small_window_takes_the_frames_it_has() -> None:
    """A window of fewer than eight slots finds its axes when it is full."""
    tokens = frames(6)
    held = window(capacity=3)

    pushed(held, tokens)

    batch = batch_scores(tokens[3:], axes_of(tokens[:3]))
    torch.testing.assert_close(held.all_patch_scores().double(), batch, atol=1e-5, rtol=0.0)


def test_tokens_of_few_directions_lose_nothing() -> None:
    """Where the tokens lie in a subspace of that size, scores are the exact ones."""
    tokens = frames(14, rank=KEPT - 1)  # taking the mean away adds a direction
    few, all_channels = window(), window(channels=None)

    pushed(few, tokens)
    pushed(all_channels, tokens)

    for slot in few.slots:
        ours, exact = few.squared_distances(slot), all_channels.squared_distances(slot)
        torch.testing.assert_close(ours, exact, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("channels", [CHANNELS, CHANNELS + 1])
def test_as_many_channels_as_there_are_change_nothing(channels: int) -> None:
    """Nothing is projected then, and scores are equal bit by bit."""
    tokens = frames(14)
    held, plain = window(channels=channels), window(channels=None)

    pushed(held, tokens)
    pushed(plain, tokens)

    assert held.axes is None
    assert torch.equal(held.all_patch_scores(), plain.all_patch_scores())


@pytest.mark.parametrize("at", [0, 4, 7, 8, 9, 13])
def test_a_frame_taken_out_again_leaves_no_trace(at: int) -> None:
    """Whenever a frame comes and goes at once, later scores are equal bit by bit."""
    tokens, stranger = frames(14), frames(1, seed=9)[0]
    visited, plain = window(capacity=16), window(capacity=16)

    pushed(visited, tokens[:at])
    visited.evict(visited.push(stranger, FEATURE))
    pushed(visited, tokens[at:])
    pushed(plain, tokens)

    assert torch.equal(visited.all_patch_scores(), plain.all_patch_scores())


def test_what_is_read_between_pushes_changes_nothing() -> None:
    """The same pushes give the same scores, bit by bit, whatever is asked in between."""
    tokens = frames(14)
    asked, silent = window(), window()

    for i, frame in enumerate(tokens):
        asked.push(frame, FEATURE)
        if i:
            asked.all_patch_scores()
    pushed(silent, tokens)

    assert torch.equal(asked.all_patch_scores(), silent.all_patch_scores())


def test_an_emptied_window_finds_new_axes() -> None:
    """Once every frame has gone, the next ones are compared as in a new window."""
    held, new = window(), window()
    pushed(held, frames(14))
    others = frames(14, seed=3)

    for slot in held.slots:
        held.evict(slot)
    emptied = held.axes
    pushed(held, others)
    pushed(new, others)

    assert emptied is None
    assert torch.equal(held.all_patch_scores(), new.all_patch_scores())


def test_slots_votes_and_features_stay_where_they_are() -> None:
    """Finding the axes moves no frame: age, votes, masks and image features are kept."""
    tokens = frames(BASIS_FRAMES + 2)
    held = window()
    for i, frame in enumerate(tokens[:BASIS_FRAMES]):
        held.push(frame, torch.tensor([float(i), 1.0]), votes=i != 3)
    held.evict(2)
    held.push(tokens[BASIS_FRAMES], torch.tensor([8.0, 1.0]))
    held.mask_pairs(0, [1])
    slots, voters = held.slots, held.voters

    held.push(tokens[-1], FEATURE)

    assert held.axes is not None
    assert held.slots == (*slots, BASIS_FRAMES)
    assert held.voters == (*voters, BASIS_FRAMES)
    assert held.masked_pairs(0) == {1}
    assert held.image_features(slots)[:, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8]


def test_a_push_that_is_refused_finds_no_axes() -> None:
    """A ninth frame that is not finite leaves all channels and all scores as they were."""
    held = window()
    pushed(held, frames(BASIS_FRAMES))
    before = held.all_patch_scores()

    with pytest.raises(ValueError, match="not finite"):
        held.push(torch.full((STAGES, PATCHES, CHANNELS), torch.nan), FEATURE)

    assert held.axes is None
    assert torch.equal(held.all_patch_scores(), before)


def test_a_memory_of_pairs_changes_nothing() -> None:
    """Pairs along axes are remembered too, and never taken for those of other axes."""
    memory = PairMemory(1 << 24)
    tokens = frames(14)
    first, again, other, plain = (
        window(memory=memory), window(memory=memory), window(memory=memory), window()
    )  # fmt: skip

    pushed(first, tokens)
    pushed(other, frames(14, seed=5))
    known = memory.pairs.hits
    pushed(again, tokens)
    pushed(plain, tokens)

    assert memory.pairs.hits > known
    assert torch.equal(again.all_patch_scores(), plain.all_patch_scores())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_memory_is_known_beforehand(dtype: torch.dtype) -> None:
    """A full window holds what was estimated, and before the axes less than all channels."""
    held = SlidingMuSc(12, DEGREES, channels=KEPT, dtype=dtype)
    shape = (STAGES, PATCHES, CHANNELS, DEGREES, dtype)

    pushed(held, frames(BASIS_FRAMES))
    early = held.held_bytes
    pushed(held, frames(4, seed=1))

    assert early == estimated_bytes(BASIS_FRAMES, *shape)
    assert held.held_bytes == estimated_bytes(12, *shape, kept=KEPT)
    assert estimated_bytes(12, *shape, kept=CHANNELS) == estimated_bytes(12, *shape)


def test_half_precision_stays_near() -> None:
    """Stored as float16, tokens along axes score as those of float32 within 2e-3."""
    tokens = frames(14)
    half, single = SlidingMuSc(12, DEGREES, channels=KEPT, dtype=torch.float16), window()

    pushed(half, tokens)
    pushed(single, tokens)

    ours, true = half.all_patch_scores(), single.all_patch_scores()
    torch.testing.assert_close(ours, true, atol=2e-3, rtol=0.0)


@pytest.mark.parametrize("locality", [0, 1])
def test_a_locality_goes_with_fewer_channels(locality: int) -> None:
    """With both, a frame scores as its projected tokens do near their own position."""
    tokens = frames(14)
    held = SlidingMuSc(12, DEGREES, locality=locality, channels=KEPT)

    pushed(held, tokens)

    batch = batch_scores(tokens[2:], axes_of(tokens[:BASIS_FRAMES]), locality)
    torch.testing.assert_close(held.all_patch_scores().double(), batch, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("ninth", [True, False])
def test_inference_mode_may_come_and_go(ninth: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Axes found inside inference mode serve outside, and the other way round."""
    tokens = frames(14)
    held, plain = window(), window()

    for i, frame in enumerate(tokens):
        with torch.inference_mode(mode=(i % 2 == 0) == ninth):
            held.push(frame * 1.0, FEATURE)
    pushed(plain, tokens)

    assert torch.equal(held.all_patch_scores(), plain.all_patch_scores())


def test_no_channel_is_refused() -> None:
    """A window that keeps no channel is refused with the figure."""
    with pytest.raises(ValueError, match="channels is 0"):
        window(channels=0)
