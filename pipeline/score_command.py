"""The batch commands, put together: ``score`` and ``rescore``."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from musc.batch import MuSc
from musc.rscin import rescore
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.batch_score import (
    BatchScoreError,
    ScoreSettings,
    extract,
    finish,
    score_folder,
    score_text,
    write_csv,
)
from pipeline.image_folder import list_images
from pipeline.score_output import write_heatmaps, write_maps, write_scores
from pipeline.score_view import ScoreView

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a run leaves beside its scores."""

    maps: bool = False
    overlay: bool = False
    rejects_per_1000: float = 20.0


def run_score(
    console: Console, settings: ScoreSettings, choice: BackboneChoice, outputs: Outputs
) -> dict[str, Any]:
    """Score a folder, write everything below ``settings.out``, and return a summary.

    Raises:
        LineError: Of the folder, the weights or the memory; the message says which.
    """
    begin = time.perf_counter()
    images = len(list_images(settings.images, leave_out=settings.out))
    references = len(list_images(settings.references)) if settings.references else 0
    backbone, model = load_backbone(choice)
    with ScoreView(console, images + references, settings.subsets) as view:
        scores = score_folder(settings, backbone, model, view)
    path = write_scores(scores, settings.out)
    if outputs.maps:
        write_maps(scores, settings.out, backbone.image_size)
    threshold = write_heatmaps(
        scores,
        settings.images,
        settings.out,
        rejects_per_1000=outputs.rejects_per_1000,
        on_image=outputs.overlay,
    )
    finish(settings)
    return {
        "images": len(scores.names),
        "skipped": len(scores.skipped),
        "scores": str(path),
        "heatmaps": str(settings.out / "heatmaps"),
        "threshold": round(threshold, 4),
        "model": model,
        "seconds": round(time.perf_counter() - begin, 2),
    }


def run_rescore(
    console: Console, table: Path, images: Path, out: Path, choice: BackboneChoice
) -> dict[str, Any]:
    """Rescore any method's image scores with RsCIN, from a CSV with path and score.

    Raises:
        BatchScoreError: The table cannot be read, lacks a column or a number, or
            names an image that cannot be read.
    """
    rows = _read_table(table)
    backbone, model = load_backbone(choice)
    with ScoreView(console, len(rows)) as view:
        seen = extract(MuSc(backbone), backbone, images, [name for name, _ in rows], view)
    if seen.skipped:
        name, reason = next(iter(seen.skipped.items()))
        count = f"{len(seen.skipped)} of {len(rows)}"
        msg = f"{table}: {count} images cannot be read, first {name}: {reason}"
        raise BatchScoreError(msg)
    scores = torch.tensor([score for _, score in rows])
    rescored = rescore(scores, seen.features.image_features)
    lines = zip(
        (name for name, _ in rows), map(score_text, scores), map(score_text, rescored), strict=True
    )
    write_csv(out, ("path", "score", "rescored"), lines)
    return {"images": len(rows), "scores": str(out), "model": model}


def _read_table(path: Path) -> list[tuple[str, float]]:
    """Return path and score of each line, in order."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        rows = [(line["path"], float(line["score"])) for line in lines]
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise BatchScoreError(msg) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        msg = f"{path}: wanted CSV with the columns path and score, a number: {error}"
        raise BatchScoreError(msg) from error
    if not rows or not all(math.isfinite(score) for _, score in rows):
        msg = f"{path}: {len(rows)} scores, wanted at least one and all of them finite"
        raise BatchScoreError(msg)
    return rows
