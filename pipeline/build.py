"""From a config to an inspector, on a machine that has the memory for it.

What cannot work is refused here: regions that overlap wholly, a mask over
everything, windows that do not fit. Memory is estimated before anything runs
and refused with the figure; a window is never made smaller in silence.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

import torch

from edge.errors import LineError
from musc.pair_store import estimated_bytes
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.good_images import check_good_images
from pipeline.inspector import Inspector
from pipeline.memory import free_bytes
from pipeline.regions import RegionsError, check_overlap, make_view

if TYPE_CHECKING:
    from collections.abc import Callable

    from musc.vision_transformer import Backbone
    from pipeline.config import Config
    from pipeline.feature_files import FeatureFiles
    from pipeline.snapshots import Snapshots

log = logging.getLogger(__name__)

MEMORY_SHARE = 0.8
"""Share of the free memory that windows may take; the rest is for the backbone at work."""


class BuildError(LineError):
    """The windows do not fit into this machine, or the regions into the frame; with the figure."""


def build_inspector(
    config: Config,
    snapshots: Snapshots | None = None,
    timer: Callable[[], float] = time.perf_counter,
    files: FeatureFiles | None = None,
) -> tuple[Inspector, str]:
    """Return an inspector that is ready for its first frame, and its model's digest.

    Args:
        config: The line's settings.
        snapshots: Windows that were kept, to go on with.
        timer: Seconds; only for the reported compute time.
        files: Where the backbone's features are looked for first.

    Raises:
        WeightsError: The weights are missing and cannot be fetched.
        BackboneChoiceError: No such device, or a size or stage that does not fit.
        BuildError: Too little memory, or regions that cannot be cut.
        GoodImagesError: A camera's good images cannot be used.
    """
    backbone, model = line_backbone(config)
    check_config(config, backbone)
    if files is None:
        # The first call of a network is slow; the first part should not pay for it.
        backbone.extract(torch.zeros(1, 3, backbone.image_size, backbone.image_size))
    else:
        backbone = files.before(backbone, model)
    return Inspector(config, backbone, model, timer, snapshots=snapshots), model


def check_config(config: Config, backbone: Backbone) -> None:
    """Refuse a config that does not work with a backbone on this machine.

    Raises:
        BuildError: Too little memory, or regions that cannot be cut.
        GoodImagesError: A camera's good images cannot be used.
    """
    check_good_images(config)
    check_regions(config, backbone.patches)
    _check_memory(config, backbone)


def line_backbone(config: Config) -> tuple[Backbone, str]:
    """Return the backbone of a line, and its model's digest.

    Raises:
        WeightsError: The weights are missing and cannot be fetched.
        BackboneChoiceError: No such device, or a size or stage that does not fit.
    """
    return load_backbone(backbone_choice(config))


def backbone_choice(config: Config) -> BackboneChoice:
    """Return which backbone a line asks for."""
    settings = config.musc
    return BackboneChoice(
        name=settings.backbone,
        image_size_px=settings.image_size_px,
        weights=settings.weights,
        offline=settings.offline,
        stages=tuple(settings.stages),
        device=settings.device,
        precision=settings.precision,
        execution="compiled" if settings.compile else "auto",
    )


def check_regions(config: Config, patches_of_a_region: int) -> None:
    """Refuse what can be known to be wrong before the first frame.

    Raises:
        BuildError: Regions overlap wholly, or nothing is left to inspect.
    """
    patches = math.isqrt(patches_of_a_region)
    for camera in config.camera:
        try:
            check_overlap(camera, patches)
            if camera.roi_px is not None:
                x, y, width, height = camera.roi_px
                make_view(camera, (height, width), (x, y), patches)
        except RegionsError as error:
            msg = f"camera {camera.id}: {error}"
            raise BuildError(msg) from error


def windows_bytes(config: Config, stages: int, patches: int, channels: int) -> int:
    """Return what the windows of all regions take when they are full."""
    one = estimated_bytes(
        config.window.slots,
        stages,
        patches,
        channels,
        config.musc.degrees,
        kept=config.musc.channels,
    )
    return one * sum(camera.regions for camera in config.camera)


def _check_memory(config: Config, backbone: Backbone) -> None:
    needed = windows_bytes(config, len(backbone.stages), backbone.patches, backbone.channels)
    regions = sum(camera.regions for camera in config.camera)
    free = free_bytes(backbone.device)
    if free is not None and needed > MEMORY_SHARE * free:
        msg = (
            f"window.size_frames = {config.window.size_frames} needs {needed / 1e9:.2f} GB for "
            f"{len(config.camera)} camera(s) with {regions} region(s); "
            f"{MEMORY_SHARE:.0%} of the free memory of {backbone.device} is "
            f"{MEMORY_SHARE * free / 1e9:.2f} GB"
        )
        raise BuildError(msg)
    log.info("windows take %.2f GB when full", needed / 1e9)
