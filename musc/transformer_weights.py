"""From a checkpoint to a vision transformer's weights: sizes, stages, positions, files.

A checkpoint is brought to the network's shape, and what does not fit is refused by
name. Weights come from the caller; nothing here looks for them or downloads them.

Source: MuSc, ICLR 2024, section 3.1 for the stages; position embeddings are
resized as in Dosovitskiy et al., ICLR 2021, section 3.2.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

_KEYS_SHOWN = 3


class BackboneError(ValueError):
    """A model or a weights file that cannot be used; the message names it."""


def check_image_size(image_size: int, patch: int) -> None:
    """Refuse an image size that cuts a patch.

    Args:
        image_size: Side of the input in pixels.
        patch: Side of a patch in pixels.

    Raises:
        ValueError: image_size is no positive multiple of the patch.
    """
    if image_size < 1 or image_size % patch:
        msg = f"image_size is {image_size} px, wanted a multiple of the patch of {patch} px"
        raise ValueError(msg)


def chosen_stages(name: str, depth: int, stages: Sequence[int] | None) -> tuple[int, ...]:
    """Take the stages asked for, or the last block of each quarter.

    Args:
        name: The model, for the message.
        depth: Blocks of the network.
        stages: Blocks counted from 0, or None.

    Returns:
        Ascending block numbers.

    Raises:
        BackboneError: Not ascending block numbers of this network.
    """
    if stages is None:
        return tuple(sorted({max(0, quarter * depth // 4 - 1) for quarter in (1, 2, 3, 4)}))
    chosen = tuple(stages)
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= depth:
        msg = f"model {name!r}: stages are {chosen}, wanted ascending blocks of 0 to {depth - 1}"
        raise BackboneError(msg)
    return chosen


def load_state(
    net: nn.Module,
    name: str,
    state_dict: Mapping[str, Tensor],
    *,
    positions: str,
    prefix: int,
    antialias: bool,
) -> None:
    """Load every weight, position embeddings resized to the network's grid.

    Args:
        net: The network; a weight of another float type is converted to its own.
        name: The model, for the messages.
        state_dict: All the network's weights and no others; not modified.
        positions: Key of the position embeddings.
        prefix: How many of them belong to no patch.
        antialias: As ``resized_positions``.

    Raises:
        BackboneError: Keys missing, left over, or of another shape.
    """
    own, state = net.state_dict(), dict(state_dict)
    _refuse_keys(name, "misses", own.keys() - state.keys())
    _refuse_keys(name, "does not know", state.keys() - own.keys())
    wanted, given = own[positions].shape, state[positions].shape
    count = given[-2] - prefix if len(given) == len(wanted) else 0
    if count < 1 or isqrt(count) ** 2 != count:
        shape = tuple(given)
        msg = (
            f"model {name!r}: {positions} has the shape {shape}, wanted {prefix} + a square number"
        )
        raise BackboneError(msg)
    state[positions] = resized_positions(
        state[positions], isqrt(wanted[-2] - prefix), prefix=prefix, antialias=antialias
    )
    unlike = {key for key, value in state.items() if value.shape != own[key].shape}
    _refuse_keys(name, "has other shapes for", unlike)
    net.load_state_dict(state)


def resized_positions(positions: Tensor, side: int, *, prefix: int, antialias: bool) -> Tensor:
    """Resample position embeddings bicubically to another grid.

    Args:
        positions: [..., prefix + old * old, C], patches row-major on a square grid.
        side: Patches along one side of the new grid.
        prefix: Entries before the grid (class token, registers); kept as they are.
        antialias: Whether a shrinking grid is smoothed first: timm and open_clip
            do, the authors of MuSc do not. The two differ, if less, when it grows.

    Returns:
        [..., prefix + side * side, C] in float32; the tensor itself where the grid
        is the same.
    """
    *lead, count, channels = positions.shape
    old = isqrt(count - prefix)
    if old == side:
        return positions
    grid = positions[..., prefix:, :].float().reshape(-1, old, old, channels)
    resized = functional.interpolate(
        grid.permute(0, 3, 1, 2),
        size=(side, side),
        mode="bicubic",
        align_corners=False,
        antialias=antialias,
    )
    patches = resized.permute(0, 2, 3, 1).reshape(*lead, side * side, channels)
    return torch.cat([positions[..., :prefix, :].float(), patches], dim=-2)


def read_weights(weights: Path) -> dict[str, Tensor]:
    """Read a safetensors file into memory.

    Raises:
        BackboneError: The file cannot be read; the message names it.
    """
    try:
        return load_file(weights)
    except (OSError, SafetensorError) as error:
        msg = f"{weights}: not a readable safetensors file: {error}"
        raise BackboneError(msg) from error


def _refuse_keys(name: str, verb: str, keys: set[str]) -> None:
    """Raise BackboneError with the number of keys and the first of them, if any."""
    if keys:
        first = ", ".join(sorted(keys)[:_KEYS_SHOWN])
        msg = f"model {name!r} {verb} {len(keys)} weights, first {first}"
        raise BackboneError(msg)
