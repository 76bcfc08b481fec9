"""Where a camera's good images lie, and whether they are still the same.

``good_path`` is a folder of images that somebody has looked at. Those directly in it are of
the config's own recipe; a folder in it that is named after a recipe has that recipe's, so
that a changeover never compares one product with another. Hidden files are left alone.
This module opens no image: gate and command line only ask for the digest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def recipe_folder(root: Path, recipe: str, own: str) -> Path | None:
    """Return the folder of a recipe's good images; None where it has none.

    Args:
        root: The camera's ``good_path``.
        recipe: The recipe.
        own: The config's own one.
    """
    folder = root / recipe
    if folder.is_dir() and not recipe.startswith("."):
        return folder
    return root if recipe == own else None


def recipe_folders(root: Path) -> list[Path]:
    """Return the folders of recipes in ``good_path``; none where it is not there."""
    if not root.is_dir():
        return []
    return sorted(one for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))


def good_files(folder: Path) -> list[Path]:
    """Return the files of a folder, by name in code point order.

    Raises:
        OSError: It cannot be read.
    """
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted((path for path in shown if path.is_file()), key=lambda path: path.name)


def content_digest(folder: Path | None) -> str | None:
    """Return eight hex digits over the files of a folder; None for none, or an unreadable one.

    Contents count and their order, not names or dates: a copied folder is the same.
    """
    if folder is None:
        return None
    whole = hashlib.sha256()
    try:
        for path in good_files(folder):
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return whole.hexdigest()[:8]
