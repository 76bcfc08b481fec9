"""The page of examples: photo, mask and anomaly map of a few images of each category.

All maps of a category have one scale: black up to the median of its patch scores, the last
colour at the highest, so that maps can be compared with each other. Photos and masks are
read once more; a map is drawn from the patch scores that were kept.

Source: as figures 11 to 16 of Li et al., MuSc, ICLR 2024; which images is chosen by
``evaluate_examples``.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from musc.anomaly_map import upsample
from pipeline.evaluate_examples import ExampleKind
from pipeline.heatmap import as_8bit
from pipeline.image_folder import load_image
from pipeline.page import inline, jpeg, shrunk, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.dataset_samples import Category, Sample
    from pipeline.evaluate_examples import Example, Examples
    from pipeline.evaluate_figures import MaskReader
    from pipeline.heatmap import Image

SHOWN_PX = 336
"""Longer side of a picture; the page shows it half as large until somebody zooms."""
PAGE = "examples.html"
_WORDS: dict[ExampleKind, str] = {
    "highest anomalous": "anomalous, highest score",
    "lowest anomalous": "anomalous, lowest score",
    "highest good": "good, highest score",
}
_RULE = (
    "Photo, mask and anomaly map. Chosen by turns: the anomalous image with the highest score, "
    "the anomalous one with the lowest (which is missed first), the good one with the highest "
    "(which is a false alarm first), and so on. Scores are those after RsCIN, in brackets those "
    "before."
)


def write_examples(
    out: Path,
    about: str,
    categories: Sequence[Category],
    examples: Mapping[str, Examples],
    count: int,
    masks: MaskReader,
) -> None:
    """Write OUT/examples.html.

    Args:
        out: The folder.
        about: What was evaluated, for the title.
        categories: Of the run.
        examples: What is kept of each, by its name.
        count: Images a category, at most.
        masks: How masks are read; its root is the data set's.

    Raises:
        DatasetError: A mask cannot be read.
        ReportError: The page cannot be written.
    """
    pieces = _pieces(categories, examples, count, masks)
    write_page(out / PAGE, f"Examples: {about}", pieces)


def heat(
    patch_scores: npt.NDArray[np.float32], median: float, highest: float, size_px: tuple[int, int]
) -> Image:
    """Return an anomaly map as a picture, BGR.

    Args:
        patch_scores: [P], row-major on a square grid.
        median: Where colour begins.
        highest: Where it ends; where it is no higher all is black.
        size_px: Height and width.
    """
    values = upsample(torch.from_numpy(patch_scores)[None], size_px)[0].numpy()
    share = (values - median) / (highest - median) if highest > median else np.zeros(size_px)
    scaled = (255 * np.clip(share, 0, 1)).round().astype(np.uint8)
    coloured: Any = cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)
    return np.asarray(coloured, np.uint8)


def _pieces(
    categories: Sequence[Category],
    examples: Mapping[str, Examples],
    count: int,
    masks: MaskReader,
) -> Iterator[str]:
    yield f"<p>{_RULE}</p>"
    for category in categories:
        kept = examples[category.name]
        samples = {sample.name: sample for sample in category.samples}
        anomalous = sum(sample.is_anomalous for sample in category.samples)
        yield (
            f"<h2>{html.escape(category.name)}</h2><p>{len(samples) - anomalous} good and "
            f"{anomalous} anomalous images; maps are black up to {kept.median:.4f}, the median "
            f"of its patch scores, and brightest at {kept.highest:.4f}, the highest.</p>"
        )
        yield '<div class="sheet wide">'
        for one in kept.images[:count]:
            yield _figure(one, kept, samples[one.name], masks)
        yield "</div>"


def _figure(one: Example, kept: Examples, sample: Sample, masks: MaskReader) -> str:
    photo = _photo(masks.root, one.name)
    height, width = (SHOWN_PX, SHOWN_PX) if photo is None else photo.shape[:2]
    pictures = [(photo, "photo")]
    if sample.mask is not None:
        mask = masks.read(sample).astype(np.uint8) * 255
        small: Any = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        pictures.append((small, "mask"))
    coloured = heat(one.patch_scores(), kept.median, kept.highest, (height, width))
    pictures.append((coloured, "anomaly map"))
    row = "".join(
        inline(None if picture is None else jpeg(picture), f"{what} of {one.name}")
        for picture, what in pictures
    )
    return (
        f'<figure><div class="row">{row}</div><figcaption>{_WORDS[one.kind]}: '
        f"<b>{one.rescored:.4f}</b> ({one.score:.4f})<br>{html.escape(one.name)}</figcaption>"
        "</figure>"
    )


def _photo(root: Path, name: str) -> Image | None:
    """Return a small image at 8 bits; None where it cannot be read any more."""
    capture = load_image(root, name)
    if capture.pixels is None:
        return None
    return shrunk(as_8bit(capture.pixels, name), SHOWN_PX)
