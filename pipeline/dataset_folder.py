"""A plain folder with labels, as one category.

Either ``labels.csv`` with the columns path, label (0 for good, 1 for anomalous)
and, if there are masks, mask; both paths count from the folder. Or a folder
``good`` beside folders of defects, at any depth, where an image is good if it
lies in ``good``; ``ground_truth`` at the top then holds the masks, under the
path of the image, with ``_mask`` behind the name or without. Masks are not
needed: without them there are no pixel figures.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pipeline.dataset_samples import Category, DatasetError, Sample, keyed, refuse
from pipeline.image_folder import list_images

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD_FOLDER = "good"
MASKS_FOLDER = "ground_truth"
LABELS_FILE = "labels.csv"


def folder_category(root: Path, references: Path | None, leave_out: Path | None) -> Category:
    """Read a plain folder.

    Args:
        root: The folder.
        references: Folder of good images that are not scored; it may lie in the first.
        leave_out: A folder below it whose images are not meant, such as the results.

    Raises:
        ImageFolderError: A folder without images.
        DatasetError: A label that is none, an image without a label, a mask without
            an image, or no good or no anomalous image.
    """
    training: list[str] = []
    if references is not None:
        training = [_below(root, references / name) for name in list_images(references)]
    names = [name for name in list_images(root, leave_out) if name not in set(training)]
    table = root / LABELS_FILE
    samples = _by_table(table, names) if table.exists() else _by_folders(root, names)
    anomalous = sum(sample.is_anomalous for sample in samples)
    if not 0 < anomalous < len(samples):
        msg = (
            f"{root}: {len(samples) - anomalous} good and {anomalous} anomalous images; wanted "
            f"both, by {LABELS_FILE} or by a folder {GOOD_FOLDER!r} beside others"
        )
        raise DatasetError(msg)
    samples.sort(key=lambda sample: sample.name)
    return Category(root.resolve().name, tuple(samples), tuple(sorted(training)))


def _below(root: Path, path: Path) -> str:
    """Return a path as it counts from the root, which it need not lie in."""
    return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()


def _by_folders(root: Path, names: Sequence[str]) -> list[Sample]:
    """Tell by the folder that an image lies in.

    Raises:
        DatasetError: An image at the top, or a mask without an image.
    """

    def key(name: str) -> str:
        return str(PurePosixPath(name).with_suffix(""))

    def key_of_image(mask: str) -> str:
        return key(mask).removeprefix(f"{MASKS_FOLDER}/").removesuffix("_mask")

    images = [name for name in names if not name.startswith(f"{MASKS_FOLDER}/")]
    top = [name for name in images if "/" not in name]
    refuse(f"images of {root} that lie in no folder", top, f"{GOOD_FOLDER}/ or that of a defect")
    masks = keyed((name for name in names if name.startswith(f"{MASKS_FOLDER}/")), key_of_image)
    own = keyed(images, key) if masks else {}
    lonely = [masks[key] for key in sorted(masks.keys() - own.keys())]
    refuse("masks without an image", lonely, f"{MASKS_FOLDER}/<path of the image> for each")
    samples = [
        Sample(name, name.split("/")[-2] != GOOD_FOLDER, masks.get(key(name))) for name in images
    ]
    _refuse_good_with_mask(samples)
    return samples


def _by_table(table: Path, names: Sequence[str]) -> list[Sample]:
    """Read the labels; images that the table does not name take no part.

    Raises:
        DatasetError: The table cannot be read, or a line is wrong.
    """
    wanted = "the columns path and label, 0 or 1, and mask if there are any"
    known, samples = set(names), []
    try:
        with table.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                name, label, mask = row.get("path"), row.get("label"), row.get("mask") or None
                if name not in known or label not in {"0", "1"}:
                    msg = f"{table}, line {number}: path {name!r}, label {label!r}; wanted {wanted}"
                    raise DatasetError(msg)
                known.remove(name)  # named again it is refused
                samples.append(Sample(name, label == "1", mask))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{table}: {error}; wanted {wanted}"
        raise DatasetError(msg) from error
    masks = [sample.mask for sample in samples if sample.mask]
    gone = [mask for mask in masks if not (table.parent / mask).is_file()]
    refuse(f"masks of {table} that are not there", gone, f"them below {table.parent}")
    _refuse_good_with_mask(samples)
    return samples


def _refuse_good_with_mask(samples: Sequence[Sample]) -> None:
    """Refuse labels that contradict the masks.

    Raises:
        DatasetError: A good image has a mask.
    """
    odd = [sample.name for sample in samples if sample.mask and not sample.is_anomalous]
    refuse("good images with a mask", odd, "masks for anomalous images only")
