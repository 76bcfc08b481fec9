"""Good images of a camera, read and checked: named where they cannot be what they should.

Whoever gives references wants parts to be held to them. So a folder that cannot be used,
one image of it even, is an error with its name: before a line starts, and at a camera's
first frame, which then gets no result. No torch here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import LineError
from edge.sources.folder import read_capture
from pipeline.good_folder import good_files, recipe_folder, recipe_folders

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import Pixels
    from edge.sources import Capture
    from pipeline.config import Config


class GoodImagesError(LineError):
    """Good images cannot be used; the message names file, reason and limit."""

    exit_code = 2


def check_good_images(config: Config) -> dict[str, int]:
    """Read the good images of all cameras and recipes; return how many each camera has.

    Raises:
        GoodImagesError: A folder or one of its images cannot be used.
    """
    counts: dict[str, int] = {}
    for camera in config.camera:
        if camera.good_path is None:
            continue
        recipes = {config.line.recipe, *(one.name for one in recipe_folders(camera.good_path))}
        counts[camera.id] = sum(
            len(read_good_images(config, camera.id, camera.good_path, recipe))
            for recipe in sorted(recipes)
        )
    return counts


def read_good_images(config: Config, camera: str, root: Path, recipe: str) -> list[Capture]:
    """Return a recipe's good images by name, all alike; none where it has no folder.

    Args:
        config: For its own recipe and ``window.pins_frames``.
        camera: Whose they are.
        root: Its ``good_path``.
        recipe: The recipe.

    Raises:
        GoodImagesError: The folder cannot be read or is empty, holds more than can be
            pinned, is not the only one, or an image in it is unreadable or unlike the first.
    """
    own = config.line.recipe
    folder = recipe_folder(root, recipe, own)
    where = f"camera {camera}: good_path {folder or root}"
    try:
        direct = good_files(root)  # a folder that is away is not one without this recipe
        files = good_files(folder) if folder is not None else []
    except OSError as error:
        msg = f"{where}: {error.strerror}"
        raise GoodImagesError(msg) from error
    if folder is None:
        return []
    if direct and recipe == own and folder != root:
        msg = f"{where}: {direct[0].name} is of this recipe too, beside the folder; use one place"
        raise GoodImagesError(msg)
    most = config.window.pins_frames
    if not 0 < len(files) <= most:
        msg = f"{where}: {len(files)} images, must be 1 to window.pins_frames = {most}"
        raise GoodImagesError(msg)
    captures = [read_capture(file) for file in files]
    for capture in captures:
        if capture.pixels is None:
            msg = f"{where}: {capture.fault}"
            raise GoodImagesError(msg)
        if captures[0].pixels is not None and (
            odd := difference(capture.pixels, captures[0].pixels)
        ):
            msg = f"{where}: {capture.origin} is {odd} as {captures[0].origin}"
            raise GoodImagesError(msg)
    return captures


def difference(image: Pixels, other: Pixels) -> str:
    """Say in what an image differs from another, or a frame; nothing where they are alike.

    Depths beyond 8 bits are alike: kept images fill 16 bits (``evidence_encoder``).
    """
    if (image.shape, image.dtype) == (other.shape, other.dtype):
        return ""
    return f"{image.shape} {image.dtype}, not {other.shape} {other.dtype}"
