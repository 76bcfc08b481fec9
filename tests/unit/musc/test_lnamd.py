"""LNAMD: aggregation of patch tokens."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musc.lnamd import aggregate, aggregate_naive


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(1, 3),
    stages=st.integers(1, 3),
    side=st.integers(1, 8),
    degrees=st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_equals_the_naive_twin(
    frames: int, stages: int, side: int, degrees: list[int], seed: int
) -> None:
    """Pooling all frames at once equals loops over every patch, for every grid and degree."""
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randn(frames, stages, side * side, 6, generator=source) + 3.0

    fast, naive = aggregate(tokens, degrees), aggregate_naive(tokens, degrees)

    assert fast.shape == (frames, stages * len(degrees), side * side, 6)
    torch.testing.assert_close(fast.double(), naive, atol=2e-5, rtol=0.0)


def test_groups_are_stage_major() -> None:
    """Group s * len(degrees) + d holds stage s at degree d."""
    tokens = torch.randn(1, 2, 16, 5, generator=torch.Generator().manual_seed(0))

    groups = aggregate(tokens, (1, 3))

    for s in (0, 1):
        for d, r in enumerate((1, 3)):
            alone = aggregate(tokens[:, s : s + 1], (r,))
            torch.testing.assert_close(groups[:, 2 * s + d], alone[:, 0])


def test_tokens_have_unit_length() -> None:
    """Every token of an ordinary frame comes out with length 1."""
    tokens = torch.randn(2, 2, 25, 8, generator=torch.Generator().manual_seed(1))

    lengths = aggregate(tokens).norm(dim=-1)

    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1234.567])
def test_constant_frames_give_zero_tokens(value: float) -> None:
    """A frame of one value has no direction: its tokens are exactly 0 and finite."""
    tokens = torch.full((1, 2, 49, 24), value)

    groups = aggregate(tokens)

    assert torch.equal(groups, torch.zeros_like(groups))


def test_half_precision_is_computed_in_float32() -> None:
    """Tokens in float16 give what their float32 values give."""
    tokens = torch.randn(1, 1, 16, 8, generator=torch.Generator().manual_seed(2)).half()

    assert torch.equal(aggregate(tokens), aggregate(tokens.float()))


def test_a_frame_with_nan_has_no_finite_token() -> None:
    """One NaN anywhere in a stage reaches every token of that stage and no other frame."""
    tokens = torch.randn(2, 1, 16, 4, generator=torch.Generator().manual_seed(3))
    tokens[0, 0, 5, 2] = torch.nan

    groups = aggregate(tokens)

    assert groups[0].isnan().all()
    assert groups[1].isfinite().all()


@pytest.mark.parametrize("step", [aggregate, aggregate_naive])
@pytest.mark.parametrize(
    ("shape", "degrees", "message"),
    [
        ((1, 1, 15, 4), (1,), "15 patches"),
        ((1, 1, 0, 4), (1,), "0 patches"),
        ((1, 16, 4), (1,), r"\(1, 16, 4\)"),
        ((1, 1, 16, 4), (1, 2), r"degrees are \(1, 2\)"),
        ((1, 1, 16, 4), (-1,), r"degrees are \(-1,\)"),
        ((1, 1, 16, 4), (), r"degrees are \(\)"),
    ],
)
def test_misuse_is_named(
    step: Callable[[Tensor, tuple[int, ...]], Tensor],
    shape: tuple[int, ...],
    degrees: tuple[int, ...],
    message: str,
) -> None:
    """A grid that is not square or a degree that has no centre is refused by name."""
    tokens = torch.zeros(shape)

    with pytest.raises(ValueError, match=message):
        step(tokens, degrees)
