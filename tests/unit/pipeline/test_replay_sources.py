"""A folder of images as one camera: order, names, clock, and what cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from factories import config
from replay_rig import write_parts

from edge.frame import FrameKey
from edge.sources import SourceError
from pipeline.config_file import ConfigError
from pipeline.replay_sources import FolderReplay, Seen, Unseen, natural

if TYPE_CHECKING:
    from pathlib import Path


def test_natural_order() -> None:
    """Numbers in names count by their value, everything else by code point."""
    names = ["b10.png", "b9.png", "a.png", "10.png", "9.png", "B1.png", "b09.png"]

    assert sorted(names, key=natural) == [
        "9.png", "10.png", "B1.png", "a.png", "b09.png", "b9.png", "b10.png"
    ]  # fmt: skip


def test_images_are_frames_from_one_on(tmp_path: Path) -> None:
    """Eleven images are frames 1 to 11 in natural order, each named by its file, on one clock."""
    source = FolderReplay(write_parts(tmp_path / "images", 11), None)

    steps = list(source.steps())

    announced = [step.announcement for step in steps if isinstance(step, Seen)]
    assert [one.seq for one in announced] == list(range(1, 12))
    assert [one.part_id for one in announced] == [str(number) for number in range(1, 12)]
    assert announced[-1].origin == "11.png"
    assert {one.boot for one in announced} == {source.boot}
    assert (announced[2].captured_at - announced[1].captured_at).total_seconds() == 1.0
    assert announced[2].captured_ns - announced[1].captured_ns == 1_000_000_000


def test_boot_follows_from_the_names(tmp_path: Path) -> None:
    """The same names are the same start of the camera, others are another."""
    one = FolderReplay(write_parts(tmp_path / "a", 3), None)
    same = FolderReplay(write_parts(tmp_path / "b", 3), None)
    other = FolderReplay(write_parts(tmp_path / "c", 4), None)

    assert one.boot == same.boot != other.boot
    assert len(one.boot) == 16


def test_camera_of_the_config(tmp_path: Path) -> None:
    """Id, interval, region of interest and part ids are those of the config's one camera."""
    camera = {"id": "top", "kind": "synthetic", "interval_ms": 250, "part_id": "counter"}
    settings = config(camera=[camera | {"roi_px": [7, 0, 14, 28]}])

    seen = list(FolderReplay(write_parts(tmp_path / "images", 2), settings).steps())[1]

    assert isinstance(seen, Seen)
    assert seen.frame.key.camera == "top"
    assert seen.announcement.part_id == "top-00000002"
    assert seen.announcement.captured_ns == 250_000_000
    assert seen.frame.pixels.shape == (28, 14)
    assert seen.frame.offset_px == (7, 0)


def test_frames_can_be_read_once_more(tmp_path: Path) -> None:
    """Single frames are those of the steps, in order; what is gone or was never there is not."""
    camera = {"id": "top", "kind": "synthetic", "interval_ms": 250, "roi_px": [7, 0, 14, 28]}
    folder = write_parts(tmp_path / "images", 12)
    source = FolderReplay(folder, config(camera=[camera]))
    steps = {step.announcement.seq: step for step in source.steps()}
    keys = [FrameKey("top", source.boot, seq) for seq in (11, 2, 5, 40)]
    (folder / "5.png").unlink()

    again = list(source.frames([*keys, FrameKey("c1", source.boot, 1)]))

    assert [frame.key.seq for frame in again] == [2, 11]
    for frame in again:
        step = steps[frame.key.seq]
        assert isinstance(step, Seen)
        assert frame.announcement == step.announcement
        assert frame.offset_px == (7, 0)
        np.testing.assert_array_equal(frame.pixels, step.frame.pixels)


def test_unusable_image_is_not_seen(tmp_path: Path) -> None:
    """A file that cannot be read keeps its number and part, and says why it is corrupt."""
    folder = write_parts(tmp_path / "images", 2)
    (folder / "1.png").write_bytes(b"no image")

    first, second = FolderReplay(folder, None).steps()

    assert isinstance(first, Unseen)
    assert (first.announcement.seq, first.announcement.part_id) == (1, "1")
    assert first.fate.why == "corrupt"
    assert first.fate.detail.startswith("1.png: ")
    assert isinstance(second, Seen)


def test_names_for_labels(tmp_path: Path) -> None:
    """A frame is known by its file and by its part; two files of one stem share the part."""
    folder = write_parts(tmp_path / "images", 1)
    cv2.imwrite(str(folder / "1.bmp"), np.zeros((28, 28), np.uint8))
    source = FolderReplay(folder, None)

    bmp, png = (FrameKey("c1", source.boot, seq) for seq in (1, 2))
    assert source.names() == {"1.bmp": [bmp], "1": [bmp, png], "1.png": [png]}


def test_several_cameras_are_refused(tmp_path: Path) -> None:
    """A folder cannot be two cameras; the message has their ids."""
    cameras = [{"id": name, "kind": "synthetic", "interval_ms": 1} for name in ("left", "right")]
    folder = write_parts(tmp_path / "images", 1)

    with pytest.raises(ConfigError, match="the config has 2: left, right"):
        FolderReplay(folder, config(camera=cameras))


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    """An empty folder is named."""
    with pytest.raises(SourceError, match="has no image"):
        FolderReplay(tmp_path, None)
