"""Backbones through open_clip: the image towers of CLIP.

Only the image tower is built. Tokens are the raw residual stream of each stage's
block, without the final layer normalisation; the image feature is the projected
class token. Two switches exist because results depend on them: OpenAI's weights
were trained with QuickGELU, which MuSc's authors replace by GELU at any image
size but the native one, and they resize position embeddings without antialias.

Importing open_clip takes seconds and needs torchvision, so this module stands
apart from ``musc.backbone``.

Source: Radford et al., CLIP, ICML 2021; MuSc, ICLR 2024, section 4.1, and the
authors' code; the model definitions of open_clip 3.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import open_clip
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from musc.packed_blocks import BlockWeights
from musc.transformer_weights import check_image_size, chosen_stages, load_state
from musc.vision_transformer import BackboneError, Execution, FrozenTransformer, Precision

Activation = Literal["gelu", "quick_gelu"]
"""Exact GELU, or x * sigmoid(1.702 x), with which OpenAI trained."""

_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
_HEAD_WIDTH = 64  # open_clip's defaults, where a configuration is silent
_MLP_RATIO = 4.0
_PLAIN = frozenset({"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"})
_IMAGE_TOWER = "visual."
_POSITIONS = "positional_embedding"


class ClipBackbone(FrozenTransformer[VisionTransformer]):
    """The image tower of a CLIP with a plain vision transformer."""

    def __init__(
        self,
        name: str,
        state_dict: Mapping[str, Tensor],
        *,
        image_size: int,
        stages: Sequence[int] | None = None,
        antialias: bool = False,
        activation: Activation = "gelu",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        execution: Execution = "auto",
    ) -> None:
        """Build the image tower and load its weights.

        Args:
            name: A name among open_clip's configurations, such as "ViT-L-14-336".
            state_dict: All weights in open_clip's naming: of the image tower alone,
                or of the whole model with the tower below "visual.", of which the
                rest is not read. Position embeddings may be for another image size.
            image_size: Side of the input in pixels, a multiple of the patch.
            stages: Blocks to take, counted from 0; the ends of the four quarters
                if None.
            antialias: Whether resizing position embeddings is antialiased, as in
                open_clip and APRIL-GAN; the authors of MuSc do not.
            activation: Of the blocks, whatever the name says. The authors' results at
                518 px are "gelu", at the native size "quick_gelu".
            mean: Of red, green, blue in 0..1 that the weights were trained with;
                OpenAI's if None.
            std: Likewise.
            device: Where the network runs.
            precision: As ``vision_transformer.resolved_precision``.
            execution: As ``vision_transformer.Execution``.

        Raises:
            ValueError: image_size is no multiple of the patch, or no such activation
                or precision.
            BackboneError: No such model, weights that do not fit, or no such stage.
        """
        config = _configuration(name)
        vision = config["vision_cfg"]
        net = _created(config, image_size, activation)
        state = _image_tower(state_dict)
        load_state(net, name, state, positions=_POSITIONS, prefix=1, antialias=antialias)
        super().__init__(
            net,
            image_size=image_size,
            patch=vision["patch_size"],
            channels=vision["width"],
            stages=chosen_stages(name, vision["layers"], stages),
            mean=mean or open_clip.OPENAI_DATASET_MEAN,
            std=std or open_clip.OPENAI_DATASET_STD,
            device=device,
            precision=precision,
            execution=execution,
        )

    def _forward(self, batch: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Raw patch tokens of each stage, and the projected class token."""
        outputs = self._net.forward_intermediates(
            batch, indices=list(self.stages), output_fmt="NLC", normalize_intermediates=False
        )
        return outputs["image_intermediates"], outputs["image_features"]

    def _blocks(self) -> nn.ModuleList:
        return cast("nn.ModuleList", self._net.transformer.resblocks)

    def _weights_of(self, block: Any) -> BlockWeights | None:  # noqa: ANN401 - parts are untyped
        """The weights of open_clip's plain block; a plain tower has no LayerScale."""
        if type(block) is not ResidualAttentionBlock:
            return None
        attention, mlp = block.attn, block.mlp
        if attention.in_proj_weight is None or not isinstance(block.ls_1, nn.Identity):
            return None
        return BlockWeights(
            heads=attention.num_heads,
            norm1=(block.ln_1.weight, block.ln_1.bias, block.ln_1.eps),
            qkv=(attention.in_proj_weight, attention.in_proj_bias),
            projection=(attention.out_proj.weight, attention.out_proj.bias),
            norm2=(block.ln_2.weight, block.ln_2.bias, block.ln_2.eps),
            expand=(mlp.c_fc.weight, mlp.c_fc.bias),
            activation="quick_gelu" if isinstance(mlp.gelu, QuickGELU) else "gelu",
            contract=(mlp.c_proj.weight, mlp.c_proj.bias),
        )


def _configuration(name: str) -> dict[str, Any]:
    """open_clip's configuration of a plain vision transformer.

    Raises:
        BackboneError: No such configuration, or another kind of image tower.
    """
    # Only listed names: open_clip would fetch "hf-hub:..." names from the network.
    if name not in open_clip.list_models():
        msg = f"model {name!r} is not among the configurations of open_clip {open_clip.__version__}"
        raise BackboneError(msg)
    config: dict[str, Any] = open_clip.get_model_config(name)
    more = sorted(config["vision_cfg"].keys() - _PLAIN)
    if more or not isinstance(config["vision_cfg"]["layers"], int):
        said = ", ".join(more) or "layers of a residual network"
        msg = f"model {name!r} is not a plain vision transformer, its configuration has {said}"
        raise BackboneError(msg)
    return config


def _created(config: Mapping[str, Any], image_size: int, activation: str) -> VisionTransformer:
    """The image tower for this image size with random weights.

    Raises:
        ValueError: No such activation, or image_size is no multiple of the patch.
    """
    check_image_size(image_size, config["vision_cfg"]["patch_size"])
    if activation not in _ACTIVATIONS:
        msg = f"activation is {activation!r}, wanted {' or '.join(_ACTIVATIONS)}"
        raise ValueError(msg)
    vision = config["vision_cfg"]
    net = VisionTransformer(
        image_size=image_size,
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // vision.get("head_width", _HEAD_WIDTH),
        mlp_ratio=vision.get("mlp_ratio", _MLP_RATIO),
        output_dim=config["embed_dim"],
        act_layer=_ACTIVATIONS[activation],
    )
    # Below float32 the sum of the blocks would otherwise run in halves from here on:
    # open_clip casts the output of a layer normalisation back to its input's type.
    net.ln_pre.register_forward_hook(_widened)
    return net


def _image_tower(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's weights under the tower's own names."""
    inside = {key: value for key, value in state_dict.items() if key.startswith(_IMAGE_TOWER)}
    if not inside:
        return dict(state_dict)
    return {key.removeprefix(_IMAGE_TOWER): value for key, value in inside.items()}


def _widened(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    """The first tokens in float32, so that every residual sum after them is float32."""
    return output.float()
