"""Each problem of a config has the check of its kind, and a remedy of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from pipeline.config import CONFIG_VERSION
from pipeline.doctor_config import read_config

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = '[[camera]]\nid = "c1"\nkind = "synthetic"\ninterval_ms = 10\n'


@pytest.mark.parametrize(
    ("text", "check", "detail", "remedy"),
    [
        (
            f"version = {CONFIG_VERSION + 1}\n" + CAMERA, "config.version",
            f"version = {CONFIG_VERSION + 1}", "Upgrade musc-edge",
        ),
        (
            CAMERA + "[window]\nsise_frames = 9\n", "config.keys",
            "window.sise_frames: unknown key", "Write window.size_frames for window.sise_frames",
        ),
        (
            CAMERA + "[zzz]\nsize_frames = 9\n", "config.keys",
            "zzz: unknown key", "Remove zzz.",
        ),
        (
            CAMERA + "seeed = 9\n", "config.keys",
            "camera.0 (c1).seeed: unknown key", "Write camera.0 (c1).seed for",
        ),
        (
            CAMERA + "[musc]\nimage_size_px = 225\n", "config.image_size",
            "image_size_px = 225: must be a multiple of 14", "to 224 or 238.",
        ),
        (
            CAMERA + "[window]\nsize_frames = 1\n", "config.values",
            "window.size_frames = 1", "Correct this key",
        ),
        (
            CAMERA + "[transport]\nframes = 'x: unknown'\n", "config.values",
            "transport.frames", "Correct this key",
        ),
        ("not toml", "config.file", "not TOML", "--config"),
    ],
)  # fmt: skip
def test_problem_has_its_check(
    tmp_path: Path, text: str, check: str, detail: str, remedy: str
) -> None:
    """What is wrong with a config fails under one name, with the line and the remedy."""
    path = tmp_path / "line.toml"
    path.write_text(text)

    config, findings = read_config(path)

    assert config is None
    assert [(one.check, one.verdict) for one in findings] == [(check, "fail")]
    assert detail in findings[0].detail
    assert remedy in findings[0].remedy


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file fails as a file, not as a value."""
    config, findings = read_config(tmp_path / "gone: no.toml")

    assert config is None
    assert [(one.check, one.verdict) for one in findings] == [("config.file", "fail")]


def test_every_problem_is_found(tmp_path: Path) -> None:
    """Three mistakes of two kinds are three findings."""
    path = tmp_path / "line.toml"
    path.write_text(CAMERA + "[window]\nsize_frames = 1\nsise = 2\n[log]\nlevel = 'LOUD'\n")

    _, findings = read_config(path)

    assert sorted(one.check for one in findings) == [
        "config.keys", "config.values", "config.values",
    ]  # fmt: skip


def test_good_config_is_described(tmp_path: Path) -> None:
    """A good config is returned, with its hash, its cameras and its alarms."""
    path = tmp_path / "line.toml"
    path.write_text(CAMERA)

    config, findings = read_config(path)

    assert config is not None
    figures = {one.check: one.figure for one in findings}
    assert {one.verdict for one in findings} == {"ok"}
    assert f"config hash {config.digest}" in figures["config.values"]
    assert "c1 (synthetic)" in figures["config.values"]
    assert "disk_low" in figures["config.alarms"]


def test_line_that_calls_nobody(tmp_path: Path) -> None:
    """A line with alarms, but none for a dead camera, is warned of."""
    path = tmp_path / "line.toml"
    path.write_text(CAMERA + '[[alarm]]\nname = "d"\nkind = "disk_low"\n')

    _, findings = read_config(path)

    alarms = next(one for one in findings if one.check == "config.alarms")
    assert alarms.verdict == "warn"
    assert alarms.detail == "none of kind camera_lost, scorer_down"
    assert "[[alarm]]" in alarms.remedy


def test_good_images_are_looked_at(tmp_path: Path) -> None:
    """Where a camera has them: how many, or what is wrong with the folder."""
    path = tmp_path / "line.toml"
    path.write_text(CAMERA + 'good_path = "good"\n')
    gone = {one.check: one for one in read_config(path)[1]}["config.good_images"]
    (tmp_path / "good").mkdir()
    cv2.imwrite(str(tmp_path / "good" / "a.png"), np.zeros((9, 9), np.uint8))

    there = {one.check: one for one in read_config(path)[1]}["config.good_images"]

    assert (gone.verdict, there.verdict, there.figure) == ("fail", "ok", "c1 1")
    assert "good: No such file" in gone.detail
    assert "camera.good_path" in gone.remedy
