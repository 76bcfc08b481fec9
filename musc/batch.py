"""MuSc on a set of images: the method in one object, for notebooks and batch commands.

No fit: the images of a call score each other. The two halves can be called apart,
so that features are extracted once and scored often, or a large set is scored in
subsets and rescored on their union:

1. ``features``: images -> patch tokens and image features, a batch at a time.
2. ``patch_scores``: tokens -> one score for each patch, a group at a time.
3. ``result``: patch scores -> maps, frame scores, rescored frame scores.

Here lies only the order of the steps; each is a function of its own module. A
stream has ``musc.sliding`` instead.

Source: Li et al., MuSc, ICLR 2024, section 3 and appendix A.6.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musc import msm
from musc.anomaly_map import upsample
from musc.few_shot import few_shot_scores, reference_scores
from musc.lnamd import DEGREES, aggregate
from musc.preprocess import PixelFormat, to_batch
from musc.rscin import NEIGHBOURS, rescore
from musc.vision_transformer import Backbone, Features

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""[height, width] or [height, width, 3], as ``preprocess.to_batch`` takes it."""

Progress: TypeAlias = Callable[[Sequence[int]], Iterable[int]]
"""Wraps the steps of a loop and passes them on, as ``tqdm.tqdm`` and ``rich.progress.track`` do."""


@dataclass(frozen=True)
class Result:
    """What MuSc says of N images; higher means more anomalous."""

    scores: NDArray[np.float32]
    """Frame scores [N]: the maximum of each map."""

    rescored: NDArray[np.float32]
    """Frame scores [N] after RsCIN, on the same scale."""

    maps: NDArray[np.float32]
    """Anomaly maps [N, h, w], h = w = the backbone's image size; each covers its whole image."""

    patch_scores: NDArray[np.float32]
    """Patch scores [N, P], patches row-major on a square grid."""


