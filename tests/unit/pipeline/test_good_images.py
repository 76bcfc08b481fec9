"""Good images that cannot be used are refused by name, before a line starts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from factories import config

from pipeline.good_images import GoodImagesError, check_good_images

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config


def put(path: Path, *shape: int, kind: type = np.uint8) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros(shape or (28, 28), kind))


def line(folder: Path, **window: object) -> Config:
    """Return a line whose camera has good images."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1, "good_path": folder}
    return config(camera=[camera], window=window)


def test_images_of_all_recipes_are_counted(tmp_path: Path) -> None:
    """Those of the config's recipe and those of the folders named after others."""
    for name in ("a.png", "b.png", "lid/c.png"):
        put(tmp_path / name)

    assert check_good_images(line(tmp_path)) == {"c1": 3}
    assert check_good_images(config()) == {}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "0 images, must be 1 to window.pins_frames = 2"),
        ({"a": (), "b": (), "c": ()}, "3 images, must be 1 to window.pins_frames = 2"),
        ({"a": (), "b": (28, 27)}, "b.png is (28, 27) uint8, not (28, 28) uint8 as a.png"),
        ({"a": (), "b": (28, 28, 3)}, "b.png is (28, 28, 3) uint8"),
        ({"a": (), "default/b": ()}, "a.png is of this recipe too"),
        ({"a": (), "lid/b": (), "lid/c": (9, 9)}, "lid: c.png is (9, 9) uint8"),
    ],
)
def test_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, files: dict[str, tuple[int, ...]], words: str
) -> None:
    """Too many, none, or one unlike the others: camera, folder, file and limit are named."""
    for name, shape in files.items():
        put(tmp_path / f"{name}.png", *shape)

    with pytest.raises(GoodImagesError) as caught:
        check_good_images(line(tmp_path, pins_frames=2))

    assert f"camera c1: good_path {tmp_path}" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"notes of the quality manager"])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    """Whatever lies there is meant to be a good part."""
    put(tmp_path / "a.png")
    (tmp_path / "b.txt").write_bytes(content)

    with pytest.raises(GoodImagesError, match=r"b\.txt: the file"):
        check_good_images(line(tmp_path))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """A path that is not there is no line without references."""
    with pytest.raises(GoodImagesError, match="gone: No such file"):
        check_good_images(line(tmp_path / "gone"))


def test_check_config_counts_and_refuses(tmp_path: Path) -> None:
    """The check tells how many there are, and is exit 2 where they cannot be used."""
    path = tmp_path / "line.toml"
    camera = '[[camera]]\nid = "c1"\nkind = "synthetic"\ninterval_ms = 1\ngood_path = "good"\n'
    path.write_text(camera)
    command = [sys.executable, "-m", "pipeline", "check-config", str(path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    put(tmp_path / "good" / "a.png")

    accepted = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (refused.returncode, accepted.returncode) == (2, 0)
    assert refused.stderr.startswith(f"musc-edge: camera c1: good_path {tmp_path / 'good'}: No")
    assert "camera c1: 1 good images" in accepted.stdout
