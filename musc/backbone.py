"""Backbones through timm: DINO and DINOv2.

``TimmBackbone`` is a plain vision transformer of timm's registry with the
caller's weights; ``load_timm`` reads them from a file. What a backbone is, is
said in ``musc.vision_transformer``, whose names are offered here as well.

Source: the model definitions of timm; MuSc, ICLR 2024, appendix A.2.1, for the
DINO variants: the final layer normalisation is applied to every stage.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from musc.packed_blocks import BlockWeights, Linear, Norm, scaled
from musc.transformer_weights import check_image_size, chosen_stages, load_state, read_weights
from musc.vision_transformer import (
    Backbone,
    BackboneError,
    Execution,
    Features,
    FrozenTransformer,
    Precision,
)

__all__ = ["DEFAULT_NAME", "Backbone", "BackboneError", "Features", "TimmBackbone", "load_timm"]

DEFAULT_NAME = "vit_small_patch14_dinov2"
"""The embedded default, at 224 px: 16 x 16 patches, 384 channels, stages 2, 5, 8, 11."""

_TRAINING_ONLY = frozenset({"mask_token"})  # in Meta's DINOv2 files; no inference uses it


class TimmBackbone(FrozenTransformer[VisionTransformer]):
    """A plain vision transformer of timm with a class token: DINO, DINOv2.

    Tokens are those of each stage after the final layer normalisation; the image
    feature is the final class token. It is L2-normalised, which the authors' code
    leaves out: un-normalised, a frame need not be its own nearest neighbour.
    """

    def __init__(
        self,
        name: str,
        state_dict: Mapping[str, Tensor],
        *,
        image_size: int,
        stages: Sequence[int] | None = None,
        antialias: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        execution: Execution = "auto",
    ) -> None:
        """Build the network and load its weights.

        Args:
            name: A name in timm's registry, with or without the pretrained tag. The
                tag decides ``mean`` and ``std``.
            state_dict: All its weights in timm's naming, and no others; the
                position embeddings may be for another image size.
            image_size: Side of the input in pixels, a multiple of the patch.
            stages: Blocks to take, counted from 0; the ends of the four quarters
                if None.
            antialias: Whether resizing position embeddings is antialiased, as
                timm does; the authors' code does not.
            device: Where the network runs.
            precision: As ``vision_transformer.resolved_precision``.
            execution: As ``vision_transformer.Execution``.

        Raises:
            ValueError: image_size is no multiple of the patch, or no such precision.
            BackboneError: No such model, weights that do not fit, or no such stage.
        """
        net = _created(name, image_size)
        prefix = 0 if net.no_embed_class else int(net.num_prefix_tokens)
        state = {key: value for key, value in state_dict.items() if key not in _TRAINING_ONLY}
        load_state(net, name, state, positions="pos_embed", prefix=prefix, antialias=antialias)
        config = cast("dict[str, tuple[float, ...]]", net.pretrained_cfg)
        super().__init__(
            net,
            image_size=image_size,
            patch=int(net.patch_embed.patch_size[0]),
            channels=int(net.embed_dim),
            stages=chosen_stages(name, len(net.blocks), stages),
            mean=config["mean"],
            std=config["std"],
            device=device,
            precision=precision,
            execution=execution,
        )

    def _forward(self, batch: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Normalised tokens of each stage, and the final class token."""
        outputs = self._net.forward_intermediates(
            batch, indices=list(self.stages), norm=True, output_fmt="NLC"
        )
        final, taken = cast("tuple[Tensor, list[Tensor]]", outputs)
        return taken, final[:, 0]

    def _blocks(self) -> nn.ModuleList:
        return cast("nn.ModuleList", self._net.blocks)

    def _weights_of(self, block: Any) -> BlockWeights | None:  # noqa: ANN401 - timm's are untyped
        """The weights of timm's plain block; other blocks and their extras are not taken."""
        if not _is_plain(block):
            return None
        attention, mlp = block.attn, block.mlp
        return BlockWeights(
            heads=attention.num_heads,
            norm1=_norm(block.norm1),
            qkv=(attention.qkv.weight, attention.qkv.bias),
            projection=_scaled(attention.proj, block.ls1),
            norm2=_norm(block.norm2),
            expand=(mlp.fc1.weight, mlp.fc1.bias),
            activation="gelu",
            contract=_scaled(mlp.fc2, block.ls2),
        )


def _is_plain(block: Any) -> bool:  # noqa: ANN401 - timm's are untyped
    """Whether a block is pre-norm attention and MLP with exact GELU, and nothing else.

    Known by names: where timm defines the parts has changed between its versions.
    """
    parts = [getattr(block, name, None) for name in ("attn", "mlp")]
    if [type(one).__name__ for one in (block, *parts)] != ["Block", "Attention", "Mlp"]:
        return False
    extras = [getattr(one, name, None) for one in parts for name in ("q_norm", "k_norm", "norm")]
    extras.append(getattr(block.attn, "gate", None))
    if not all(one is None or isinstance(one, nn.Identity) for one in extras):
        return False
    activation = block.mlp.act
    return isinstance(activation, nn.GELU) and activation.approximate == "none"


def _norm(layer: nn.LayerNorm) -> Norm:
    return layer.weight, layer.bias, layer.eps


def _scaled(layer: nn.Linear, scale: nn.Module) -> Linear:
    """A linear layer with the LayerScale after it, if there is one."""
    return scaled((layer.weight, layer.bias), getattr(scale, "gamma", None))


def load_timm(
    name: str,
    weights: Path,
    *,
    image_size: int,
    stages: Sequence[int] | None = None,
    antialias: bool = True,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
) -> TimmBackbone:
    """Read a safetensors file and build the backbone; arguments as ``TimmBackbone``.

    Raises:
        ValueError: image_size is no multiple of the patch, or no such precision.
        BackboneError: The file cannot be read, or does not fit the model.
    """
    state_dict = read_weights(weights)
    try:
        return TimmBackbone(
            name,
            state_dict,
            image_size=image_size,
            stages=stages,
            antialias=antialias,
            device=device,
            precision=precision,
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
    if image_size < 1:  # the patch is known only once the network is there
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
    check_image_size(image_size, int(net.patch_embed.patch_size[0]))
    return net
