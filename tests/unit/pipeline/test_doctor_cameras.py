"""Cameras are opened, tried and let go; one that the line holds is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from doctor_rig import DrivenClock, SteadyCamera, found, verdicts
from factories import config

from edge.counter import DurableCounter
from edge.sources import (
    CameraBusyError,
    CameraMissingError,
    CameraSetupError,
    Capture,
    PixelFormatError,
    SourceError,
)
from pipeline import doctor_cameras
from pipeline.doctor_cameras import camera_checks
from pipeline.line_lock import line_lock

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.doctor import Finding

BASLER = {"id": "c1", "kind": "basler"}
TOLD = {"trigger": "software", "part_id": "message"}
V4L2 = {"id": "c1", "kind": "opencv", "source": "/dev/video0"}
ALL_WELL = ["camera.present", "camera.free", "camera.settings", "camera.picture"]


def line(folder: Path, *cameras: dict[str, Any], **sections: Any) -> Config:
    """Return a line with these cameras."""
    given = {
        "line": {"state_path": str(folder / "state")},
        "ledger": {"path": str(folder / "ledger.db")},
        "transport": {"policy": "wait"},
    }
    return config(**given | {"camera": list(cameras)} | sections)


def looked_at(settings: Config, device: SteadyCamera | None = None) -> list[Finding]:
    """Return what was found; every live camera is this device."""

    def make(*_: object) -> Any:
        assert device is not None, "a camera was opened"
        return device

    return found(camera_checks(settings, make, device.clock if device else DrivenClock()))


def steady(**how: Any) -> SteadyCamera:
    """Return a camera with a clock of its own."""
    return SteadyCamera(DrivenClock(), **how)


@pytest.mark.parametrize(
    ("error", "good", "failed", "remedy"),
    [
        (CameraMissingError("no such camera"), [], "camera.present", "camera.0.serial"),
        (SourceError("cannot be opened"), [], "camera.present", "camera.0.serial"),
        (
            CameraBusyError("held by another"), ["camera.present"], "camera.free",
            "Close the program",
        ),
        (
            PixelFormatError("offers Mono8"), ["camera.present", "camera.free"],
            "camera.settings", "camera.0.pixel_format",
        ),
        (
            CameraSetupError("exposure_us = 1"), ["camera.present", "camera.free"],
            "camera.settings", "camera.0",
        ),
    ],
)  # fmt: skip
def test_camera_that_cannot_be_used(
    tmp_path: Path, error: Exception, good: list[str], failed: str, remedy: str
) -> None:
    """What opening raises has the check of its kind, after what went well; it is let go."""
    camera = steady(opens=error)

    findings = looked_at(line(tmp_path, BASLER), camera)

    assert verdicts(findings) == dict.fromkeys(good, "ok") | {failed: "fail"}
    assert findings[-1].detail == str(error)
    assert remedy in findings[-1].remedy
    assert findings[-1].camera == "c1"
    assert camera.closed >= 1


@pytest.mark.parametrize(
    ("kind", "loader", "remedy"),
    [("basler", "load_pylon", "musc-edge[basler]"), ("aravis", "load_aravis", "gir1.2-aravis")],
)
def test_library_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loader: str, remedy: str
) -> None:
    """Without its library a camera is not missing: the library is, and is named."""
    error = SourceError("needs a library")

    def refuse() -> None:
        raise error

    monkeypatch.setattr(doctor_cameras, loader, refuse)

    findings = looked_at(line(tmp_path, {"id": "c1", "kind": kind}), steady(opens=error))

    assert verdicts(findings) == {"camera.driver": "fail"}
    assert remedy in findings[0].remedy


@pytest.mark.parametrize(
    ("section", "missing", "busy"),
    [
        (V4L2, "camera.0.source", "fuser -v /dev/video0"),
        (V4L2 | {"source": "0"}, "camera.0.source", "fuser -v /dev/video0"),
        ({"id": "c1", "kind": "opencv", "source_env": "CAM"}, "camera.0.source_env", "fuser"),
        ({"id": "c1", "kind": "aravis"}, "arv-tool", "viewer"),
    ],
)
def test_remedy_is_of_the_kind(
    tmp_path: Path, section: dict[str, Any], missing: str, busy: str
) -> None:
    """What to type depends on the kind of camera."""
    settings = line(tmp_path, section)

    gone = looked_at(settings, steady(opens=CameraMissingError("gone")))
    held = looked_at(settings, steady(opens=CameraBusyError("held")))

    assert missing in gone[-1].remedy
    assert busy in held[-1].remedy


@pytest.mark.parametrize(
    ("every_s", "needed", "verdict"),
    [(0.04, None, "ok"), (0.04, 1400, "ok"), (0.04, 1600, "fail"), (1.0, 120, "fail")],
)
def test_rate_of_a_free_camera(
    tmp_path: Path, every_s: float, needed: float | None, verdict: str
) -> None:
    """A camera that delivers less than the parts that pass has failed, with both figures."""
    settings = line(tmp_path, BASLER, part={"rate_per_minute": needed})
    camera = steady(every_s=every_s)

    findings = looked_at(settings, camera)

    assert [one.check for one in findings] == [*ALL_WELL, "camera.rate"]
    assert findings[-1].verdict == verdict
    assert f"{60 / every_s:.0f} pictures a minute" in findings[-1].figure
    assert (f"lower part.rate_per_minute to {60 / every_s:.0f}" in findings[-1].remedy) == (
        verdict == "fail"
    )
    assert "40 x 30 px, mono, 8 bit" in findings[3].figure
    assert camera.closed == 1


def test_interval_that_lets_too_few_pass(tmp_path: Path) -> None:
    """A fast camera is no use where interval_ms is longer than the parts are apart."""
    settings = line(tmp_path, BASLER | {"interval_ms": 101}, part={"rate_per_minute": 600})

    findings = looked_at(settings, steady(every_s=0.01))

    assert (findings[-1].check, findings[-1].verdict) == ("camera.rate", "fail")
    assert findings[-1].remedy == "Lower camera.0.interval_ms to 100."


@pytest.mark.parametrize(
    ("busy_s", "needed", "verdict"),
    [(0.01, None, "ok"), (0.09, 600, "ok"), (0.15, 600, "fail")],
)
def test_rate_of_a_triggered_camera(
    tmp_path: Path, busy_s: float, needed: float | None, verdict: str
) -> None:
    """A camera that misses triggers at the line's rate has failed, with what it manages."""
    settings = line(tmp_path, BASLER | TOLD, part={"rate_per_minute": needed})
    camera = steady(busy_s=busy_s)

    findings = looked_at(settings, camera)

    assert [one.check for one in findings] == [*ALL_WELL, "camera.trigger_rate"]
    assert findings[-1].verdict == verdict
    assert ("lower part.rate_per_minute to 300" in findings[-1].remedy) == (verdict == "fail")


