"""Any folder of images, for the batch commands: no conventions, no surprises.

Sub-folders are entered, names are relative to the folder, hidden files are left
alone, and a file that cannot be read is a named skip, never the end.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edge.errors import LineError
from edge.sources.folder import SUFFIXES, read_capture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.sources import Capture


class ImageFolderError(LineError):
    """A folder of images cannot be used; the message names it."""


def list_images(root: Path, leave_out: Path | None = None) -> list[str]:
    """Return the images below ``root``, relative, in code point order.

    Args:
        root: The folder; sub-folders are entered.
        leave_out: A folder whose images are not meant, such as the results.

    Raises:
        ImageFolderError: No such folder, or no image in it.
    """
    if not root.is_dir():
        msg = f"image folder {root}: no such folder"
        raise ImageFolderError(msg)
    names = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and not (leave_out is not None and path.resolve().is_relative_to(leave_out.resolve()))
    )
    if not names:
        msg = f"image folder {root} has no image ({', '.join(sorted(SUFFIXES))})"
        raise ImageFolderError(msg)
    return names


def load_image(root: Path, name: str) -> Capture:
    """Read one image; a capture with a fault where that is not possible."""
    return read_capture(root / name)


def file_identity(root: Path, name: str) -> tuple[str, int, int]:
    """Return name, bytes and time of change (ns) of a file: other content, other identity."""
    stat = (root / name).stat()
    return name, stat.st_size, stat.st_mtime_ns


def output_names(names: Sequence[str]) -> dict[str, str]:
    """Return a name without suffix for each image's results, never the same for two.

    It is the relative path without its suffix; where two images differ in their
    suffix only, the suffix stays as part of the name.
    """
    stems = Counter(str(PurePosixPath(name).with_suffix("")) for name in names)
    chosen: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        stem = str(path.with_suffix(""))
        if stems[stem] > 1:
            stem = str(path.with_name(f"{path.stem}_{path.suffix[1:]}"))
        chosen[name] = stem
    return chosen