class MuSc:
    """Zero-shot anomaly scores for the images of a set, from each other.

    Memory, in float32 numbers for N images: tokens N*S*P*C, kept in main memory; one
    group at work on the backbone's device, about 5*N*P*C + N*N*P; maps N*h*w. For
    N = 140 at DINOv2 ViT-S/14 and 224 px (S = 4, P = 256, C = 384): 220 MB of tokens,
    290 MB at work and 28 MB of maps, where all 12 groups at once would be 660 MB. For
    N = 140 at CLIP ViT-L-14-336 and 518 px: 3.1 GB, 4.0 GB and 150 MB. Larger sets are
    scored in subsets.

    Example:
        Five parts, the fourth with a bright spot; the weights are random here.

        >>> import numpy as np, timm, torch
        >>> from musc import MuSc
        >>> from musc.backbone import TimmBackbone
        >>> _ = torch.manual_seed(0)
        >>> network = timm.create_model("test_vit", num_classes=0)
        >>> backbone = TimmBackbone("test_vit", network.state_dict(), image_size=96)
        >>> noise = np.random.default_rng(0)
        >>> parts = [noise.integers(90, 110, (120, 160, 3), np.uint8) for _ in range(5)]
        >>> parts[3][40:80, 60:100] = 250
        >>> result = MuSc(backbone).score(parts)
        >>> int(result.scores.argmax())
        3
        >>> result.maps.shape
        (5, 96, 96)
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        degrees: Sequence[int] = DEGREES,
        keep_lowest: float = msm.KEEP_LOWEST,
        neighbours: Sequence[int] = NEIGHBOURS,
        interpolate: bool = False,
        batch_size: int = 8,
    ) -> None:
        """Choose the settings; the defaults are the authors'.

        Args:
            backbone: Where the tokens come from, and on whose device they are scored.
            degrees: As ``lnamd.aggregate``.
            keep_lowest: As ``msm.mutual_scores``.
            neighbours: As ``rscin.rescore``; the authors use (1, 8, 9) for VisA.
            interpolate: As ``msm.mutual_scores``.
            batch_size: Images that go through the backbone at once.

        Raises:
            ValueError: A setting outside its limits.
        """
        if batch_size < 1:
            msg = f"batch_size is {batch_size}, wanted at least 1 image"
            raise ValueError(msg)
        # The steps refuse these themselves, but only after the backbone's minutes of work.
        msm.check_share(keep_lowest)
        aggregate(torch.zeros(1, 1, 1, 1), degrees)
        rescore(torch.zeros(1), torch.zeros(1, 1), neighbours)
        self._backbone = backbone
        self._degrees = tuple(degrees)
        self._keep_lowest = keep_lowest
        self._neighbours = tuple(neighbours)
        self._interpolate = interpolate
        self._batch_size = batch_size

    def score(
        self,
        images: Sequence[Image],
        *,
        references: Sequence[Image] | None = None,
        plus: bool = False,
        bit_depth: int = 8,
        pixel_format: PixelFormat = "rgb",
        progress: Progress = iter,
    ) -> Result:
        """Score a set of images.

        Args:
            images: Arrays as ``preprocess.to_batch`` takes them; sizes may differ.
            references: Known good images of the same kind, which join the images
                that score (few-shot) or replace them (``plus``).
            plus: Whether references alone score (MuSc+).
            bit_depth: Significant bits of a value.
            pixel_format: "rgb", "bgr" or "mono".
            progress: Called with the steps of each loop in turn: batches of the
                references, if any, batches of the images, groups of tokens.

        Returns:
            The scores, in the order of the images.

        Raises:
            ValueError: No image, one image and no reference, an image that is not
                what the arguments declare, or ``plus`` without references.
        """
        if plus and not references:
            msg = "plus is set and references are missing, wanted at least 1 reference"
            raise ValueError(msg)
        known_count = len(references or ())
        if len(images) + known_count < 2:  # noqa: PLR2004 - an image and a peer
            msg = f"{len(images)} images and {known_count} references, wanted at least 2 together"
            raise ValueError(msg)

        def extracted(of: Sequence[Image]) -> Features:
            return self.features(
                of, bit_depth=bit_depth, pixel_format=pixel_format, progress=progress
            )

        known = extracted(references) if references else None
        return self.score_features(
            extracted(images), references=known, plus=plus, progress=progress
        )

    def features(
        self,
        images: Sequence[Image],
        *,
        bit_depth: int = 8,
        pixel_format: PixelFormat = "rgb",
        progress: Progress = iter,
    ) -> Features:
        """Extract the tokens and image features of a set, a batch at a time.

        Args:
            images: As ``score``; only a batch of them is asked for at once, so a
                sequence that reads its files on demand need not hold them.
            bit_depth: As ``score``.
            pixel_format: As ``score``.
            progress: Called with the numbers of the batches.

        Returns:
            Tokens [N, S, P, C], not yet aggregated, and image features [N, D], in
            main memory.

        Raises:
            ValueError: No image, or one that is not what the arguments declare.
        """
        if not len(images):
            msg = "images are empty, wanted at least 1"
            raise ValueError(msg)
        backbone, count = self._backbone, len(images)
        tokens = torch.empty(count, len(backbone.stages), backbone.patches, backbone.channels)
        image_features: list[Tensor] = []
        for number in progress(range(-(-count // self._batch_size))):
            first = number * self._batch_size
            rows = range(first, min(first + self._batch_size, count))
            batch = to_batch(
                [images[row] for row in rows],
                image_size=backbone.image_size,
                mean=backbone.mean,
                std=backbone.std,
                bit_depth=bit_depth,
                pixel_format=pixel_format,
                device=backbone.device,
            )
            seen = backbone.extract(batch)
            tokens[rows.start : rows.stop] = seen.tokens
            image_features.append(seen.image_features.cpu())
        return Features(tokens, torch.cat(image_features))

    def score_features(
        self,
        features: Features,
        *,
        references: Features | None = None,
        plus: bool = False,
        progress: Progress = iter,
    ) -> Result:
        """Score a set whose features are there; arguments as ``patch_scores``."""
        scores = self.patch_scores(features, references=references, plus=plus, progress=progress)
        return self.result(scores, features.image_features)

    def patch_scores(
        self,
        features: Features,
        *,
        references: Features | None = None,
        plus: bool = False,
        progress: Progress = iter,
    ) -> Tensor:
        """Score every patch, one stage and degree at a time.

        Args:
            features: Of the images, as ``features`` returns them.
            references: Of known good images.
            plus: Whether references alone score.
            progress: Called with the numbers of the groups.

        Returns:
            [N, P] in main memory.

        Raises:
            ValueError: Shapes that do not fit, no peer, or ``plus`` without references.
        """
        groups = list(product(range(features.tokens.shape[1]), self._degrees))
        total = torch.zeros(features.tokens.shape[0], features.tokens.shape[2])
        for number in progress(range(len(groups))):
            own = self._group(features, *groups[number])
            known = None if references is None else self._group(references, *groups[number])
            total += self._scored(own, known, plus=plus).cpu()
        return total / len(groups)

    def result(self, patch_scores: Tensor, image_features: Tensor) -> Result:
        """Turn patch scores into maps and frame scores, rescored over all of them.

        Args:
            patch_scores: [N, P]; those of several subsets may be joined.
            image_features: [N, D] of unit length, in the same order.

        Returns:
            The result; RsCIN runs once, over all N.

        Raises:
            ValueError: Shapes that do not fit.
        """
        side = self._backbone.image_size
        maps = upsample(patch_scores, (side, side))
        scores = maps.amax(dim=(1, 2))
        rescored = rescore(scores, image_features, self._neighbours)
        return Result(scores.numpy(), rescored.numpy(), maps.numpy(), patch_scores.numpy())

    def _group(self, features: Features, stage: int, degree: int) -> Tensor:
        """One stage and degree on the backbone's device, aggregated: [N, 1, P, C]."""
        tokens = features.tokens[:, stage : stage + 1].to(self._backbone.device)
        return aggregate(tokens, (degree,))

    def _scored(self, own: Tensor, known: Tensor | None, *, plus: bool) -> Tensor:
        """Patch scores [N, P] of one group.

        Raises:
            ValueError: ``plus`` without references.
        """
        share, between = self._keep_lowest, self._interpolate
        if plus:
            if known is None:
                msg = "plus is set and references are missing, wanted at least 1 reference"
                raise ValueError(msg)
            return reference_scores(own, known)
        if known is None:
            return msm.mutual_scores(own, share, interpolate=between)
        return few_shot_scores(own, known, share, interpolate=between)
