"""Small valid objects for tests; each argument that matters to a test is named there."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge.frame import Announcement, Frame
from musc.backbone import Features
from pipeline.config import Config
from pipeline.gate import Moment
from pipeline.inspection import Inspection

if TYPE_CHECKING:
    from torch import Tensor

BOOT = "0123456789abcdef"
MS = 1_000_000
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def announcement(seq: int = 1, **fields: Any) -> Announcement:
    """Return an announcement captured at monotonic time 0 unless told otherwise."""
    values = {
        "camera": "c1",
        "boot": BOOT,
        "seq": seq,
        "part_id": f"P{seq}",
        "captured_at": START,
        "captured_ns": 0,
    }
    return Announcement.model_validate(values | fields)


def moment(ms: float = 0.0) -> Moment:
    """Return the moment this many milliseconds after the capture."""
    return Moment(START, round(ms * MS))


def inspection(seq: int = 1, **fields: Any) -> Inspection:
    """Return a PASS from a ready window unless told otherwise."""
    values = {
        "announcement": announcement(seq),
        "verdict": "PASS",
        "why": "score",
        "state": "READY",
        "score": 0.5,
        "rescored": 0.5,
        "threshold": 0.8,
        "map_level": 0.8,
        "window_n": 31,
        "window_size": 32,
        "admission": "peer",
        "recipe": "default",
        "model": "a89d1abb",
        "compute_ms": 12.5,
    }
    return Inspection.model_validate(values | fields)


def frame(seq: int = 1, pixels: Any = None, **fields: Any) -> Frame:
    """Return a mono frame of 8 bits."""
    if pixels is None:
        pixels = np.full((28, 28), seq % 256, np.uint8)
    pixel_format = "mono" if pixels.ndim == 2 else "bgr"
    depth = 8 if pixels.dtype == np.uint8 else 16
    return Frame(announcement(seq, **fields), pixels, pixel_format, depth)


def config(**sections: Any) -> Config:
    """Return a config with one synthetic camera and the given sections."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    return Config.model_validate({"camera": [camera], **sections})


class FakeBackbone:
    """Tokens that are the pixels: each 7 x 7 block of a 28 px frame is a patch token.

    Deterministic and fast; a frame that differs in one block differs in one patch.
    """

    image_size = 28
    patches = 16
    channels = 49
    stages = (0,)
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    device = torch.device("cpu")

    def extract(self, batch: Tensor) -> Features:
        """Cut the first channel into blocks."""
        grey = batch[:, 0].float()
        blocks = grey.unfold(1, 7, 7).unfold(2, 7, 7).reshape(len(batch), 1, 16, 49)
        feature = torch.nn.functional.normalize(grey.flatten(1) + 0.1, dim=1)
        return Features(blocks, feature)


class CountingBackbone(FakeBackbone):
    """Counts how often it is asked."""

    asked = 0

    def extract(self, batch: Tensor) -> Features:
        """Count, and answer."""
        self.asked += 1
        return super().extract(batch)
