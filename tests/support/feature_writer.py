"""A process that is killed while it writes features."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import torch
from factories import FakeBackbone
from replay_rig import MODEL

from pipeline.feature_files import FeatureFiles

WRITTEN_BYTES = 1000


def write_and_die(folder: str) -> None:
    """Keep features of one frame; the kernel ends the process in the middle of the file."""
    backbone = FeatureFiles(Path(folder)).before(FakeBackbone(), MODEL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN_BYTES, WRITTEN_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    backbone.extract(torch.zeros(1, 3, 28, 28))
