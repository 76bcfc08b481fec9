"""What ``score`` leaves behind: scores.csv, heatmaps, maps.

Heatmaps share one scale that begins at the threshold: the robust z of the
folder's own scores, as the line's judge would set it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from musc.anomaly_map import upsample
from pipeline.batch_score import CHUNK, FolderScores, score_text, write_csv
from pipeline.heatmap import as_8bit, encode_png, overlay
from pipeline.image_folder import load_image, output_names
from pipeline.regions import grid_to_sensor
from pipeline.robust_z import robust_threshold

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sources import Capture


def write_scores(scores: FolderScores, out: Path) -> Path:
    """Write OUT/scores.csv (path, score, rescored) and OUT/skipped.csv (path, reason)."""
    path = out / "scores.csv"
    rows = zip(
        scores.names,
        map(score_text, scores.scores),
        map(score_text, scores.rescored),
        strict=True,
    )
    write_csv(path, ("path", "score", "rescored"), rows)
    write_csv(out / "skipped.csv", ("path", "reason"), sorted(scores.skipped.items()))
    return path


def write_maps(scores: FolderScores, out: Path, image_size: int) -> None:
    """Write OUT/maps/<name>.npy: float32, image_size x image_size."""
    names = output_names(scores.names)
    for first in range(0, len(scores.names), CHUNK):
        patches = torch.from_numpy(scores.patch_scores[first : first + CHUNK])
        maps = upsample(patches, (image_size, image_size)).numpy()
        for name, values in zip(scores.names[first : first + CHUNK], maps, strict=True):
            path = out / "maps" / f"{names[name]}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values.astype(np.float32), allow_pickle=False)


def write_heatmaps(
    scores: FolderScores, root: Path, out: Path, *, rejects_per_1000: float, on_image: bool
) -> float:
    """Write OUT/heatmaps/<name>.png, over the image or over black; return the threshold."""
    threshold = robust_threshold(scores.scores, rejects_per_1000)
    names = output_names(scores.names)
    side = round(scores.patch_scores.shape[1] ** 0.5)
    for name, patches in zip(scores.names, scores.patch_scores, strict=True):
        image = _display(load_image(root, name), on_image=on_image)
        affine = grid_to_sensor((side, side), *image.shape[:2])
        path = out / "heatmaps" / f"{names[name]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = patches.reshape(side, side)
        path.write_bytes(encode_png(overlay(image, grid, threshold, affine)))
    return threshold


def _display(capture: Capture, *, on_image: bool) -> npt.NDArray[np.uint8]:
    """Return an image at 8 bits, or black of its size."""
    pixels: npt.NDArray[Any] = (
        np.zeros((1, 1), np.uint8) if capture.pixels is None else capture.pixels
    )
    if not on_image:
        return np.zeros(pixels.shape[:2], np.uint8)
    return as_8bit(pixels, capture.origin)
