"""The data sets of the papers, in their official layouts, and plain folders with labels.

Only the test split is scored; the good images of the training split are what
references are drawn from. Layouts, below the root:

- ``mvtec`` (MVTec AD): ``bottle/test/good/000.png``, ``bottle/test/<defect>/000.png`` with
  ``bottle/ground_truth/<defect>/000_mask.png``, and ``bottle/train/good/000.png``.
- ``btad`` (BTAD, folder BTech_Dataset_transformed): ``01/test/ok``, ``01/test/ko`` with
  ``01/ground_truth/ko``, and ``01/train/ok``; a mask has its image's name, bmp or png.
- ``visa`` (VisA): ``split_csv/1cls.csv`` with the columns object, split (train or test),
  label (normal or anomaly), image and mask, both paths below the root.
- ``folder``: see ``pipeline.dataset_folder``.
"""

from __future__ import annotations

import csv
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from edge.sources.folder import is_image_name
from pipeline.dataset_folder import folder_category
from pipeline.dataset_samples import Category, DatasetError, Sample, keyed, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.dataset_samples import DatasetKind


class _Layout(NamedTuple):
    """The words in which MVTec AD and BTAD differ."""

    good: str
    mask_ending: str
    example: str


_LAYOUTS = {
    "mvtec": _Layout("good", "_mask", "bottle/test/good and bottle/ground_truth/<defect>"),
    "btad": _Layout("ok", "", "01/test/ok and 01/ground_truth/ko"),
}
_VISA_TABLE = "split_csv/1cls.csv"
_VISA_COLUMNS = ("object", "split", "label", "image", "mask")
_VISA_LABELS = ("normal", "anomaly")


def open_dataset(
    kind: DatasetKind,
    root: Path,
    wanted: Sequence[str] = (),
    *,
    references: Path | None = None,
    leave_out: Path | None = None,
) -> list[Category]:
    """List the categories of a data set, by name.

    Args:
        kind: Which layout.
        root: The folder that the archive of the data set makes.
        wanted: Only these categories; all if empty.
        references: Good images for a plain folder.
        leave_out: A folder below a plain folder whose images are not meant.

    Raises:
        DatasetError: The layout is another, or a category is not there.
        ImageFolderError: A plain folder, or that of the references, has no image.
    """
    if not root.is_dir():
        msg = f"--root {root}: no such folder"
        raise DatasetError(msg)
    if kind == "folder":
        found = [folder_category(root, references, leave_out)]
    elif kind == "visa":
        found = _visa(root)
    else:
        found = _by_folders(root, kind, wanted)
    missing = sorted(set(wanted) - {category.name for category in found})
    if missing:
        names = ", ".join(category.name for category in found)
        msg = f"{root} has no category {missing[0]!r}; there are {names}"
        raise DatasetError(msg)
    return [category for category in found if not wanted or category.name in wanted]


def _by_folders(root: Path, kind: str, wanted: Sequence[str]) -> list[Category]:
    """List MVTec AD or BTAD.

    Raises:
        DatasetError: No category, or a faulty one among those wanted.
    """
    layout = _LAYOUTS[kind]
    folders = sorted(path for path in _folders(root) if (path / "test").is_dir())
    if not folders:
        one = " It is itself a category: its parent is wanted." if (root / "test").is_dir() else ""
        msg = f"{root} has no category of {kind}; wanted folders like {layout.example}.{one}"
        raise DatasetError(msg)
    chosen = [path for path in folders if not wanted or path.name in wanted]
    # An unknown name is refused by the caller, with all there are.
    return [_category(root, path, layout) for path in chosen or folders]


