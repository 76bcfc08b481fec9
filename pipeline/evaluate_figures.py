"""The measures of a category, each a figure or the reason why it is not defined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from musc.anomaly_map import upsample
from musc.metrics import auroc, average_precision, f1_max
from musc.pixel_metrics import PixelScores
from pipeline.batch_score import CHUNK
from pipeline.dataset_masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.batch_score import FolderScores
    from pipeline.dataset_masks import MaskMode
    from pipeline.dataset_samples import Category, DatasetKind, Sample

IMAGE_MEASURES = ("image_auroc", "image_f1max", "image_ap")
PIXEL_MEASURES = ("pixel_auroc", "pixel_f1max", "pixel_ap", "aupro", "aupro_200")
MEASURES = (*IMAGE_MEASURES, *PIXEL_MEASURES)
"""``aupro`` is exact; ``aupro_200`` is the authors' curve, which the papers' tables show."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The measures of a category."""

    values: dict[str, float | None]
    """0 to 1 under each name of ``MEASURES``; None where it is not defined."""

    notes: list[str]
    """Why some are not defined, and what was left out."""


@dataclass(frozen=True, slots=True)
class MaskReader:
    """How the masks of a run are read."""

    root: Path
    kind: DatasetKind
    mode: MaskMode
    side: int

    def read(self, sample: Sample) -> npt.NDArray[np.bool_]:
        """Return the mask of a sample at the size of the maps."""
        return read_mask(self.root, sample, self.side, self.mode, self.kind)


def figures(scores: FolderScores, category: Category, masks: MaskReader) -> Figures:
    """Measure the scores of a category.

    Image measures take the scores after RsCIN. Images that could not be read are in
    neither; anomalous images without a mask are not in the pixel measures.

    Raises:
        DatasetError: A mask cannot be read.
    """
    samples = {sample.name: sample for sample in category.samples}
    own = [samples[name] for name in scores.names]
    labels = np.array([sample.is_anomalous for sample in own], np.bool_)
    notes = []
    if scores.skipped:
        notes.append(f"{len(scores.skipped)} images could not be read and are left out")
    values, reasons = _measured(
        {
            "image_auroc": lambda: auroc(labels, scores.rescored),
            "image_f1max": lambda: f1_max(labels, scores.rescored),
            "image_ap": lambda: average_precision(labels, scores.rescored),
        }
    )
    of_pixels, pixel_notes = _pixel_figures(scores, own, masks)
    return Figures(values | of_pixels, [*notes, *reasons, *pixel_notes])


def _pixel_figures(
    scores: FolderScores, samples: list[Sample], masks: MaskReader
) -> tuple[dict[str, float | None], list[str]]:
    """Measure the maps of the images whose pixels are known to be good or not."""
    nothing: dict[str, float | None] = dict.fromkeys(PIXEL_MEASURES)
    known = [row for row, sample in enumerate(samples) if sample.mask or not sample.is_anomalous]
    if not any(samples[row].mask for row in known):
        return nothing, ["no masks: the pixel measures are not defined"]
    notes = []
    if missing := len(samples) - len(known):
        notes.append(f"{missing} anomalous images without a mask are not in the pixel measures")
    true = np.stack([masks.read(samples[row]) for row in known])
    empty = sum(
        1 for row, mask in zip(known, true, strict=True) if samples[row].mask and not mask.any()
    )
    if empty:
        notes.append(f"{empty} masks have no pixel left at {masks.side} px by {masks.mode!r}")
    pixels = PixelScores(true, _maps(scores, known, masks.side))
    values, reasons = _measured(
        {
            "pixel_auroc": pixels.auroc,
            "pixel_f1max": pixels.f1_max,
            "pixel_ap": pixels.average_precision,
            "aupro": pixels.aupro,
            "aupro_200": pixels.aupro_200,
        }
    )
    return values, [*notes, *reasons]


def _maps(scores: FolderScores, rows: list[int], side: int) -> npt.NDArray[np.float32]:
    """Upsample the patch scores of some images, [n, side, side], without a second copy."""
    maps = np.empty((len(rows), side, side), np.float32)
    for first in range(0, len(rows), CHUNK):
        patches = torch.from_numpy(scores.patch_scores[rows[first : first + CHUNK]])
        maps[first : first + CHUNK] = upsample(patches, (side, side)).numpy()
    return maps


def _measured(
    measures: Mapping[str, Callable[[], float]],
) -> tuple[dict[str, float | None], list[str]]:
    """Return each measure, and the reasons of those that are not defined."""
    values: dict[str, float | None] = {}
    reasons: dict[str, list[str]] = {}
    for name, measure in measures.items():
        try:
            values[name] = measure()
        except ValueError as error:
            values[name] = None
            reasons.setdefault(str(error), []).append(name)
    return values, [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
