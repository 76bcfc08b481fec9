"""A recording begins in a folder of its own, with what the line starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import config

from edge.clock import SystemClock
from edge.recording import Recording
from edge.recording_files import RecordingError
from pipeline.config import Config
from pipeline.recording_start import begin_recording, camera_index, line_index

if TYPE_CHECKING:
    from pathlib import Path


def line(folder: Path, *cameras: dict[str, Any]) -> Config:
    """Return the config of a line with its state in a folder."""
    chosen = list(cameras) or [{"id": "c1", "kind": "synthetic", "interval_ms": 1}]
    return config(camera=chosen, line={"state_path": str(folder / "state")})


def test_recording_has_config_and_windows(tmp_path: Path) -> None:
    """The config comes back as it was, and the windows are those of the state folder."""
    settings = line(tmp_path)
    kept = tmp_path / "state" / "windows" / "c1" / "default.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"tensors")

    begin_recording(settings, tmp_path / "new" / "rec", SystemClock())

    recording = Recording(tmp_path / "new" / "rec")
    assert Config.model_validate(recording.head.config) == settings
    assert recording.head.config_digest == settings.digest
    assert recording.head.cameras == ("c1",)
    assert recording.windows is not None
    assert (recording.windows / "c1" / "default.safetensors").read_bytes() == b"tensors"


def test_cold_line_has_no_windows(tmp_path: Path) -> None:
    """Where no windows were kept there are none in the recording."""
    begin_recording(line(tmp_path), tmp_path / "rec", SystemClock())

    assert Recording(tmp_path / "rec").windows is None


def test_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """A recording is never mixed with anything else, another recording least of all."""
    settings = line(tmp_path)
    begin_recording(settings, tmp_path / "rec", SystemClock())

    with pytest.raises(RecordingError, match="not empty"):
        begin_recording(settings, tmp_path / "rec", SystemClock())


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A path that leads through a file is named with the reason."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(RecordingError, match="file/rec: Not a directory"):
        begin_recording(line(tmp_path), tmp_path / "file" / "rec", SystemClock())


@pytest.mark.parametrize("name", ["windows", "frames"])
def test_camera_with_the_name_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """A camera whose folder would be another part of the recording is refused by name."""
    settings = line(tmp_path, {"id": name, "kind": "synthetic", "interval_ms": 1})

    with pytest.raises(RecordingError, match=f"camera {name}"):
        begin_recording(settings, tmp_path / "rec", SystemClock())


def test_password_in_a_url_is_left_out(tmp_path: Path) -> None:
    """No secret of the config reaches the recording."""
    url = "rtsp://anna:geheim@192.0.2.7/stream"
    settings = line(tmp_path, {"id": "c1", "kind": "opencv", "source": url, "interval_ms": 100})

    begin_recording(settings, tmp_path / "rec", SystemClock())

    assert "geheim" not in (tmp_path / "rec" / "recording.json").read_text()
    Config.model_validate(Recording(tmp_path / "rec").head.config)


def test_budget_is_shared(tmp_path: Path) -> None:
    """Gate and cameras together stay within record.max_bytes."""
    cameras = [{"id": f"c{n}", "kind": "synthetic", "interval_ms": 1} for n in (1, 2, 3)]
    settings = line(tmp_path, *cameras)
    clock = SystemClock()

    writers = [camera_index(settings, tmp_path, f"c{n}", clock) for n in (1, 2, 3)]
    writers.append(line_index(settings, tmp_path, clock))

    shares = [writer._max_bytes for writer in writers]
    assert sum(shares) <= settings.record.max_bytes < sum(shares) + 4
    for writer in writers:
        writer.close(5.0)
