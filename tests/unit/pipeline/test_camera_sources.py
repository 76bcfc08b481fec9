"""What the config says of a camera is what its source gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import config

from edge.clock import SystemClock
from edge.sources import Source, SourceError
from edge.sources.aravis import AravisDevice
from edge.sources.basler import BaslerDevice
from edge.sources.folder import FolderSource
from edge.sources.hot_folder import HotFolderSource
from edge.sources.live import LiveSource
from edge.sources.opencv_camera import OpencvDevice
from edge.sources.pushed import PushedDevice
from edge.sources.synthetic import SyntheticSource
from pipeline import camera_sources
from pipeline.camera_sources import crops_itself, make_device, open_source
from pipeline.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config_camera import Camera

CLOCK = SystemClock()


def camera(kind: str, **fields: Any) -> Camera:
    """Return the section of a camera."""
    section = {"id": "c1", "kind": kind, "interval_ms": 40, **fields}
    return config(camera=[section]).camera[0]


@pytest.mark.parametrize(
    ("kind", "fields", "device"),
    [
        ("basler", {}, BaslerDevice),
        ("aravis", {}, AravisDevice),
        ("opencv", {"source": "/dev/video9"}, OpencvDevice),
        ("zmq", {"endpoint": "tcp://127.0.0.1:5570"}, PushedDevice),
    ],
)
def test_each_live_kind_has_its_device(kind: str, fields: dict[str, Any], device: type) -> None:
    """Every kind of live camera is spoken to by its own module, and not opened to be made."""
    section = camera(kind, **fields)

    assert isinstance(make_device(section, CLOCK, None), device)  # type: ignore[arg-type]


def test_recordings_are_opened_at_once(tmp_path: Path) -> None:
    """A folder that is not there is an error when the line starts, not a lost camera."""
    with pytest.raises(SourceError, match="gone"):
        open_source(camera("folder", path=str(tmp_path / "gone")), CLOCK)
    with pytest.raises(SourceError, match=r"gone\.avi"):
        open_source(camera("video", path=str(tmp_path / "gone.avi")), CLOCK)


def test_watched_folder_may_be_empty(tmp_path: Path) -> None:
    """A folder that is watched waits for its first file; any other needs one."""
    source = open_source(camera("folder", path=str(tmp_path), watch=True), CLOCK)
    source.close()

    assert isinstance(source, HotFolderSource)
    with pytest.raises(SourceError, match="no image"):
        open_source(camera("folder", path=str(tmp_path)), CLOCK)


def test_synthetic_belt_is_as_described() -> None:
    """Seed, length and colours are the config's."""
    source = open_source(camera("synthetic", seed=3, frames=2, pixel_format="bgr"), CLOCK)

    assert isinstance(source, SyntheticSource)
    first = source.read()
    assert first.pixel_format == "bgr"


def test_genicam_settings_reach_the_driver() -> None:
    """Format, exposure, gain, region and trigger are the config's."""
    section = camera(
        "basler", serial="123", pixel_format="Mono12", exposure_us=900.0, gain_db=3.0,
        trigger="hardware", trigger_line="Line3", trigger_edge="falling", roi_px=[8, 16, 64, 32],
        open_timeout_s=2.0,
    )  # fmt: skip

    device = make_device(section, CLOCK, None)  # type: ignore[arg-type]
    settings = device._settings  # type: ignore[attr-defined]

    assert (settings.camera, settings.pixel_format, settings.exposure_us) == ("123", "Mono12", 900)
    assert (settings.gain_db, settings.roi_px, settings.open_timeout_s) == (3, (8, 16, 64, 32), 2)
    assert (settings.trigger, settings.trigger_line, settings.trigger_edge) == (
        "hardware", "Line3", "falling",
    )  # fmt: skip
    assert crops_itself(section)


