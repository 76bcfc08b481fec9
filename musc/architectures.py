"""The backbones of the papers by name, and how to build one from its weights.

A table and one function. The table loads nothing: names, sizes and normalisation
can be looked up without torch. ``build`` imports the library that the name needs,
and only that one.

Source: MuSc, ICLR 2024, table 8 (without Swin, which has no class token), and
DINOv2 ViT-S/14 for small machines; image sizes, means and deviations are those
of the published weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

    from musc.clip_backbone import Activation
    from musc.vision_transformer import Execution, FrozenTransformer, Precision

Library = Literal["timm", "open_clip"]
"""Which library defines the network."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_QUARTERS_OF_12 = (2, 5, 8, 11)
_QUARTERS_OF_24 = (5, 11, 17, 23)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One backbone, without weights."""

    name: str
    library: Library
    model: str
    """The library's name for it."""
    patch_px: int
    image_size_px: int
    """Side of the input that the published weights were made for."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stages: tuple[int, ...]
    """Blocks taken unless others are asked for: the end of each quarter."""
    parameters_millions: float
    """Of the image tower at the native size."""
    trained_activation: Activation = "gelu"
    """What the published weights were trained with."""

    def parity_activation(self, image_size_px: int) -> Activation:
        """Return the activation that the authors' code runs at this image size.

        It takes OpenAI's own definition, with QuickGELU, only at the native size,
        and a definition with GELU at every other.
        """
        return self.trained_activation if image_size_px == self.image_size_px else "gelu"


def _clip(
    name: str,
    model: str,
    patch_px: int,
    image_size_px: int,
    parameters_millions: float,
    *,
    stages: tuple[int, ...] = _QUARTERS_OF_12,
    trained_activation: Activation = "quick_gelu",
) -> Architecture:
    return Architecture(
        name=name,
        library="open_clip",
        model=model,
        patch_px=patch_px,
        image_size_px=image_size_px,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        stages=stages,
        parameters_millions=parameters_millions,
        trained_activation=trained_activation,
    )


def _dino(
    name: str,
    model: str,
    patch_px: int,
    image_size_px: int,
    parameters_millions: float,
    *,
    stages: tuple[int, ...] = _QUARTERS_OF_12,
) -> Architecture:
    return Architecture(
        name=name,
        library="timm",
        model=model,
        patch_px=patch_px,
        image_size_px=image_size_px,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stages=stages,
        parameters_millions=parameters_millions,
    )


_ALL = (
    _clip("clip-vit-b-32", "ViT-B-32", 32, 224, 87.8),
    _clip("clip-vit-b-16", "ViT-B-16", 16, 224, 86.2),
    # The one with LAION's weights: trained with GELU.
    _clip("clip-vit-b-16-plus-240", "ViT-B-16-plus-240", 16, 240, 117.2, trained_activation="gelu"),
    _clip("clip-vit-l-14", "ViT-L-14", 14, 224, 304.0, stages=_QUARTERS_OF_24),
    _clip("clip-vit-l-14-336", "ViT-L-14-336", 14, 336, 304.3, stages=_QUARTERS_OF_24),
    _dino("dino-vitb16", "vit_base_patch16_224.dino", 16, 224, 85.8),
    _dino("dino-vitb8", "vit_base_patch8_224.dino", 8, 224, 85.8),
    _dino("dinov2-vits14", "vit_small_patch14_dinov2.lvd142m", 14, 518, 22.1),
    _dino("dinov2-vitb14", "vit_base_patch14_dinov2.lvd142m", 14, 518, 86.6),
    _dino(
        "dinov2-vitl14", "vit_large_patch14_dinov2.lvd142m", 14, 518, 304.4, stages=_QUARTERS_OF_24
    ),
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({a.name: a for a in _ALL})
"""Every backbone that ``build`` knows, by name."""


def find_architecture(name: str) -> Architecture:
    """Look up a backbone.

    Raises:
        ValueError: No such name; the message lists the names there are.
    """
    if name not in ARCHITECTURES:
        msg = f"no backbone {name!r}; there are: {', '.join(ARCHITECTURES)}"
        raise ValueError(msg)
    return ARCHITECTURES[name]


def build(
    name: str,
    state_dict: Mapping[str, Tensor],
    *,
    image_size: int | None = None,
    stages: Sequence[int] | None = None,
    antialias: bool = False,
    activation: Activation | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
    execution: Execution = "auto",
) -> FrozenTransformer[Any]:
    """Build a backbone from its weights; every default is the authors' choice.

    Args:
        name: A key of ``ARCHITECTURES``.
        state_dict: All its weights in the library's naming, for any image size.
        image_size: Side of the input in pixels, a multiple of the patch; the native
            size if None.
        stages: Blocks to take, counted from 0; the ends of the four quarters if None.
        antialias: Whether resizing position embeddings is antialiased.
        activation: For CLIP: "gelu" or "quick_gelu"; ``parity_activation`` if None.
            The others know GELU only.
        mean: For CLIP: of red, green, blue in 0..1 that the weights were trained with;
            OpenAI's if None.
        std: Likewise.
        device: Where the network runs.
        precision: "auto" is float16 on CUDA and float32 elsewhere; "float32",
            "float16" and "bfloat16" are taken as they are.
        execution: How the network is run; "auto" packs its weights in float32 on a CPU.

    Returns:
        The backbone, ready to extract.

    Raises:
        ValueError: No such name, activation or precision, or image_size is no
            multiple of the patch.
        BackboneError: Weights that do not fit, or no such stage.
    """
    found = find_architecture(name)
    size = found.image_size_px if image_size is None else image_size
    maker = _maker(found, activation or found.parity_activation(size))
    if found.library == "open_clip":
        maker = partial(maker, mean=mean, std=std)
    return maker(
        found.model,
        state_dict,
        image_size=size,
        stages=stages,
        antialias=antialias,
        device=device,
        precision=precision,
        execution=execution,
    )


def _maker(found: Architecture, activation: Activation) -> Callable[..., FrozenTransformer[Any]]:
    """The class that builds this architecture, told the activation if it knows several.

    Raises:
        ValueError: It knows GELU only, and another is asked for.
    """
    if found.library == "open_clip":
        from musc.clip_backbone import ClipBackbone  # noqa: PLC0415 - open_clip imports for seconds

        return partial(ClipBackbone, activation=activation)
    if activation != "gelu":
        msg = f"activation is {activation!r}, backbone {found.name!r} knows gelu only"
        raise ValueError(msg)
    from musc.backbone import TimmBackbone  # noqa: PLC0415 - the table is to load without torch

    return TimmBackbone