@pytest.mark.parametrize(("misses", "verdict"), [(2, "ok"), (9, "fail")])
def test_first_trigger_may_be_missed(tmp_path: Path, misses: int, verdict: str) -> None:
    """A camera that was only just opened is triggered again; one that never obeys has failed."""
    camera = steady(misses=misses)

    findings = looked_at(line(tmp_path, BASLER | TOLD), camera)

    assert verdicts(findings)["camera.picture"] == verdict


def test_hardware_trigger_is_not_waited_for(tmp_path: Path) -> None:
    """Without a belt no trigger comes: a camera that answers is well, a silent one is not."""
    settings = line(tmp_path, BASLER | {"trigger": "hardware"})
    silent, dead = steady(), steady()
    dead.alive = False

    waits, fails = looked_at(settings, silent), looked_at(settings, dead)

    assert verdicts(waits)["camera.picture"] == "skipped"
    assert verdicts(fails)["camera.picture"] == "fail"


def test_camera_that_delivers_nothing(tmp_path: Path) -> None:
    """A free camera without pictures has failed, with how long it was waited for."""
    findings = looked_at(line(tmp_path, BASLER | {"frame_timeout_s": 1.5}), steady())

    assert findings[-1].verdict == "fail"
    assert findings[-1].figure == "none within 1.5 s"


def test_camera_that_goes_away(tmp_path: Path) -> None:
    """A camera that is lost while it is looked at has failed, and is let go."""
    camera = steady()
    camera.refuses = True

    findings = looked_at(line(tmp_path, BASLER | TOLD), camera)

    assert (findings[-1].check, findings[-1].verdict) == ("camera.picture", "fail")
    assert camera.closed == 1


def test_region_beyond_the_picture(tmp_path: Path) -> None:
    """A region that ingest would cut out beyond the picture fails with the picture's size."""
    settings = line(tmp_path, V4L2 | {"roi_px": [10, 0, 31, 30]})

    findings = looked_at(settings, steady(every_s=0.1))

    assert (findings[-1].check, findings[-1].verdict) == ("camera.picture", "fail")
    assert "within 40 x 30" in findings[-1].remedy


