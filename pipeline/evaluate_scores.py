"""The scores of one category for all rows of a table, each step done once.

Images are read and go through the backbone once, whatever the number of rows.
A stage and degree of aggregation is scored once for all rows that ask for it:
a row is the mean over its own. With one row the steps and their order are those
of ``musc-edge score``, so the scores are the same to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from musc.batch import MuSc
from musc.lnamd import aggregate
from musc.peer_intervals import Interval, interval_scores
from musc.vision_transformer import Features
from pipeline.batch_score import (
    LEAST_IMAGES,
    BatchScoreError,
    ReadImages,
    SubsetScores,
    check_memory,
    extract,
    join_subsets,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from musc.vision_transformer import Backbone
    from pipeline.ablations import Row
    from pipeline.batch_score import FolderScores
    from pipeline.dataset_samples import Category


class ScoringView(Protocol):
    """Is told how far the scoring is."""

    def images(self, count: int) -> None:
        """Count images that went through the backbone."""

    def scored(self, share: float) -> None:
        """Add a share of the category's scoring."""


class CategoryScorer:
    """Scores a category of a data set."""

    def __init__(
        self, backbone: Backbone, root: Path, category: Category, seed: int, view: ScoringView
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            backbone: Images to tokens.
            root: Folder of the data set.
            category: What is scored.
            seed: Decides which training images are references.
            view: Is told of progress.
        """
        self._backbone, self._root, self._view = backbone, root, view
        self._scorer = MuSc(backbone)
        self._names = [sample.name for sample in category.samples]
        order = np.random.default_rng(seed).permutation(len(category.training))
        self._training = [category.training[index] for index in order]

    def score(self, rows: Sequence[Row]) -> dict[str, FolderScores]:
        """Return the scores of each row, by its name.

        Raises:
            BatchScoreError: Too few images or training images, or too little memory.
        """
        counts = sorted({row.subsets for row in rows})
        shots = max(row.shots for row in rows)
        self._check(max(counts), shots)
        check_memory(self._backbone, len(self._names), shots, counts[0] if len(counts) == 1 else 1)
        known = self._references(shots)
        # Subsets of one number are read one by one, so that a large category fits.
        whole = self._read(self._names) if len(counts) > 1 else None
        parts: dict[str, list[SubsetScores]] = {row.name: [] for row in rows}
        for count in counts:
            own = [row for row in rows if row.subsets == count]
            for number in range(count):
                chosen = self._names[number::count]
                seen = self._read(chosen) if whole is None else _chosen(whole, chosen, count)
                self._check_readable(seen, shots)
                share = 1.0 / sum(counts)
                groups = _Groups(self._backbone, seen, known, own, self._view, share)
                for row in own:
                    parts[row.name].append(
                        SubsetScores(
                            seen.names,
                            seen.skipped,
                            groups.patch_scores(row),
                            seen.features.image_features,
                        )
                    )
        size = self._backbone.image_size
        return {row.name: join_subsets(parts[row.name], size, row.neighbours) for row in rows}

    def _read(self, names: Sequence[str]) -> ReadImages:
        return extract(self._scorer, self._backbone, self._root, names, self._view)

    def _references(self, shots: int) -> Features | None:
        """Return the features of so many training images.

        Raises:
            BatchScoreError: One cannot be read.
        """
        if not shots:
            return None
        seen = self._read(self._training[:shots])
        if seen.skipped:
            name, fault = next(iter(seen.skipped.items()))
            msg = f"training image {self._root / name}: {fault}; wanted a readable reference"
            raise BatchScoreError(msg)
        return seen.features

    def _check(self, subsets: int, shots: int) -> None:
        """Refuse what cannot be scored before the minutes that it takes to find out.

        Raises:
            BatchScoreError: Too few images or training images.
        """
        least = 1 if shots else LEAST_IMAGES
        if len(self._names) < least * subsets:
            msg = f"{len(self._names)} images in {subsets} subsets, wanted {least} for each"
            raise BatchScoreError(msg)
        if len(self._training) < shots:
            msg = f"{len(self._training)} good training images, {shots} references are wanted"
            raise BatchScoreError(msg)

    def _check_readable(self, seen: ReadImages, shots: int) -> None:
        """Refuse a subset of which too little can be read.

        Raises:
            BatchScoreError: The message names the first fault.
        """
        if not seen.names or len(seen.names) + shots < LEAST_IMAGES:
            fault = next(iter(seen.skipped.items()), ("", ""))
            msg = (
                f"{self._root}: {len(seen.names)} of {len(seen.names) + len(seen.skipped)} images "
                f"are readable, {': '.join(fault)}; wanted at least 2, or 1 with references"
            )
            raise BatchScoreError(msg)


def _chosen(seen: ReadImages, names: Sequence[str], count: int) -> ReadImages:
    """Return those images of a set that bear the names; of one subset that is all, uncopied."""
    if count == 1:
        return seen
    wanted = set(names)
    rows = [index for index, name in enumerate(seen.names) if name in wanted]
    features = Features(seen.features.tokens[rows], seen.features.image_features[rows])
    skipped = {name: why for name, why in seen.skipped.items() if name in wanted}
    return ReadImages([seen.names[row] for row in rows], features, skipped)


class _Groups:
    """Patch scores of a subset, a stage and degree at a time, computed when first asked for."""

    def __init__(
        self,
        backbone: Backbone,
        seen: ReadImages,
        known: Features | None,
        rows: Sequence[Row],
        view: ScoringView,
        share: float,
    ) -> None:
        """Prepare; nothing is scored yet.

        Args:
            backbone: Whose tokens these are.
            seen: The images.
            known: All references, in the order in which they join.
            rows: All rows that will be asked for.
            view: Is told of progress.
            share: Of the category's scoring that this subset is.
        """
        self._backbone, self._features, self._known = backbone, seen.features, known
        self._view = view
        self._intervals = tuple(dict.fromkeys(row.interval for row in rows))
        self._kept: dict[tuple[object, ...], torch.Tensor] = {}
        stages = range(self._features.tokens.shape[1])
        keys = {self._key(row, stage, r) for row in rows for stage in stages for r in row.degrees}
        self._step = share / len(keys)

    def patch_scores(self, row: Row) -> torch.Tensor:
        """Return [n, P], the mean over the stages and degrees of a row."""
        tokens = self._features.tokens
        groups = [(stage, r) for stage in range(tokens.shape[1]) for r in row.degrees]
        total = torch.zeros(tokens.shape[0], tokens.shape[2])
        for stage, degree in groups:
            total += self._group(row, stage, degree)
        return total / len(groups)

    def _group(self, row: Row, stage: int, degree: int) -> torch.Tensor:
        key = self._key(row, stage, degree)
        if key not in self._kept:
            if _is_plain(row.interval) and (row.shots or len(self._intervals) == 1):
                new = {key: self._as_score(row, stage, degree)}
            else:
                new = self._all_intervals(row, stage, degree)
            self._kept |= new
            self._view.scored(self._step * len(new))
        return self._kept[key]

    def _as_score(self, row: Row, stage: int, degree: int) -> torch.Tensor:
        """Score a group as ``musc-edge score`` does."""
        known = None
        if self._known is not None and row.shots:
            tokens = self._known.tokens[: row.shots, stage : stage + 1]
            known = Features(tokens, self._known.image_features[: row.shots])
        own = Features(self._features.tokens[:, stage : stage + 1], self._features.image_features)
        scorer = MuSc(self._backbone, degrees=(degree,), keep_lowest=row.interval.highest)
        return scorer.patch_scores(own, references=known, plus=row.plus)

    def _all_intervals(
        self, row: Row, stage: int, degree: int
    ) -> dict[tuple[object, ...], torch.Tensor]:
        """Score a group once for all intervals."""
        tokens = self._features.tokens[:, stage : stage + 1].to(self._backbone.device)
        scores = interval_scores(aggregate(tokens, (degree,)), self._intervals).cpu()
        keys = [(*self._key(row, stage, degree)[:-1], interval) for interval in self._intervals]
        return dict(zip(keys, scores, strict=True))

    @staticmethod
    def _key(row: Row, stage: int, degree: int) -> tuple[object, ...]:
        return stage, degree, row.shots, row.plus, row.interval


def _is_plain(interval: Interval) -> bool:
    return interval.lowest == 0.0 and interval.take == "mean"
