"""Many runs of the same frames: what a backbone said and what was compared is kept.

Each run is a replay, through the line's own inspector and gate, so its results are those
of a replay bit by bit; but a frame is seen once by each backbone and two frames are
compared once, whatever windows, judges and guards the runs differ in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from musc.pair_memory import PairMemory
from pipeline.backbones import load_backbone
from pipeline.build import backbone_choice, check_config
from pipeline.inspector import Inspector
from pipeline.remembered import RememberedBackbone

if TYPE_CHECKING:
    from pipeline.backbones import BackboneChoice
    from pipeline.config import Config
    from pipeline.feature_files import FeatureFiles
    from pipeline.snapshots import Snapshots

FEATURES_SHARE, FRAMES_SHARE = 0.5, 0.25
"""Of the memory: for what the backbone said, and for frames made ready for comparison; the
rest is for pairs. A frame of the default backbone takes 1.6 MB of each, a pair 25 kB, and a
window of 32 has 31 pairs a frame."""


def divided(memory_bytes: int) -> tuple[int, PairMemory]:
    """Return the bytes for a backbone's features, and the memory of frames and pairs."""
    features, frames = (int(share * memory_bytes) for share in (FEATURES_SHARE, FRAMES_SHARE))
    return features, PairMemory(memory_bytes - features - frames, frames)


class _Known(NamedTuple):
    backbone: RememberedBackbone
    model: str


class SharedRuns:
    """Inspectors that share what they compute; for one thread at a time."""

    def __init__(self, memory_bytes: int, files: FeatureFiles | None = None) -> None:
        """Begin with nothing computed.

        Args:
            memory_bytes: For what is kept; with less it takes longer, and says the same.
            files: Where a backbone's features are looked for next.
        """
        self._files = files
        self._features_bytes, self.pairs = divided(memory_bytes)
        self._backbones: dict[BackboneChoice, _Known] = {}

    def inspector(self, config: Config, snapshots: Snapshots | None = None) -> Inspector:
        """Return an inspector as ``build_inspector`` does, and with the time left out.

        Raises:
            WeightsError: The weights are missing and cannot be fetched.
            BackboneChoiceError: No such device, or a size or stage that does not fit.
            BuildError: Too little memory, or regions that cannot be cut.
        """
        choice = backbone_choice(config)
        if choice not in self._backbones:
            backbone, model = load_backbone(choice)
            files = self._files
            asked = files.before(backbone, model) if files is not None else backbone
            self._backbones[choice] = _Known(RememberedBackbone(asked, self._features_bytes), model)
        known = self._backbones[choice]
        check_config(config, known.backbone)
        return Inspector(
            config, known.backbone, known.model, lambda: 0.0, self.pairs, snapshots=snapshots
        )
