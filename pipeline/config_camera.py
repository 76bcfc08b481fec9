"""Sections ``[[camera]]``: one class for each kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.frame import CameraId
from pipeline.config_settings import ENDPOINT, Settings


class _Camera(Settings):
    id: CameraId
    """Name of the camera: topic segment, ledger key, folder of its evidence."""
    interval_ms: int = Field(default=0, ge=0, le=3_600_000)
    """Least time between two captures; 0 takes them as fast as they come."""
    part_id: Literal["source", "counter", "message"] = "source"
    """Part ids: as the source names parts (files), counted, or each told before its frame."""
    part_endpoint: str = Field(default="", pattern=ENDPOINT)
    """ZeroMQ endpoint that takes part messages, for part_id = "message"; MQTT always does."""


class FolderCamera(_Camera):
    """A folder of images in name order."""

    kind: Literal["folder"]
    path: Path
    """Folder of PNG, JPEG, BMP, TIFF or WebP files, 8 or 16 bit."""
    loop: bool = False
    """Begin again at the end instead of ending the run."""


class SyntheticCamera(_Camera):
    """A seeded belt of textured parts with planted defects."""

    kind: Literal["synthetic"]
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """The same seed gives the same parts, bit by bit."""
    frames: int | None = Field(default=None, ge=1)
    """Parts until the source ends; without it the belt runs for ever."""
    defect_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of parts with a planted defect."""


Camera = Annotated[FolderCamera | SyntheticCamera, Field(discriminator="kind")]