def _category(root: Path, folder: Path, layout: _Layout) -> Category:
    """Read one category of MVTec AD or BTAD.

    Raises:
        DatasetError: A folder is missing or too much, or images and masks do not pair.
    """
    tests, truth = folder / "test", folder / "ground_truth"
    defects = [path.name for path in sorted(_folders(tests)) if path.name != layout.good]
    if not (tests / layout.good).is_dir() or not defects:
        msg = f"{tests}: wanted a folder {layout.good!r} and at least one of a defect"
        raise DatasetError(msg)
    truths = {path.name for path in _folders(truth)} if truth.is_dir() else set()
    odd = sorted(truths ^ set(defects))
    refuse(
        f"defects of {folder.name} that are not in both test and ground_truth",
        odd,
        f"the same folders in {tests} (beside {layout.good}) and in {truth}",
    )
    samples = [Sample(name, is_anomalous=False) for name in _images(root, tests / layout.good)]
    for defect in defects:
        samples += _with_masks(root, tests / defect, truth / defect, layout)
    train = folder / "train" / layout.good
    training = _images(root, train) if train.is_dir() else []
    return Category(folder.name, _in_order(samples), tuple(training))


def _with_masks(root: Path, images: Path, masks: Path, layout: _Layout) -> list[Sample]:
    """Pair the images of a defect with their masks.

    Raises:
        DatasetError: An image without a mask, or a mask without an image.
    """

    def stem(name: str) -> str:
        return PurePosixPath(name).stem

    own = keyed(_images(root, images), stem)
    theirs = keyed(_images(root, masks), lambda name: stem(name).removesuffix(layout.mask_ending))
    wanted = f"{masks.relative_to(root).as_posix()}/<name>{layout.mask_ending}.png for each"
    refuse(
        "images without a mask", [own[key] for key in sorted(own.keys() - theirs.keys())], wanted
    )
    lonely = [theirs[key] for key in sorted(theirs.keys() - own.keys())]
    refuse("masks without an image", lonely, f"their images in {images}")
    return [Sample(name, is_anomalous=True, mask=theirs[key]) for key, name in own.items()]


def _visa(root: Path) -> list[Category]:
    """List VisA by its table.

    Raises:
        DatasetError: No such table, a wrong row, or files that are not there.
    """
    table = root / _VISA_TABLE
    rows = _visa_rows(table)
    named = [row[column] for row in rows for column in ("image", "mask") if row[column]]
    gone = [name for name in named if not (root / name).is_file()]
    refuse(f"files of {_VISA_TABLE} that are not there", gone, f"them below {root}")
    categories = []
    for name in sorted({row["object"] for row in rows}):
        own = [row for row in rows if row["object"] == name]
        tests = [row for row in own if row["split"] == "test"]
        samples = [
            Sample(row["image"], row["label"] == "anomaly", row["mask"] or None) for row in tests
        ]
        training = [
            row["image"] for row in own if row["split"] == "train" and row["label"] == "normal"
        ]
        categories.append(Category(name, _in_order(samples), tuple(sorted(training))))
    return categories


def _visa_rows(table: Path) -> list[dict[str, str]]:
    """Read the table of splits.

    Raises:
        DatasetError: It cannot be read, or a row is not what VisA's are.
    """
    columns = ",".join(_VISA_COLUMNS)
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != _VISA_COLUMNS:
                msg = f"{table}: columns {reader.fieldnames}, wanted {columns}"
                raise DatasetError(msg)
            rows: list[dict[str, str]] = list(reader)
    except OSError as error:
        msg = f"{table}: {error.strerror}; wanted VisA's table with the columns {columns}"
        raise DatasetError(msg) from error
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{table}: {error}"
        raise DatasetError(msg) from error
    for number, row in enumerate(rows, 2):
        known = row["split"] in {"train", "test"} and row["label"] in _VISA_LABELS
        # A good image has no mask; an anomalous one of the test split has one.
        masked = row["split"] == "train" or bool(row["mask"]) == (row["label"] == "anomaly")
        if None in row.values() or not known or not masked or not row["image"]:
            msg = (
                f"{table}, line {number}: {','.join(str(value) for value in row.values())}; wanted "
                f"{columns} with train or test, normal or anomaly, a mask where anomaly"
            )
            raise DatasetError(msg)
    return rows


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _images(root: Path, folder: Path) -> list[str]:
    """Return the images directly in a folder, as paths below the root, in order."""
    paths = (path for path in folder.iterdir() if is_image_name(path.name))
    return sorted(path.relative_to(root).as_posix() for path in paths)


def _in_order(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda sample: sample.name))
