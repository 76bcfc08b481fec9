"""Backbones: a frozen vision transformer as a source of tokens.

A backbone turns a normalised batch into patch tokens of a few stages and one
image feature for each frame. ``Backbone`` is what the rest of the product knows
of one; ``TimmBackbone`` is DINO and DINOv2 through timm. Weights come from the
caller; nothing here looks for them or downloads them.

Source: the model definitions of timm; MuSc, ICLR 2024, appendix, for the DINO
variants: the final layer normalisation is applied to every stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Protocol, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

DEFAULT_NAME = "vit_small_patch14_dinov2"
"""The embedded default, at 224 px: 16 x 16 patches, 384 channels, stages 2, 5, 8, 11."""

_KEYS_SHOWN = 3
_TRAINING_ONLY = frozenset({"mask_token"})  # in Meta's DINOv2 files; no inference uses it


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


class TimmBackbone:
    """A plain vision transformer of timm with a class token: DINO, DINOv2."""

    def __init__(
        self,
        name: str,
        state_dict: Mapping[str, Tensor],
        *,
        image_size: int,
        stages: Sequence[int] | None = None,
        antialias: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        """Build the network and load its weights.

        Args:
            name: A name in timm's registry, with or without the pretrained tag.
            state_dict: All its weights in timm's naming, and no others; the
                position embeddings may be for another image size.
            image_size: Side of the input in pixels, a multiple of the patch.
            stages: Blocks to take, counted from 0; the ends of the four quarters
                if None.
            antialias: Whether resizing position embeddings is antialiased, as
                timm does; the authors' code does not.
            device: Where the network runs.

        Raises:
            ValueError: image_size is no multiple of the patch.
            BackboneError: No such model, weights that do not fit, or no such stage.
        """
        net = _created(name, image_size)
        _load_state(net, name, state_dict, antialias=antialias)
        self._net = net.eval().requires_grad_(requires_grad=False).to(device)
        self.image_size = image_size
        self.patches = int(net.patch_embed.num_patches)
        self.channels = int(net.embed_dim)
        self.stages = _chosen_stages(name, len(net.blocks), stages)
        config = cast("dict[str, tuple[float, ...]]", net.pretrained_cfg)
        self.mean: tuple[float, ...] = tuple(config["mean"])
        self.std: tuple[float, ...] = tuple(config["std"])
        self.device = torch.device(device)

    def extract(self, batch: Tensor) -> Features:
        """Run the network.

        Args:
            batch: float32 [N, 3, image_size, image_size], normalised with ``mean``
                and ``std``.

        Returns:
            Tokens of every stage after the final layer normalisation, and the
            final class token, L2-normalised: un-normalised as in the authors' code,
            a frame need not be its own nearest neighbour.

        Raises:
            ValueError: Another shape.
        """
        wanted = (3, self.image_size, self.image_size)
        if batch.ndim != 4 or tuple(batch.shape[1:]) != wanted:  # noqa: PLR2004 - N and the three
            msg = f"batch has the shape {tuple(batch.shape)}, wanted [N, *{wanted}]"
            raise ValueError(msg)
        with torch.inference_mode():
            outputs = self._net.forward_intermediates(
                batch.to(self.device), indices=list(self.stages), norm=True, output_fmt="NLC"
            )
            final, taken = cast("tuple[Tensor, list[Tensor]]", outputs)
            image_features = functional.normalize(final[:, 0].float(), dim=-1)
            return Features(torch.stack(taken, dim=1).float(), image_features)


def load_timm(
    name: str,
    weights: Path,
    *,
    image_size: int,
    stages: Sequence[int] | None = None,
    antialias: bool = True,
    device: torch.device | str = "cpu",
) -> TimmBackbone:
    """Read a safetensors file and build the backbone; arguments as ``TimmBackbone``.

    Raises:
        ValueError: image_size is no multiple of the patch.
        BackboneError: The file cannot be read, or does not fit the model.
    """
    try:
        state_dict = load_file(weights)
    except (OSError, SafetensorError) as error:
        msg = f"{weights}: not a readable safetensors file: {error}"
        raise BackboneError(msg) from error
    try:
        return TimmBackbone(
            name,
            state_dict,
            image_size=image_size,
            stages=stages,
            antialias=antialias,
            device=device,
        )
    except BackboneError as error:
        msg = f"{weights}: {error}"
        raise BackboneError(msg) from error


def _created(name: str, image_size: int) -> VisionTransformer:
    """The network for this image size with random weights.

    Raises:
        ValueError: image_size is no multiple of the patch.
        BackboneError: No such model, or one without a class token or final norm.
    """
    # Only registered names: timm would fetch "hf-hub:..." names from the network.
    if ":" in name or not timm.is_model(name):
        msg = f"model {name!r} is not in the registry of timm {timm.__version__}"
        raise BackboneError(msg)
    if image_size < 1:
        msg = f"image_size is {image_size} px, wanted at least one patch"
        raise ValueError(msg)
    try:
        net = timm.create_model(name, pretrained=False, num_classes=0, img_size=image_size)
    except TypeError as error:
        msg = f"model {name!r} takes no image size: {error}"
        raise BackboneError(msg) from error
    # Models that average their patches have no final norm, only one after the average.
    averaging = isinstance(getattr(net, "norm", None), nn.Identity)
    if not isinstance(net, VisionTransformer) or net.cls_token is None or averaging:
        msg = f"model {name!r} is not a vision transformer with a class token and a final norm"
        raise BackboneError(msg)
    patch = int(net.patch_embed.patch_size[0])
    if image_size % patch:
        msg = f"image_size is {image_size} px, wanted a multiple of the patch of {patch} px"
        raise ValueError(msg)
    return net


def _load_state(
    net: VisionTransformer,
    name: str,
    state_dict: Mapping[str, Tensor],
    *,
    antialias: bool,
) -> None:
    """Load every weight, position embeddings resized to the network's grid.

    Raises:
        BackboneError: Keys missing, left over, or of another shape.
    """
    own = net.state_dict()
    state = {key: value for key, value in state_dict.items() if key not in _TRAINING_ONLY}
    _refuse_keys(name, "misses", own.keys() - state.keys())
    _refuse_keys(name, "does not know", state.keys() - own.keys())
    state["pos_embed"] = _resized_positions(net, name, state["pos_embed"], antialias=antialias)
    unlike = {key for key, value in state.items() if value.shape != own[key].shape}
    _refuse_keys(name, "has other shapes for", unlike)
    net.load_state_dict(state)


def _refuse_keys(name: str, verb: str, keys: set[str]) -> None:
    """Raise BackboneError with the number of keys and the first of them, if any."""
    if keys:
        first = ", ".join(sorted(keys)[:_KEYS_SHOWN])
        msg = f"model {name!r} {verb} {len(keys)} weights, first {first}"
        raise BackboneError(msg)


def _resized_positions(
    net: VisionTransformer,
    name: str,
    positions: Tensor,
    *,
    antialias: bool,
) -> Tensor:
    """Position embeddings [1, prefix + P', C] for the network's own P.

    Raises:
        BackboneError: They are not for a square grid.
    """
    prefix = 0 if net.no_embed_class else int(net.num_prefix_tokens)
    count = positions.shape[1] - prefix if positions.ndim == 3 else 0  # noqa: PLR2004 - 1, tokens, C
    side = isqrt(max(0, count))
    if side == 0 or side * side != count:
        shape = tuple(positions.shape)
        msg = f"model {name!r}: pos_embed has the shape {shape}, wanted {prefix} + a square number"
        raise BackboneError(msg)
    resized: Tensor = resample_abs_pos_embed(
        positions,
        new_size=list(net.patch_embed.grid_size),
        old_size=[side, side],
        num_prefix_tokens=prefix,
        antialias=antialias,
    )
    return resized


def _chosen_stages(name: str, depth: int, stages: Sequence[int] | None) -> tuple[int, ...]:
    """The stages asked for, or the last block of each quarter.

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
