"""From a config to an inspector: weights, device, memory.

Memory is estimated before anything runs and refused with the figure; a window
is never made smaller in silence.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edge.errors import LineError
from musc.backbone import Backbone, BackboneError, load_timm
from musc.sliding import estimated_bytes
from pipeline.inspector import Inspector
from pipeline.weights import resolve, weights_cache
from pipeline.weights_registry import find_entry
from pipeline.wheels import sha256_of

if TYPE_CHECKING:
    from pipeline.config import Config, MuscSettings

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
"""Share of the free memory that windows may take; the rest is for the backbone at work."""
MEMINFO = Path("/proc/meminfo")


class BuildError(LineError):
    """The inspector cannot be built on this machine; the message has the figure."""


def build_inspector(config: Config) -> tuple[Inspector, str]:
    """Return an inspector that is ready for its first frame, and its model's digest.

    Raises:
        WeightsError: The weights are missing and cannot be fetched.
        BuildError: They do not fit, there is no such device, or too little memory.
    """
    settings = config.musc
    device = _device(settings.device)
    weights = resolve(
        settings.backbone, cache=weights_cache(), path=settings.weights, offline=settings.offline
    )
    try:
        backbone = load_timm(
            find_entry(settings.backbone).timm_name,
            weights,
            image_size=settings.image_size_px,
            stages=settings.stages,
            # As DINOv2 itself and its exports do it; timm's own default moves tokens by 0.6.
            antialias=False,
            device=device,
        )
    except (BackboneError, ValueError) as error:
        msg = f"musc.backbone {settings.backbone}: {error}"
        raise BuildError(msg) from error
    _check_memory(config, backbone)
    model = model_digest(sha256_of(weights), settings)
    size = settings.image_size_px
    backbone.extract(torch.zeros(1, 3, size, size))
    log.info("model %s: %s on %s", model, settings.backbone, device)
    return Inspector(config, backbone, model), model


def model_digest(weights_sha256: str, settings: MuscSettings) -> str:
    """Return eight hex digits over weights and everything that shapes the tokens."""
    parts = (weights_sha256, settings.backbone, settings.image_size_px, settings.stages)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _device(wanted: str) -> str:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        msg = 'musc.device = "cuda": torch finds no CUDA device; use "cpu" or "auto"'
        raise BuildError(msg)
    return "cuda" if available and wanted != "cpu" else "cpu"


def _check_memory(config: Config, backbone: Backbone) -> None:
    window_bytes = estimated_bytes(
        config.window.size_frames,
        len(backbone.stages),
        backbone.patches,
        backbone.channels,
        config.musc.degrees,
    )
    needed = window_bytes * len(config.camera)
    free = _free_bytes(backbone.device)
    if free is not None and needed > MEMORY_SHARE * free:
        msg = (
            f"window.size_frames = {config.window.size_frames} needs {needed / 1e9:.2f} GB for "
            f"{len(config.camera)} camera(s); {MEMORY_SHARE:.0%} of the free memory of "
            f"{backbone.device} is {MEMORY_SHARE * free / 1e9:.2f} GB"
        )
        raise BuildError(msg)
    log.info("windows take %.2f GB when full", needed / 1e9)


def _free_bytes(device: torch.device) -> int | None:
    """Return the free memory of the device; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if not MEMINFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