def test_failed_buffer(tmp_path: Path) -> None:
    """A first picture that cannot be used fails with its fault."""
    camera = steady(every_s=0.1, capture=Capture(None, fault="7 of 30 rows missing"))

    findings = looked_at(line(tmp_path, BASLER), camera)

    assert findings[-1].verdict == "fail"
    assert "7 of 30 rows missing" in findings[-1].detail


@pytest.mark.parametrize("who", ["the line", "camera c1"])
def test_camera_of_the_running_line(tmp_path: Path, who: str) -> None:
    """A camera that the line holds is not opened."""
    settings = line(tmp_path, BASLER)
    if who == "the line":
        with line_lock(settings.line.state_path):
            findings = looked_at(settings)
    else:
        counter = DurableCounter(settings.counter_path("c1"))
        findings = looked_at(settings)
        counter.close()

    assert verdicts(findings) == {"camera.present": "skipped"}
    assert "the line holds the camera" in findings[0].detail
    assert who in findings[0].detail


def test_environment_that_is_not_set(tmp_path: Path) -> None:
    """A camera whose address is nowhere has failed."""

    def make(*_: object) -> Any:
        msg = "camera c1: environment variable CAM is not set"
        raise SourceError(msg)

    settings = line(tmp_path, {"id": "c1", "kind": "opencv", "source_env": "CAM"})

    findings = found(camera_checks(settings, make, DrivenClock()))

    assert verdicts(findings) == {"camera.present": "fail"}
    assert "CAM is not set" in findings[0].detail


def test_recordings(tmp_path: Path) -> None:
    """A folder and a synthetic belt show their first picture; pushed frames are not taken."""
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), np.zeros((20, 50, 3), np.uint8))
    settings = line(
        tmp_path,
        {"id": "c1", "kind": "folder", "path": str(tmp_path / "images"), "interval_ms": 1},
        {"id": "c2", "kind": "synthetic", "interval_ms": 1},
        {"id": "c3", "kind": "zmq", "endpoint": f"ipc://{tmp_path}/pushed"},
    )

    findings = looked_at(settings)

    said = [(one.camera, one.check, one.verdict) for one in findings]
    assert said == [
        ("c1", "camera.present", "ok"), ("c1", "camera.picture", "ok"),
        ("c2", "camera.present", "ok"), ("c2", "camera.picture", "ok"),
        ("c3", "camera.present", "skipped"),
    ]  # fmt: skip
    assert findings[1].figure == "50 x 20 px, bgr, 8 bit"
    assert not (tmp_path / "pushed").exists()


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_recording_that_is_not_there(tmp_path: Path, kind: str) -> None:
    """A missing folder or file has failed, with its key."""
    camera = {"id": "c1", "kind": kind, "path": str(tmp_path / "gone"), "interval_ms": 1}

    findings = looked_at(line(tmp_path, camera))

    assert verdicts(findings) == {"camera.present": "fail"}
    assert str(tmp_path / "gone") in findings[0].detail
    assert "camera.0.path" in findings[0].remedy


def test_damaged_first_image(tmp_path: Path) -> None:
    """An image that is cut short has failed."""
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    camera = {"id": "c1", "kind": "folder", "path": str(tmp_path), "interval_ms": 1}

    findings = looked_at(line(tmp_path, camera))

    assert (findings[-1].check, findings[-1].verdict) == ("camera.picture", "fail")


def test_watched_folder_is_not_touched(tmp_path: Path) -> None:
    """From a folder that another program writes to nothing is taken."""
    (tmp_path / "1.png").write_bytes(b"half")
    camera = {"id": "c1", "kind": "folder", "path": str(tmp_path), "watch": True}

    findings = looked_at(line(tmp_path / "line", camera))

    assert verdicts(findings) == {"camera.present": "ok"}
    assert [path.name for path in tmp_path.iterdir()] == ["1.png"]


@pytest.mark.parametrize(("path", "words"), [("/gone", "no such folder"), ("/proc", "/proc")])
def test_watched_folder_that_cannot_be_used(tmp_path: Path, path: str, words: str) -> None:
    """A watched folder must be there, and files must be moved out of it."""
    camera = {"id": "c1", "kind": "folder", "path": path, "watch": True}

    findings = looked_at(line(tmp_path, camera))

    assert verdicts(findings) == {"camera.present": "fail"}
    assert words in findings[0].detail
