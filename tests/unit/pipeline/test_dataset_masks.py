"""Masks at the size of the maps: the authors' two ways and two plain ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from dataset_rig import write
from PIL import Image

from pipeline.dataset_masks import check_sizes, read_mask
from pipeline.dataset_samples import DatasetError, Sample

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.dataset_samples import DatasetKind

SAMPLE = Sample("image.png", is_anomalous=True, mask="mask.png")


def square(value: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return a mask of 60 px with a square of 21 px, not aligned with a grid of 4 px."""
    mask = np.zeros((60, 60), np.uint8)
    mask[18:39, 18:39] = value
    return mask


def test_authors_erode_and_dilate(tmp_path: Path) -> None:
    """At 15 px the authors' MVTec mask is inside the half-way one, their VisA mask around it."""
    write(tmp_path / "mask.png", square(255))

    eroded = read_mask(tmp_path, SAMPLE, 15, "musc", "mvtec")
    half = read_mask(tmp_path, SAMPLE, 15, "gt0.5", "mvtec")
    dilated = read_mask(tmp_path, SAMPLE, 15, "musc", "visa")
    traces = read_mask(tmp_path, SAMPLE, 15, "gt0", "mvtec")

    assert eroded.sum() < half.sum() < dilated.sum() <= traces.sum()
    assert not (eroded & ~half).any()
    assert not (half & ~dilated).any()


@pytest.mark.parametrize("kind", ["mvtec", "visa"])
def test_authors_masks_are_their_formula(tmp_path: Path, kind: DatasetKind) -> None:
    """Pillow's bilinear resize to 8 bits, divided by 255, then cast to int or compared with 0."""
    values = np.random.default_rng(1).integers(0, 2, (40, 30), np.uint8) * 255
    write(tmp_path / "mask.png", values)

    got = read_mask(tmp_path, SAMPLE, 56, "musc", kind)

    resized = Image.fromarray(values).resize((56, 56), Image.Resampling.BILINEAR)
    shares = np.asarray(resized).astype(np.float32) / 255
    expected = shares > 0 if kind == "visa" else shares.astype(np.int32) == 1
    np.testing.assert_array_equal(got, expected)


def test_any_value_is_anomalous_for_the_plain_ways(tmp_path: Path) -> None:
    """Masks of 0 and 1, as VisA has, are those of 0 and 255."""
    write(tmp_path / "mask.png", square(1))
    of_ones = [read_mask(tmp_path, SAMPLE, 15, mode, "folder") for mode in ("gt0.5", "gt0")]
    write(tmp_path / "mask.png", square(255))

    again = [read_mask(tmp_path, SAMPLE, 15, mode, "folder") for mode in ("gt0.5", "gt0")]

    np.testing.assert_array_equal(of_ones, again)
    assert again[0].any()


def test_good_image_has_an_empty_mask(tmp_path: Path) -> None:
    """No file is read for it."""
    mask = read_mask(tmp_path, Sample("x.png", is_anomalous=False), 8, "musc", "mvtec")

    assert mask.shape == (8, 8)
    assert not mask.any()


def test_masks_of_another_size_are_named(tmp_path: Path) -> None:
    """File and both sizes are in the message, before anything is scored."""
    write(tmp_path / "image.png", np.zeros((50, 60), np.uint8))
    write(tmp_path / "mask.png", square(255))

    with pytest.raises(DatasetError, match=r"mask.png 60 x 60 px, its image 60 x 50 px"):
        check_sizes(tmp_path, [SAMPLE])


def test_unreadable_mask_is_named(tmp_path: Path) -> None:
    """Text with the name of a mask is refused; an unreadable image is left to the scoring."""
    write(tmp_path / "image.png", np.zeros((60, 60), np.uint8))
    (tmp_path / "mask.png").write_text("text")
    with pytest.raises(DatasetError, match=r"mask .*mask.png"):
        check_sizes(tmp_path, [SAMPLE])

    (tmp_path / "image.png").write_text("text")
    write(tmp_path / "mask.png", square(255))
    check_sizes(tmp_path, [SAMPLE])
