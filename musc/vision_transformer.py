"""Vision transformers: what the backbones share, whichever library defines them.

``Backbone`` is what the rest of the product knows of a network: frames in,
patch tokens of a few stages and one image feature out. ``FrozenTransformer`` is
the part of one that asks nothing of the library: shape, stages, precision and
inference. The functions bring a checkpoint to the network's shape and refuse,
by name, what does not fit. Weights come from the caller; nothing here looks for
them or downloads them.

Source: MuSc, ICLR 2024, section 3.1 for the stages; position embeddings are
resized as in Dosovitskiy et al., ICLR 2021, section 3.2.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "float16", "bfloat16"]
"""Type of the network's products; features are float32 whatever it is."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_KEYS_SHOWN = 3


class BackboneError(ValueError):
    """A model or a weights file that cannot be used; the message names it."""


@dataclass(frozen=True)
class Features:
    """What a backbone sees in a batch of N frames."""

    tokens: Tensor
    """Patch tokens [N, S, P, C], float32, prefix tokens dropped, patches row-major."""

    image_features: Tensor
    """Image features [N, D], float32, of unit length."""


class Backbone(Protocol):
    """A frozen network that turns frames into tokens."""

    @property
    def image_size(self) -> int:
        """Side of the input in pixels."""

    @property
    def patches(self) -> int:
        """Patches P of a frame, a square number."""

    @property
    def channels(self) -> int:
        """Channels C of a patch token."""

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks whose output is taken, counted from 0, ascending; S of them."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of red, green, blue in 0..1 that the weights were trained with."""

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation, likewise."""

    @property
    def device(self) -> torch.device:
        """Where the network runs and the features come out."""

    def extract(self, batch: Tensor) -> Features:
        """Run the network on a normalised batch [N, 3, image_size, image_size]."""


_Net = TypeVar("_Net", bound=nn.Module)


class FrozenTransformer(ABC, Generic[_Net]):
    """A ``Backbone`` but for the call into its library."""

    def __init__(
        self,
        net: _Net,
        *,
        image_size: int,
        patch: int,
        channels: int,
        stages: tuple[int, ...],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        precision: Precision,
    ) -> None:
        """Freeze the network and move it to its device.

        Args:
            net: The network with its weights.
            image_size: Side of the input in pixels.
            patch: Side of a patch in pixels.
            channels: Channels of a patch token.
            stages: As ``chosen_stages`` returns them.
            mean: Of red, green, blue in 0..1.
            std: Likewise.
            device: Where the network runs.
            precision: As ``resolved_precision``; the choice and its reason are logged.

        Raises:
            ValueError: No such precision.
        """
        self.device = torch.device(device)
        self.precision, reason = resolved_precision(precision, self.device)
        log.info("backbone computes in %s on %s: %s", self.precision, self.device, reason)
        self._net = net.eval().requires_grad_(requires_grad=False).to(self.device)
        self.image_size = image_size
        self.patches = (image_size // patch) ** 2
        self.channels = channels
        self.stages = stages
        self.mean: tuple[float, ...] = tuple(mean)
        self.std: tuple[float, ...] = tuple(std)

    def extract(self, batch: Tensor) -> Features:
        """Run the network.

        Args:
            batch: float32 [N, 3, image_size, image_size], normalised with ``mean``
                and ``std``.

        Returns:
            Tokens [N, S, P, C] of every stage and the image features [N, D],
            L2-normalised: a frame is then its own nearest neighbour.

        Raises:
            ValueError: Another shape.
        """
        wanted = (3, self.image_size, self.image_size)
        if batch.ndim != 4 or tuple(batch.shape[1:]) != wanted:  # noqa: PLR2004 - N and the three
            msg = f"batch has the shape {tuple(batch.shape)}, wanted [N, *{wanted}]"
            raise ValueError(msg)
        with torch.inference_mode():
            with self._reduced_precision():
                taken, image_features = self._forward(batch.to(self.device))
            tokens = torch.stack([stage.float() for stage in taken], dim=1)
            return Features(tokens, functional.normalize(image_features.float(), dim=-1))

    @abstractmethod
    def _forward(self, batch: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Patch tokens [N, P, C] of each stage, and image features [N, D] of any length."""

    def _reduced_precision(self) -> "torch.autocast | nullcontext[None]":
        """Autocast, or nothing in float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


def resolved_precision(precision: Precision, device: torch.device) -> tuple[str, str]:
    """Decide in which type the network multiplies.

    Args:
        precision: "auto" takes float16 on CUDA and float32 elsewhere; the others
            are taken as they are. Below float32 only the products are reduced
            (autocast); normalisations, residual sums and results are float32.
        device: Where the network runs.

    Returns:
        "float32", "float16" or "bfloat16", and the reason in words.

    Raises:
        ValueError: Another name.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "float16", "the default on CUDA, whose tensor cores multiply halves"
        return "float32", "the default on every device but CUDA"
    if precision not in _DTYPES:
        msg = f"precision is {precision!r}, wanted auto, {', '.join(_DTYPES)}"
        raise ValueError(msg)
    return precision, "asked for"


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
