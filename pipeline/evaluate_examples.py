"""Which images of a category are shown, and what is kept of them for a page.

By turns: the anomalous image with the highest score, the anomalous one with the lowest (a
miss, if any), the good one with the highest (a false alarm, if any), then the next of each,
until there are enough; where one kind is used up the others go on. Scores are those after
RsCIN, as the image measures take them, and equal ones stand in the order of the names. So
the first N of more are those that N alone would be, and a page of fewer needs no new scores.

Of each image its patch scores are kept, 3 kB at 37 x 37 patches; nothing is kept of others
but their range.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipeline.batch_score import FolderScores
    from pipeline.dataset_samples import Category

KEPT = 30
"""Examples of a category that are kept, so that a finished run can show so many."""
ExampleKind: TypeAlias = Literal["highest anomalous", "lowest anomalous", "highest good"]


class Example(BaseModel):
    """One image that is shown."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    kind: ExampleKind
    """Why it is."""
    name: str
    score: float
    rescored: float
    patches: bytes
    """Patch scores as float16, compressed."""

    def patch_scores(self) -> npt.NDArray[np.float32]:
        """Return [P]."""
        return np.frombuffer(zlib.decompress(self.patches), "<f2").astype(np.float32)


class Examples(BaseModel):
    """What is kept of one category."""

    model_config = ConfigDict(extra="forbid")

    median: float
    """Of the patch scores of all images."""
    highest: float
    """Patch score of all images."""
    images: list[Example]
    """In the order of their choice."""
    whole: bool
    """Whether these are all images there are."""

    def suffice(self, count: int) -> bool:
        """Tell whether as many are kept as there can be of ``count``."""
        return self.whole or len(self.images) >= count


def choose_examples(scores: FolderScores, category: Category, count: int) -> Examples:
    """Choose up to ``count`` images of a category.

    Args:
        scores: Of its readable images, in the order of their names.
        category: Says which are anomalous.
        count: At most.
    """
    anomalous = {sample.name for sample in category.samples if sample.is_anomalous}
    falling = np.argsort(-scores.rescored, kind="stable").tolist()
    bad = deque(row for row in falling if scores.names[row] in anomalous)
    good = deque(row for row in falling if scores.names[row] not in anomalous)
    images: list[Example] = []

    def take(kind: ExampleKind, row: int) -> None:
        patches = zlib.compress(scores.patch_scores[row].astype("<f2").tobytes())
        images.append(
            Example(
                kind=kind,
                name=scores.names[row],
                score=float(scores.scores[row]),
                rescored=float(scores.rescored[row]),
                patches=patches,
            )
        )

    while (bad or good) and len(images) < count:
        if bad:
            take("highest anomalous", bad.popleft())
        if bad and len(images) < count:
            take("lowest anomalous", bad.pop())
        if good and len(images) < count:
            take("highest good", good.popleft())
    return Examples(
        median=float(np.median(scores.patch_scores)),
        highest=float(scores.patch_scores.max()),
        images=images,
        whole=not (bad or good),
    )
