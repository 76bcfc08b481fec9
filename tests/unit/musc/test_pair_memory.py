"""Pairs that were compared before: the same numbers by the bit, within a number of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musc.pair_kernel import PairKernel, centre
from musc.pair_memory import PairMemory, TensorMemory, frame_digest
from musc.sliding import SlidingMuSc

if TYPE_CHECKING:
    from torch import Tensor

STAGES, PATCHES, CHANNELS, DEGREES = 2, 16, 8, (1, 3)
PAIR_BYTES = 2 * STAGES * len(DEGREES) * PATCHES * 4


def tokens(seed: int) -> Tensor:
    """Patch tokens [S, P, C] that share a direction, as real ones do."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(STAGES, PATCHES, CHANNELS, generator=source) + 2.0


def window(memory: PairMemory | None, locality: int | None = None) -> SlidingMuSc:
    """A window of four frames."""
    return SlidingMuSc(4, DEGREES, 0.5, locality=locality, memory=memory)


def digest(seed: int, degrees: tuple[int, ...] = DEGREES, locality: int | None = None) -> bytes:
    """Digest of the frame of that seed."""
    frame = centre(tokens(seed), degrees, torch.float32)
    return frame_digest(frame, PairKernel(degrees, locality).rule)


@settings(max_examples=40, deadline=None)
@given(
    stream=st.lists(st.integers(0, 7), min_size=2, max_size=14),
    limit_pairs=st.sampled_from([1, 3, 1000]),
    locality=st.sampled_from([None, 1]),
)
def test_scores_with_a_memory_are_those_without(
    stream: list[int], limit_pairs: int, locality: int | None
) -> None:
    """Two passes of any stream, frames that repeat too, score as without a memory, by the bit."""
    memory = PairMemory(limit_pairs * PAIR_BYTES)
    first, second, plain = (
        window(memory, locality),
        window(memory, locality),
        window(None, locality),
    )

    for held in (first, second, plain):
        for seed in stream:
            held.push(tokens(seed), tokens(seed)[0, 0])

    assert torch.equal(first.all_patch_scores(), plain.all_patch_scores())
    assert torch.equal(second.all_patch_scores(), plain.all_patch_scores())
    assert memory.pairs.nbytes <= limit_pairs * PAIR_BYTES


def test_second_window_compares_nothing() -> None:
    """Where every pair is known, none is computed again."""
    memory = PairMemory(100 * PAIR_BYTES)
    first = window(memory)
    for seed in range(4):
        first.push(tokens(seed), tokens(seed)[0, 0])
    asked = memory.pairs.misses

    again = window(memory)
    for seed in range(4):
        again.push(tokens(seed), tokens(seed)[0, 0])

    assert (asked, memory.pairs.misses, memory.pairs.hits) == (6, 6, 6)
    assert (len(memory.pairs), memory.pairs.nbytes) == (6, 6 * PAIR_BYTES)


def test_frame_that_came_before_is_not_made_ready_again() -> None:
    """With room for frames the second window asks the memory, and scores the same by the bit."""
    memory = PairMemory(100 * PAIR_BYTES, 1_000_000)
    assert memory.frames is not None
    first, second, plain = window(memory), window(memory), window(None)

    for held in (first, second, plain):
        for seed in range(4):
            held.push(tokens(seed), tokens(seed)[0, 0])

    assert (memory.frames.misses, memory.frames.hits) == (4, 4)
    assert torch.equal(second.all_patch_scores(), plain.all_patch_scores())


def test_frame_made_ready_by_another_rule_is_another_frame() -> None:
    """A window with other degrees takes nothing that was made ready for this one."""
    memory = PairMemory(100 * PAIR_BYTES, 1_000_000)
    assert memory.frames is not None
    held, other = window(memory), SlidingMuSc(4, (1, 5), 0.5, memory=memory)

    for one in (held, other):
        one.push(tokens(0), tokens(0)[0, 0])

    assert (memory.frames.misses, memory.frames.hits) == (2, 0)


def test_evicted_frame_leaves_its_pairs_in_the_memory() -> None:
    """A frame that went and comes again is not compared again with those that stayed."""
    memory = PairMemory(100 * PAIR_BYTES)
    held = window(memory)
    stays = held.push(tokens(0), tokens(0)[0, 0])
    held.evict(held.push(tokens(1), tokens(1)[0, 0]))
    before = held.push(tokens(1), tokens(1)[0, 0])

    scores = held.patch_scores(before)

    assert (memory.pairs.hits, memory.pairs.misses) == (1, 1)
    assert torch.equal(scores, held.patch_scores(before, among=[stays]))


@pytest.mark.parametrize(
    ("degrees", "locality"), [((1,), None), ((1, 5), None), (DEGREES, 0), (DEGREES, 1)]
)
def test_another_rule_is_another_frame(degrees: tuple[int, ...], locality: int | None) -> None:
    """Degrees and locality are part of a frame's digest: their numbers are others."""
    frames = {digest(0), digest(1), digest(0, degrees, locality)}

    assert len(frames) == 3
    assert digest(0) == digest(0)


def test_one_changed_number_is_another_frame() -> None:
    """A single number in a single token that differs makes another digest."""
    frame = centre(tokens(0), DEGREES, torch.float32)
    changed = frame._replace(tokens=frame.tokens.clone())
    changed.tokens[-1, -1, -1] += 1e-6

    assert frame_digest(changed, "rule") != frame_digest(frame, "rule")


def test_half_precision_is_digested() -> None:
    """Stored types that NumPy does not know have digests too, each its own."""
    digests = {
        frame_digest(centre(tokens(0), DEGREES, dtype), "rule")
        for dtype in (torch.float32, torch.float16, torch.bfloat16)
    }

    assert len(digests) == 3


def test_least_recently_used_goes_first() -> None:
    """What is asked for stays; the oldest that was not makes room."""
    memory: TensorMemory[str] = TensorMemory(limit_bytes=2 * 8)
    one, two, three = (torch.full((2,), float(k)) for k in (1, 2, 3))
    memory.put("one", one)
    memory.put("two", two)
    memory.get("one")

    memory.put("three", three)

    assert memory.get("two") is None
    held = memory.get("one")
    assert held is not None
    assert held[0] is one
    assert (memory.nbytes, len(memory)) == (16, 2)


def test_what_is_larger_than_the_memory_is_not_held() -> None:
    """A tensor above the limit pushes nobody out."""
    memory: TensorMemory[str] = TensorMemory(limit_bytes=8)
    memory.put("small", torch.zeros(2))

    memory.put("large", torch.zeros(3))

    assert memory.get("large") is None
    assert memory.get("small") is not None


def test_put_again_replaces() -> None:
    """A key put twice counts once, with the later tensors."""
    memory: TensorMemory[str] = TensorMemory(limit_bytes=100)
    memory.put("key", torch.zeros(4))

    memory.put("key", torch.ones(1), torch.ones(1))

    held = memory.get("key")
    assert held is not None
    assert len(held) == 2
    assert memory.nbytes == 8


def test_no_room_is_refused() -> None:
    """A memory without a byte is a mistake of the caller."""
    with pytest.raises(ValueError, match="limit_bytes is 0"):
        PairMemory(0)
