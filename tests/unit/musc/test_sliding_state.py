"""A window that is written down and taken up again goes on as if nothing had happened."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musc.pair_memory import PairMemory
from musc.sliding import SlidingMuSc

STAGES, PATCHES, CHANNELS, CAPACITY = 2, 16, 12, 12


def frame(number: int) -> tuple[Tensor, Tensor]:
    """Tokens [S, P, C] and an image feature that its number decides."""
    source = torch.Generator().manual_seed(number)
    tokens = torch.randn(STAGES, PATCHES, CHANNELS, generator=source)
    return tokens, torch.randn(3, generator=source)


def window(**settings: Any) -> SlidingMuSc:
    """An empty window."""
    return SlidingMuSc(CAPACITY, (1, 3), **settings)


def lived(held: SlidingMuSc, first: int, last: int) -> list[Tensor]:
    """All scores after each of some frames, with votes, evictions and masks between them."""
    seen = []
    for number in range(first, last):
        chance = np.random.default_rng(number)
        slot = held.push(*frame(number))
        others = [one for one in held.slots if one != slot]
        if number % 3 == 0 and len(others) > 3:
            held.set_votes(int(chance.choice(others)), votes=False)
        if number % 5 == 0 and len(others) > 3:
            held.evict(others.pop(int(chance.integers(len(others)))))
        if len(held.voters) > 3:
            held.mask_pairs(slot, [one for one in others if one in held.slots][:1])
            seen.append(held.all_patch_scores())
    return seen


def copied(state: dict[str, Tensor], **changed: Tensor) -> dict[str, Tensor]:
    """A state with some tensors changed."""
    return {**state, **changed}


@pytest.mark.parametrize("settings", [{}, {"locality": 1}, {"channels": 5}])
@pytest.mark.parametrize("stop", [0, 1, 4, 9, 30])
def test_restored_window_goes_on_bit_by_bit(stop: int, settings: dict[str, Any]) -> None:
    """Wherever it is stopped, all later scores are those of the window that was not."""
    uninterrupted, before, after = (window(**settings) for _ in range(3))
    lived(uninterrupted, 0, stop)
    lived(before, 0, stop)

    after.restore(before.state())

    assert (after.slots, after.voters) == (uninterrupted.slots, uninterrupted.voters)
    one, other = lived(after, stop, stop + 40), lived(uninterrupted, stop, stop + 40)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_state_is_a_copy() -> None:
    """What a window does after its state was taken does not show in the state."""
    held, same = window(), window()
    lived(held, 0, 20)
    lived(same, 0, 20)
    state = held.state()

    lived(held, 20, 40)

    expected = same.state()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_restored_window_knows_its_frames_in_a_memory() -> None:
    """Pairs with restored frames are found in a memory as those with pushed ones."""
    memory = PairMemory(10_000_000)
    first, second = window(memory=memory), window(memory=memory)
    for number in range(4):
        first.push(*frame(number))
    second.restore(first.state())
    first.push(*frame(4))
    asked = memory.pairs.misses

    second.push(*frame(4))

    assert memory.pairs.misses == asked


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"slots": torch.tensor([0, 1, 2, 2])}, "slots"),
        ({"slots": torch.tensor([0, 1, 2, CAPACITY])}, "slots"),
        ({"rule": torch.tensor([-1, -1, 1, 5])}, "rule"),
        ({"nearest": torch.zeros(4, 3, 4, PATCHES)}, "nearest"),
        ({"tokens": torch.zeros(STAGES, 4, PATCHES, CHANNELS).half()}, "tokens"),
        ({"image_features": torch.zeros(3, 3)}, "image_features"),
        ({"votes": torch.ones(3, dtype=torch.bool)}, "votes"),
        ({"masked": torch.tensor([[0, 9]])}, "masked"),
        ({"shapes": torch.tensor([1, 2])}, "shapes"),
        ({"inverse": torch.zeros(STAGES, 4, 3, PATCHES)}, "inverse"),
    ],
)
def test_state_that_does_not_fit_changes_nothing(changed: dict[str, Tensor], told: str) -> None:
    """It is refused with what is wrong, and the window stays as it was."""
    held, other = window(), window()
    for number in range(4):
        held.push(*frame(number))
    other.push(*frame(9))

    with pytest.raises(ValueError, match=told):
        other.restore(copied(held.state(), **changed))

    assert other.slots == (0,)


def test_missing_tensor_is_named() -> None:
    """A state that lacks something is refused with its name."""
    held = window()
    held.push(*frame(1))
    state = held.state()
    del state["half_squares"]

    with pytest.raises(ValueError, match="half_squares: missing"):
        window().restore(state)
