"""Cameras are recorded alone: each to its own end, whatever becomes of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import config
from ingest_rig import FakeSource, good
from replay_rig import fake_scorer, replayed, rows

from edge.recording import Recording
from edge.sources import SourceError
from pipeline import camera_recording as module
from pipeline.camera_recording import choose_cameras, record_cameras
from pipeline.config_file import ConfigError
from pipeline.replay import open_source
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

    from edge.clock import Clock
    from edge.keys import LineKeys
    from edge.sources import Source
    from pipeline.config import Config
    from pipeline.config_camera import Camera
    from pipeline.record_view import CameraProgress

FAST: dict[str, Any] = {
    "window": {"size_frames": 10, "min_peers": 8},
    "judge": {"min_scores": 8},
}


def belt(name: str, **fields: Any) -> dict[str, Any]:
    """Return a synthetic camera of eight frames."""
    return {"id": name, "kind": "synthetic", "interval_ms": 1, "frames": 8, **fields}


def line(folder: Path, *cameras: dict[str, Any], **sections: Any) -> Config:
    """Return the config of a line with its state in a folder."""
    given = list(cameras) or [belt("c1"), belt("c2", seed=3)]
    return config(camera=given, line={"state_path": str(folder / "state")}, **sections)


def test_cameras_are_recorded_to_their_ends(tmp_path: Path) -> None:
    """Each camera has its frames, and nobody has counted for the line."""
    settings = line(tmp_path, belt("c1"), belt("c2", frames=5))
    seen: list[list[CameraProgress]] = []

    done = record_cameras(settings, tmp_path / "rec", lambda: False, look=seen.append)

    recording = Recording(tmp_path / "rec")
    assert [(one.camera, one.frames, one.end) for one in done] == [
        ("c1", 8, "finished"), ("c2", 5, "finished"),
    ]  # fmt: skip
    assert [len(recording.frames(name)) for name in ("c1", "c2")] == [8, 5]
    assert recording.problems == []
    assert recording.line == []
    assert [(one.camera, one.frames) for one in seen[-1]] == [("c1", 8), ("c2", 5)]
    assert not (tmp_path / "state").exists()
    files = [path.stat().st_size for path in (tmp_path / "rec" / "c1").rglob("*.*")]
    assert done[0].used_bytes == sum(files)


def test_windows_of_the_line_are_left_out(tmp_path: Path) -> None:
    """No scorer starts with this recording: its replay begins with empty windows."""
    kept = tmp_path / "state" / "windows" / "c1" / "default.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"tensors")

    record_cameras(line(tmp_path), tmp_path / "rec", lambda: False, frames=1)

    assert Recording(tmp_path / "rec").windows is None


def test_camera_that_fails_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is told beside what was recorded until then; the others go on."""
    real = module.open_source

    def open_one(camera: Camera, clock: Clock, keys: LineKeys | None) -> Source:
        if camera.id == "c2":
            return FakeSource([good(1), SourceError("c2: unplugged")])
        return real(camera, clock, keys)

    monkeypatch.setattr(module, "open_source", open_one)

    whole, failed = record_cameras(line(tmp_path), tmp_path / "rec", lambda: False)

    assert (whole.frames, whole.end, whole.is_whole) == (8, "finished", True)
    assert (failed.frames, failed.end, failed.error) == (1, "failed", "c2: unplugged")
    assert not failed.is_whole


def test_budget_ends_a_camera(tmp_path: Path) -> None:
    """A camera that has used its share ends, and says so."""
    settings = line(tmp_path, belt("c1", frames=200), record={"max_bytes": 1_000_000})

    (done,) = record_cameras(settings, tmp_path / "rec", lambda: False)

    assert done.end == "limit_reached"
    assert not done.is_whole
    assert 0 < done.frames < 200
    files = [path.stat().st_size for path in (tmp_path / "rec").rglob("*") if path.is_file()]
    assert sum(files) < 1_010_000


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    """What lies in a folder is not mixed with a recording, and no thread stays behind."""
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "notes.txt").write_text("mine")

    with pytest.raises(module.LineError, match="not empty"):
        record_cameras(line(tmp_path), tmp_path / "rec", lambda: False)


def test_recorded_cameras_are_replayed_as_they_were_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cameras without a line come in the order of their captures, to equal results."""
    fake_scorer(monkeypatch)
    settings = line(tmp_path, belt("c1"), belt("c2", seed=3, interval_ms=2), **FAST)
    record_cameras(settings, tmp_path / "rec", lambda: False)

    source = open_source(tmp_path / "rec", None)
    first = replayed(tmp_path / "rec", tmp_path / "first.db")
    again = replayed(tmp_path / "rec", tmp_path / "again.db")

    captured = [row["captured_at"] for row in rows(first)]
    assert captured == sorted(captured)
    assert len(captured) == len(source) == 16
    assert source.warnings == []
    assert run_hash(first) == run_hash(again)


def test_one_camera_is_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one camera that was chosen do not lack the views of the others."""
    fake_scorer(monkeypatch)
    settings = choose_cameras(line(tmp_path, part={"views": ["c1", "c2"]}, **FAST), ["c2"])
    record_cameras(settings, tmp_path / "rec", lambda: False)

    ledger = replayed(tmp_path / "rec", tmp_path / "out.db")

    assert [camera.id for camera in settings.camera] == ["c2"]
    assert {row["reason"] for row in rows(ledger, "parts")} == {"warming"}


def test_cameras_are_chosen_by_name(tmp_path: Path) -> None:
    """Without a name all are taken; an unknown one is refused with those that there are."""
    settings = line(tmp_path)

    assert choose_cameras(settings, []).camera == settings.camera
    with pytest.raises(ConfigError, match="camera 'c9': not in the config; there are c1, c2"):
        choose_cameras(settings, ["c1", "c9"])


def test_camera_that_only_a_gate_could_trigger_is_refused(tmp_path: Path) -> None:
    """Without a gate and an endpoint nobody tells parts."""
    told = belt("c1", trigger="software", part_id="message")
    heard = belt("c1", trigger="software", part_id="message", part_endpoint="ipc:///tmp/parts")

    choose_cameras(line(tmp_path, heard), [])
    with pytest.raises(ConfigError, match="camera c1: trigger = 'software' without part_endpoint"):
        choose_cameras(line(tmp_path, told), [])
