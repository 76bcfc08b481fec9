"""Batch MuSc over a folder of images: scores, heatmaps, maps.

A large folder is scored in subsets: each subset's images score each other, one
subset is in memory at a time, and RsCIN runs once on the union, as the authors'
code does. What a finished subset yielded is kept on disk until the end, so that
a killed run goes on where it was and ends with the same files.

Source: Li et al., MuSc, ICLR 2024, section 3; appendix A.6 for references.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from edge.errors import LineError
from musc.anomaly_map import frame_scores
from musc.batch import MuSc
from musc.rscin import NEIGHBOURS, rescore
from musc.vision_transformer import Features
from pipeline.image_folder import ImageFolderError, file_identity, list_images, load_image
from pipeline.memory import free_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edge.frame import PixelFormat
    from edge.sources import Capture
    from musc.vision_transformer import Backbone
    from pipeline.score_view import ScoreView

BATCH = 8
MEMORY_SHARE = 0.8
LEAST_IMAGES = 2
"""An image needs a peer."""
CHUNK = 32
"""Maps that are upsampled at once."""


class BatchScoreError(LineError):
    """The folder cannot be scored; the message has file, figure or limit."""


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """What decides the scores of a run."""

    images: Path
    out: Path
    references: Path | None = None
    plus: bool = False
    subsets: int = 1


@dataclass(frozen=True, slots=True)
class FolderScores:
    """The scores of a folder; row i of each array belongs to ``names[i]``."""

    names: list[str]
    scores: npt.NDArray[np.float32]
    rescored: npt.NDArray[np.float32]
    patch_scores: npt.NDArray[np.float32]
    """Shape (n, P)."""
    skipped: dict[str, str]
    """Unreadable files with the reason."""


@dataclass(frozen=True, slots=True)
class SubsetScores:
    """What images that scored each other yielded; row i belongs to ``names[i]``."""

    names: list[str]
    skipped: dict[str, str]
    patch_scores: torch.Tensor
    """Shape (n, P)."""
    image_features: torch.Tensor
    """Shape (n, D)."""


def score_folder(
    settings: ScoreSettings, backbone: Backbone, model: str, view: ScoreView
) -> FolderScores:
    """Score every readable image of a folder.

    Args:
        settings: Where the images are and how they are scored.
        backbone: Images to tokens.
        model: Digest of backbone and weights; results of another are not resumed.
        view: Is told of progress.

    Raises:
        ImageFolderError: No such folder, no image in it, or none is readable.
        BatchScoreError: Too few images for the subsets, or too little memory.
    """
    names = list_images(settings.images, leave_out=settings.out)
    references = list_images(settings.references) if settings.references else []
    _check_subsets(settings, len(names), has_references=bool(references))
    check_memory(backbone, len(names), len(references), settings.subsets)
    job = _JobFolder(settings, names, references, model)
    scorer = MuSc(backbone)
    known: Features | None = None
    for number in range(settings.subsets):
        if job.has(number):
            view.resumed(number)
            continue
        if settings.references is not None and known is None:
            known = _read_references(scorer, backbone, settings.references, references, view)
        chosen = names[number :: settings.subsets]
        seen = extract(scorer, backbone, settings.images, chosen, view)
        if len(seen.names) + len(references) < LEAST_IMAGES:
            msg = f"{settings.images}: {len(seen.names)} readable image, wanted at least 2"
            raise BatchScoreError(msg)
        patches = scorer.patch_scores(
            seen.features, references=known, plus=settings.plus, progress=view.groups
        )
        features = seen.features.image_features
        job.keep(number, SubsetScores(seen.names, seen.skipped, patches, features))
    parts = [job.load(number) for number in range(settings.subsets)]
    scores = join_subsets(parts, backbone.image_size)
    view.skipped(scores.skipped)
    return scores


def finish(settings: ScoreSettings) -> None:
    """Delete what was kept for resuming, once all results are written."""
    shutil.rmtree(settings.out / "partial", ignore_errors=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in one step: it is there whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    partial.replace(path)


def score_text(score: float) -> str:
    """Return a score with the nine digits that a float32 needs to come back."""
    return f"{score:.9g}"


@dataclass(frozen=True, slots=True)
class ReadImages:
    """The readable images of a list, in order, and the faults of the others."""

    names: list[str]
    features: Features
    skipped: dict[str, str]


class ReadingView(Protocol):
    """Is told how many images are read."""

    def images(self, count: int) -> None:
        """Count images that were read."""


def extract(
    scorer: MuSc, backbone: Backbone, root: Path, names: Sequence[str], view: ReadingView
) -> ReadImages:
    """Read images and extract their features, a batch at a time."""
    kept: list[str] = []
    skipped: dict[str, str] = {}
    tokens = torch.empty(len(names), len(backbone.stages), backbone.patches, backbone.channels)
    image_features: list[torch.Tensor] = []
    for first in range(0, len(names), BATCH):
        batch = [(name, load_image(root, name)) for name in names[first : first + BATCH]]
        skipped |= {
            # The fault begins with the file's own name; here its path stands beside it.
            name: capture.fault.partition(": ")[2] or capture.fault
            for name, capture in batch
            if capture.pixels is None
        }
        usable = [(name, capture) for name, capture in batch if capture.pixels is not None]
        for (pixel_format, depth), group in groupby(usable, key=lambda item: _layout(item[1])):
            chosen = list(group)
            images = [capture.pixels for _, capture in chosen if capture.pixels is not None]
            seen = scorer.features(images, bit_depth=depth, pixel_format=pixel_format)
            tokens[len(kept) : len(kept) + len(chosen)] = seen.tokens
            image_features.append(seen.image_features)
            kept += [name for name, _ in chosen]
        view.images(len(batch))
    joined = torch.cat(image_features) if image_features else torch.empty(0, 1)
    return ReadImages(kept, Features(tokens[: len(kept)], joined), skipped)


def _layout(capture: Capture) -> tuple[PixelFormat, int]:
    return capture.pixel_format, capture.bit_depth


def _read_references(
    scorer: MuSc, backbone: Backbone, root: Path, names: Sequence[str], view: ScoreView
) -> Features:
    seen = extract(scorer, backbone, root, names, view)
    view.skipped(seen.skipped)
    if not seen.names:
        msg = f"--references {root}: none of {len(names)} images is readable"
        raise ImageFolderError(msg)
    return seen.features


def _check_subsets(settings: ScoreSettings, images: int, *, has_references: bool) -> None:
    least = 1 if has_references else LEAST_IMAGES
    if settings.subsets < 1 or images < least * settings.subsets:
        msg = (
            f"{settings.images} has {images} image(s): --subsets {settings.subsets} "
            f"leaves fewer than {least} for each; at most {max(1, images // least)} is possible"
        )
        raise BatchScoreError(msg)


def needed_bytes(backbone: Backbone, images: int, references: int) -> int:
    """Return the memory that one subset takes: its tokens, and one group of them at work."""
    numbers = (images + references) * backbone.patches * backbone.channels
    pairs = images * (images + references) * backbone.patches
    return 4 * (numbers * len(backbone.stages) + 4 * numbers + pairs)


def check_memory(backbone: Backbone, images: int, references: int, subsets: int) -> None:
    """Refuse a set that does not fit into the free memory of the backbone's device.

    Raises:
        BatchScoreError: It does not fit; the message has the figures, and a number of
            subsets that would fit.
    """
    free = free_bytes(backbone.device)
    if free is None:
        return
    limit = MEMORY_SHARE * free

    def fits(subsets: int) -> bool:
        return needed_bytes(backbone, -(-images // subsets), references) <= limit

    if fits(subsets):
        return
    enough = next((s for s in range(subsets, images // 2 + 1) if fits(s)), None)
    needed = needed_bytes(backbone, -(-images // subsets), references)
    advice = f"--subsets {enough} would fit" if enough else "no number of subsets would fit"
    msg = (
        f"{images} images in {subsets} subset(s) need {needed / 1e9:.1f} GB, "
        f"{limit / 1e9:.1f} GB are free for it; {advice}"
    )
    raise BatchScoreError(msg)


class _JobFolder:
    """What finished subsets yielded, on disk, under the digest of all that decides it."""

    def __init__(
        self, settings: ScoreSettings, names: list[str], references: list[str], model: str
    ) -> None:
        files = [file_identity(settings.images, name) for name in names]
        if settings.references is not None:
            files += [file_identity(settings.references, name) for name in references]
        decisive = (model, settings.plus, settings.subsets, files)
        digest = hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]
        self._folder = settings.out / "partial" / digest
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"--out {settings.out}: {error.strerror}"
            raise BatchScoreError(msg) from error

    def has(self, number: int) -> bool:
        """Tell whether a subset is finished."""
        return self._path(number).exists()

    def keep(self, number: int, part: SubsetScores) -> None:
        """Write what a subset yielded, in one step."""
        partial = self._path(number).with_suffix(".partial")
        words = json.dumps({"names": part.names, "skipped": part.skipped})
        with partial.open("wb") as file:
            np.savez(
                file,
                words=np.frombuffer(words.encode(), np.uint8),
                patch_scores=part.patch_scores.numpy(),
                image_features=part.image_features.numpy(),
            )
        partial.replace(self._path(number))

    def load(self, number: int) -> SubsetScores:
        """Return what a subset yielded."""
        with np.load(self._path(number), allow_pickle=False) as kept:
            words = json.loads(kept["words"].tobytes())
            patch_scores = torch.from_numpy(kept["patch_scores"])
            image_features = torch.from_numpy(kept["image_features"])
        return SubsetScores(words["names"], words["skipped"], patch_scores, image_features)

    def _path(self, number: int) -> Path:
        return self._folder / f"subset-{number:04d}.npz"


def join_subsets(
    parts: Sequence[SubsetScores], image_size: int, neighbours: Sequence[int] = NEIGHBOURS
) -> FolderScores:
    """Join subsets in the order of the names, and rescore over all of them.

    Args:
        parts: What each subset yielded.
        image_size: Side of the maps whose maximum is a frame's score.
        neighbours: As ``rscin.rescore``; if empty, scores stay as they are.
    """
    names = [name for part in parts for name in part.names]
    order = sorted(range(len(names)), key=names.__getitem__)
    patch_scores = torch.cat([part.patch_scores for part in parts])[order]
    image_features = torch.cat([part.image_features for part in parts])[order]
    chunks = [frame_scores(chunk, image_size) for chunk in torch.split(patch_scores, CHUNK)]
    scores = torch.cat(chunks)
    rescored = rescore(scores, image_features, neighbours) if neighbours else scores
    return FolderScores(
        names=[names[index] for index in order],
        scores=scores.numpy(),
        rescored=rescored.numpy(),
        patch_scores=patch_scores.numpy(),
        skipped={name: why for part in parts for name, why in part.skipped.items()},
    )
