"""The fast comparison of two frames equals averaging first, in squared distance to 1e-5.

The frames are as bad as streams make them: copies, near copies, constant frames and
tokens a thousand times longer than the others, on grids of any size, with degrees
that fit or do not. Whole windows, with evictions, votes and masks, are held to the
batch in ``test_sliding_equals_batch``.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musc.pair_kernel import Centred, PairKernel, centre, compare_naive

KINDS = ("fresh", "alike", "copy", "near copy", "constant", "outlier")


def drawn_frames(kinds: list[str], side: int, channels: int, seed: int) -> Tensor:
    """Patch tokens [n, 1, P, C], a frame for each kind; copies are of the first."""
    source = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(kinds), 1, side * side, channels, generator=source)
    shared = torch.randn(channels, generator=source)
    for i, kind in enumerate(kinds):
        if kind == "alike":
            frames[i] += 3.0 * shared
        elif kind == "copy":
            frames[i] = frames[0]
        elif kind == "near copy":
            frames[i] = frames[0] + 1e-3 * frames[i]
        elif kind == "constant":
            frames[i] = float(seed)
        elif kind == "outlier":
            frames[i, :, seed % (side * side)] *= 1e3
    return frames


@settings(max_examples=150, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=6),
    side=st.integers(1, 9),
    channels=st.integers(2, 40),
    degrees=st.lists(st.sampled_from([1, 3, 5, 7, 9]), min_size=1, max_size=5, unique=True),
    locality=st.none() | st.integers(0, 8),
    seed=st.integers(0, 2**16),
)
def test_fast_equals_averaging_first(
    kinds: list[str],
    side: int,
    channels: int,
    degrees: list[int],
    locality: int | None,
    seed: int,
) -> None:
    """Any two frames, both ways, in every degree."""
    tokens = drawn_frames(kinds, side, channels, seed)
    frames = [centre(frame, degrees, torch.float32) for frame in tokens]
    many = Centred(*(torch.stack(part, dim=1) for part in zip(*frames[1:], strict=True)))

    ours = PairKernel(degrees, locality).compare(frames[0], many, range(len(kinds) - 1))

    true = compare_naive(tokens[0], tokens[1:], degrees, locality)
    for one, other in zip(ours, true, strict=True):
        torch.testing.assert_close(2 * one.double(), 2 * other, atol=1e-5, rtol=0.0)
