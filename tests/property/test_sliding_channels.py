"""A window in fewer channels scores like a batch of its projected tokens, whatever happened.

The twin projects and averages in float32, as LNAMD does, and compares in float64: what
is left of patches that cancel is known to their own precision only. Distances are
compared squared, as ``test_sliding_equals_batch`` explains.
"""

from typing import TypeAlias

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from musc.lnamd import NORM_FLOOR, aggregate, layer_normalised
from musc.projection import BASIS_FRAMES, principal_axes, project
from musc.sliding import SlidingMuSc

STAGES, SIDE, CHANNELS, DEGREES = 2, 3, 6, (1, 3)
KINDS = ("fresh", "copy", "near copy", "constant", "outlier")
Step: TypeAlias = tuple[str, int]


def drawn_tokens(kind: str, seed: int, earlier: list[Tensor]) -> Tensor:
    """Patch tokens [S, P, C] of one frame, alike to an earlier one where the kind says so."""
    source = torch.Generator().manual_seed(seed)
    fresh = torch.randn(STAGES, SIDE * SIDE, CHANNELS, generator=source)
    model = earlier[seed % len(earlier)] if earlier else fresh
    if kind == "copy":
        return model.clone()
    if kind == "near copy":
        return model + 1e-3 * fresh
    if kind == "constant":
        return torch.full_like(fresh, float(seed))
    if kind == "outlier":
        fresh[seed % STAGES, seed % (SIDE * SIDE)] += 1e4
    return fresh


def averaged(tokens: Tensor) -> Tensor:
    """Unit tokens [S, R, P, K] of stored ones [S, P, K]."""
    grid = tokens.view(STAGES, SIDE, SIDE, -1).permute(0, 3, 1, 2)
    pooled = [functional.avg_pool2d(grid, r, 1, r // 2).flatten(2).mT for r in DEGREES]
    return functional.normalize(torch.stack(pooled, dim=1), dim=-1, eps=NORM_FLOOR).double()


def true_squares(one: Tensor, other: Tensor) -> Tensor:
    """Squared distance [G, P] of each token of a frame to the nearest of another."""
    pairs = (one[..., :, None, :] - other[..., None, :, :]).square().sum(dim=-1)
    return pairs.amin(dim=-1).flatten(0, 1)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(2, 11),
    channels=st.integers(1, CHANNELS - 1),
    steps=st.lists(
        st.tuples(st.sampled_from((*KINDS, "evict")), st.integers(0, 50)), min_size=1, max_size=30
    ),
)
def test_every_squared_distance_is_that_of_projected_tokens(
    capacity: int, channels: int, steps: list[Step]
) -> None:
    """Any frames that come and go, before the axes are found and after, scored along them."""
    window = SlidingMuSc(capacity, DEGREES, channels=channels)
    frames: dict[int, Tensor] = {}  # by slot, oldest first
    pushed: list[Tensor] = []
    axes: Tensor | None = None

    for kind, seed in steps:
        if kind == "evict" and frames:
            slot = list(frames)[seed % len(frames)]
            window.evict(slot)
            del frames[slot]
            axes = axes if frames else None
        elif kind != "evict":
            pushed.append(drawn_tokens(kind, seed, pushed))
            if axes is None and len(frames) == min(capacity, BASIS_FRAMES):
                held = torch.stack([layer_normalised(one[None])[0] for one in frames.values()], 1)
                axes = principal_axes(held, channels)
            slot = window.push(pushed[-1], torch.ones(1))
            frames.pop(slot, None)
            frames[slot] = pushed[-1]

    assert window.slots == tuple(frames)
    for slot in frames if len(frames) > 1 else ():
        true = torch.stack(
            [
                true_squares(stored(frames[slot], axes), stored(frames[other], axes))
                for other in frames
                if other != slot
            ]
        )
        ours = window.squared_distances(slot).double()
        torch.testing.assert_close(ours, true, atol=1e-5, rtol=0.0)


def stored(tokens: Tensor, axes: Tensor | None) -> Tensor:
    """Unit tokens of a frame as the window has them; of channels, as LNAMD has them."""
    if axes is None:
        return aggregate(tokens[None], DEGREES)[0].double().unflatten(0, (STAGES, len(DEGREES)))
    return averaged(project(layer_normalised(tokens[None])[0], axes))
