"""A sliding window as plain tensors, and the window that they are again.

All that later scores depend on is written down: tokens, averages and pairs of every
occupied slot, whose turn it is to go, votes, pairs that are left out, chosen axes. The
frames return to the slots that they had, so a restored window compares the same rows
in the same products as the one that went on: its scores are the same bit by bit, and
nothing is computed again.

This module knows no files; what is saved where is somebody else's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from musc.pair_kernel import Centred, PairKernel, centre
from musc.pair_memory import PairMemory
from musc.pair_store import PairStore

Shapes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Of tokens and image feature."""


class Rules(NamedTuple):
    """What a window was made with, and a state must fit."""

    capacity: int
    degrees: tuple[int, ...]
    locality: int | None
    channels: int | None
    dtype: torch.dtype
    device: torch.device
    kernel: PairKernel
    memory: PairMemory | None

    def centred(self, tokens: Tensor, axes: Tensor | None) -> Centred:
        """Make a frame's tokens [S, P, C] ready for comparison, as ``pair_kernel.centre``."""
        if self.memory is None or axes is not None:
            return centre(tokens, self.degrees, self.dtype, axes)
        return self.memory.centred(
            tokens,
            f"{self.kernel.rule} stored {self.dtype}",
            lambda: centre(tokens, self.degrees, self.dtype),
        )


class Contents(NamedTuple):
    """What a window holds."""

    votes: dict[int, bool]
    """Occupied slots, oldest first."""
    masked: dict[int, frozenset[int]]
    rings: PairStore | None
    shapes: Shapes | None


def check_shapes(shapes: Shapes, known: Shapes | None) -> None:
    """Refuse a frame unlike the first.

    Raises:
        ValueError: The message names both shapes.
    """
    if known is None and tuple(map(len, shapes)) != (3, 1):
        wanted = "[S, P, C] and [D]"
    elif known is not None and shapes != known:
        wanted = f"{known[0]} and {known[1]} as at the first push"
    else:
        return
    msg = f"tokens and image_feature have the shapes {shapes[0]} and {shapes[1]}, wanted {wanted}"
    raise ValueError(msg)


def packed(contents: Contents, rules: Rules) -> dict[str, Tensor]:
    """Copy a window's contents, n frames in all.

    Returns:
        On the window's device: ``slots`` and ``votes`` [n], oldest first; ``masked`` [m, 2],
        a slot and who does not count for it; ``shapes`` of a pushed frame, [4] or none;
        ``rule``, what pairs depend on; with n > 0 also what ``PairStore.state`` returns.
    """
    slots = list(contents.votes)
    pairs = [(own, peer) for own, peers in contents.masked.items() for peer in sorted(peers)]
    state = {
        "slots": torch.tensor(slots, dtype=torch.long),
        "votes": torch.tensor(list(contents.votes.values()), dtype=torch.bool),
        "masked": torch.tensor(pairs, dtype=torch.long).view(-1, 2),
        "shapes": torch.tensor([size for one in contents.shapes or () for size in one]).long(),
        "rule": torch.tensor(_rule(rules)),
    }
    return state | (contents.rings.state(slots) if contents.rings and slots else {})


def unpacked(state: Mapping[str, Tensor], rules: Rules) -> Contents:
    """Return the contents that gave ``state``, on the rules' device.

    Raises:
        ValueError: Something is missing, of another shape or type, or was made by other rules.
    """
    if _numbers(state, "rule") != _rule(rules):
        wanted = f"degrees {rules.degrees}, locality {rules.locality}, channels {rules.channels}"
        msg = f"rule: {_numbers(state, 'rule')}, this window is {_rule(rules)}: {wanted}"
        raise ValueError(msg)
    slots, votes = _numbers(state, "slots"), _numbers(state, "votes")
    if len({*slots}) != len(slots) or not all(0 <= slot < rules.capacity for slot in slots):
        msg = f"slots: {slots}, must be different and below {rules.capacity}"
        raise ValueError(msg)
    if len(votes) != len(slots):
        msg = f"votes: {len(votes)} for {len(slots)} slots"
        raise ValueError(msg)
    sizes = _numbers(state, "shapes")
    if sizes and len(sizes) != 4:  # noqa: PLR2004 - S, P, C and D
        msg = f"shapes: {sizes}, must be S, P, C and D"
        raise ValueError(msg)
    shapes = (tuple(sizes[:3]), tuple(sizes[3:])) if sizes else None
    rings = _rings(state, slots, rules) if slots else None
    held = dict(zip(slots, map(bool, votes), strict=True))
    return Contents(held, _masked(state, slots), rings, shapes)


def _masked(state: Mapping[str, Tensor], slots: Sequence[int]) -> dict[int, frozenset[int]]:
    pairs = _numbers(state, "masked")
    if len(pairs) % 2 or not {*pairs} <= {*slots}:
        msg = f"masked: {pairs}, must be pairs of {list(slots)}"
        raise ValueError(msg)
    masked: dict[int, frozenset[int]] = {}
    for own, peer in zip(pairs[::2], pairs[1::2], strict=True):
        masked[own] = masked.get(own, frozenset()) | {peer}
    return masked


def _rings(state: Mapping[str, Tensor], slots: Sequence[int], rules: Rules) -> PairStore:
    """Return a store with the frames of a state in their slots."""
    for name, sizes in _sizes(state, len(slots), len(rules.degrees)).items():
        if tuple(_tensor(state, name).shape) != sizes:
            msg = f"{name}: shape {tuple(state[name].shape)}, must be {sizes}"
            raise ValueError(msg)
    if state["tokens"].dtype != rules.dtype:
        msg = f"tokens: of type {state['tokens'].dtype}, this window holds {rules.dtype}"
        raise ValueError(msg)
    axes = state.get("axes")
    first = Centred(*(state[name][:, 0].to(rules.device) for name in Centred._fields))
    store = PairStore(
        rules.capacity,
        first,
        state["image_features"][0],
        keep=rules.channels,
        axes=None if axes is None else axes.to(rules.device),
        memory=rules.memory,
    )
    store.restore(slots, state, rules.kernel)
    return store


def _sizes(state: Mapping[str, Tensor], n: int, degrees: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor, from that of the tokens [S, n, P, C]."""
    tokens = _tensor(state, "tokens")
    if tokens.ndim != 4:  # noqa: PLR2004 - stages, slots, patches, channels
        msg = f"tokens: shape {tuple(tokens.shape)}, must be [S, n, P, C]"
        raise ValueError(msg)
    stages, _, patches, channels = tokens.shape
    return {
        "tokens": (stages, n, patches, channels),
        "inverse": (stages, n, degrees, patches),
        "half_squares": (stages, n, degrees, patches),
        "cancellation": (stages, n, degrees),
        "nearest": (n, n, stages * degrees, patches),
        "image_features": (n, _numbers(state, "shapes")[-1]),
    }


def _rule(rules: Rules) -> list[int]:
    """Return what numbers depend on: locality and channels, -1 for none, and the degrees."""
    few = (-1 if one is None else one for one in (rules.locality, rules.channels))
    return [*few, *rules.degrees]


def _tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        msg = f"{name}: missing"
        raise ValueError(msg)
    return state[name]


def _numbers(state: Mapping[str, Tensor], name: str) -> list[int]:
    return [int(number) for number in _tensor(state, name).flatten().tolist()]