def test_url_with_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``source_env`` names the variable; without it there is no camera, and the error says so."""
    section = camera("opencv", source_env="BELT_URL")
    monkeypatch.delenv("BELT_URL", raising=False)
    with pytest.raises(SourceError, match="camera c1: environment variable BELT_URL is not set"):
        make_device(section, CLOCK, None)  # type: ignore[arg-type]

    monkeypatch.setenv("BELT_URL", "rtsp://user:secret@192.0.2.7/stream")
    device = make_device(section, CLOCK, None)  # type: ignore[arg-type]

    assert "secret" not in device.name
    assert not crops_itself(section)


def test_live_settings_are_the_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts, trigger and motion reach the thread that keeps the camera."""
    made: list[Any] = []

    def keep(_device: object, settings: object, _clock: object) -> Source:
        made.append(settings)
        return Source()

    monkeypatch.setattr(camera_sources, "LiveSource", keep)
    open_source(
        camera(
            "opencv", source="/dev/video9", trigger="motion", frame_timeout_s=1.5, idle_s=7.0,
            reopen_limit_s=0.7, detect_zone_px=[1, 2, 3, 4], detect_difference=9, detect_share=0.2,
        ),
        CLOCK,
    )  # fmt: skip
    open_source(camera("zmq", endpoint="ipc:///tmp/x", idle_s=3.0), CLOCK)
    live, pushed = made

    assert (live.trigger, live.frame_timeout_s, live.idle_s) == ("motion", 1.5, 7.0)
    assert (live.reopen_limit_s, live.comes_back) == (0.7, False)
    assert (live.motion.zone_px, live.motion.difference, live.motion.share) == (
        (1, 2, 3, 4), 9, 0.2,
    )  # fmt: skip
    assert (pushed.trigger, pushed.idle_s, pushed.comes_back) == ("hardware", 3.0, True)


def test_absent_camera_is_no_error() -> None:
    """A live camera that is not there is LOST, and tried for ever."""
    source = open_source(camera("opencv", source="/dev/video99"), CLOCK)
    state = source.state
    source.close()

    assert isinstance(source, LiveSource)
    assert state == "LOST"


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ('kind = "basler"\ntrigger = "software"', "needs part_id = 'message'"),
        ('kind = "folder"\npath = "x"\ntrigger = "software"', "needs part_id = 'message'"),
        ('kind = "opencv"', "source and source_env: give one of them"),
        ('kind = "opencv"\nsource = "a"\nsource_env = "B"', "give one of them"),
        ('kind = "opencv"\nsource = "a"\ntrigger = "hardware"', "trigger = 'hardware'"),
        ('kind = "folder"\npath = "x"\nloop = true\nwatch = true', "loop and watch"),
        ('kind = "aravis"\ntrigger = "hardware"\nfps = 9', "the trigger sets the rate"),
        ('kind = "zmq"', "endpoint: missing"),
        ('kind = "basler"\nroi_px = [1, 2, 3]', "must be four numbers: x, y, width, height"),
        ('kind = "basler"\nrotate_deg = 45', "rotate_deg = 45"),
        ('kind = "basler"\ncolumns = 9\nrows = 9', "columns x rows = 81: at most 64 regions"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, section: str, complaint: str) -> None:
    """A camera section that cannot be is refused with key, value and limit."""
    path = tmp_path / "line.toml"
    path.write_text(f'[[camera]]\nid = "c1"\ninterval_ms = 100\n{section}\n')

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert complaint in str(caught.value)


def test_triggered_cameras_need_no_interval() -> None:
    """Where something triggers the camera, nothing limits how fast parts come."""
    sections = [
        {"id": "c1", "kind": "basler", "trigger": "hardware"},
        {"id": "c2", "kind": "zmq", "endpoint": "ipc:///tmp/x"},
        {"id": "c3", "kind": "folder", "path": "x", "watch": True},
        {"id": "c4", "kind": "opencv", "source": "/dev/video0", "trigger": "motion"},
        {"id": "c5", "kind": "basler", "fps": 5.0},
    ]

    assert config(camera=sections, transport={"policy": "drop_oldest"}).camera
    with pytest.raises(ValueError, match="interval_ms = 0"):
        config(camera=[{"id": "c1", "kind": "basler"}], transport={"policy": "drop_oldest"})


def test_folder_source_is_plain() -> None:
    """A folder without ``watch`` is read in the order of its names, and ends."""
    assert not FolderSource.counts_triggers
