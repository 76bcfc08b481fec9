"""Basler cameras, tried on a stand-in: what pylon's emulated cameras cannot do.

Removal, a second program, older names, and cameras that keep another value
than the one that was set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pylon_stub import (
    HEIGHT,
    SERIAL,
    WIDTH,
    StubCamera,
    StubNode,
    StubResult,
    device_of,
    grabbed,
    trigger_nodes,
)

from edge.sources import CameraBusyError, CameraSetupError, SourceError
from edge.sources.basler import BUFFERS


def test_removed_camera_is_lost() -> None:
    """A camera whose cable is out is lost, whatever buffers it leaves behind."""
    camera = StubCamera()
    device = device_of(camera)
    camera.results.append(StubResult(error="The device has been removed."))

    camera.is_removed = True

    assert not device.is_alive()
    with pytest.raises(SourceError, match=f"camera {SERIAL}: it was removed"):
        device.grab(0)
    device.close()
    assert camera.destroyed == 1


def test_camera_that_does_not_answer_is_not_alive() -> None:
    """A register that cannot be read is no sign of life."""
    camera = StubCamera()
    device = device_of(camera)
    before = device.is_alive()

    del camera.nodes["Width"]

    assert (before, device.is_alive()) == (True, False)


@pytest.mark.parametrize(
    "words",
    [
        "Failed to open 'Basler acA2500-14gc'. The device is controlled by another application."
        " Err: An attempt was made to access an address location which is currently/momentary not"
        " accessible. (0xE1018006) : RuntimeException thrown (file 'gigedevice.cpp', line 274)",
        "Failed to open device '2676:ba02:2:2:25' for XML file download. Error: 'Device is"
        " exclusively opened by another client.' : RuntimeException thrown",
        "Another program or driver has claimed the usb interface.",
    ],
)
def test_camera_of_another_program_is_busy(words: str) -> None:
    """Each way in which pylon says that somebody else holds the camera is understood."""
    camera = StubCamera()
    camera.refusal = words

    with pytest.raises(CameraBusyError, match="another program holds it: ") as caught:
        device_of(camera)

    assert "thrown" not in str(caught.value)


def test_other_failure_to_open_is_told() -> None:
    """Any other failure keeps pylon's words, and lets go of the camera."""
    camera = StubCamera()
    camera.start_refusal = "Insufficient system resources : RuntimeException thrown"

    with pytest.raises(SourceError, match=r"camera \(the only one\): Insufficient system res"):
        device_of(camera)

    assert not camera.is_open
    assert camera.destroyed == 1


@pytest.mark.parametrize(
    ("settings", "node", "kept", "words"),
    [
        ({"exposure_us": 5000.0}, "ExposureTime", 5100.0, "exposure_us = 5000.0 was set.* 5100"),
        ({"gain_db": 6.0}, "Gain", 0.0, "gain_db = 6.0 was set, but the camera says 0"),
        ({"fps": 30.0}, "AcquisitionFrameRate", 20.0, "fps = 30.0 was set.* says 20"),
        ({"roi_px": (0, 0, 8, 6)}, "Width", 12, r"roi_px = \[0, 0, 8, 6\]: Width = 8 was.* 12"),
        ({}, "PixelFormat", "Mono12Packed", "pixel_format = Mono8 was set.* Mono12Packed"),
    ],
)
def test_value_that_is_not_kept_is_refused(
    settings: dict[str, Any], node: str, kept: object, words: str
) -> None:
    """What the camera says afterwards counts, not that it took the value without an error."""
    names = ("OffsetX", "OffsetY", "Width", "Height", "ExposureTime", "Gain")
    nodes = {name: StubNode(0) for name in (*names, "AcquisitionFrameRate")}
    nodes["PixelFormat"] = StubNode("Mono8", ("Mono8",))
    nodes[node].keep = lambda _value: kept

    with pytest.raises(CameraSetupError, match=words):
        device_of(StubCamera(**nodes), **settings)


def test_rounding_is_no_refusal() -> None:
    """A camera may round to its own steps."""
    exposure = StubNode(0, step=35.0, keep=lambda value: value // 35 * 35)
    gain = StubNode(0, keep=lambda value: value + 0.004)

    device_of(StubCamera(ExposureTime=exposure, Gain=gain), exposure_us=100.0, gain_db=0.0)

    assert (exposure.value, gain.value) == (70.0, 0.004)


def test_old_names_are_known() -> None:
    """Cameras before SFNC 2 are set up by their own names."""
    names = ("ExposureTimeAbs", "GainAbs", "AcquisitionFrameRateAbs", "GevHeartbeatTimeout")
    nodes = {name: StubNode(0) for name in names}

    device_of(StubCamera(**nodes), exposure_us=2000.0, gain_db=1.0, fps=12.0)

    assert [node.value for node in nodes.values()] == [2000.0, 1.0, 12.0, 3000]


def test_region_grows_from_the_corner() -> None:
    """The offset is taken back before the size is set, for what was left there limits it."""
    nodes = {name: StubNode(100) for name in ("OffsetX", "OffsetY", "Width", "Height")}

    device_of(StubCamera(**nodes), roi_px=(32, 16, 640, 480))

    assert [node.history for node in nodes.values()] == [[0, 32], [0, 16], [640], [480]]


@pytest.mark.parametrize(("least", "left"), [(500, 3000), (5000, 300_000)])
def test_heartbeat_is_short_where_it_can_be(least: int, left: int) -> None:
    """A program that died lets go of its GigE camera soon; a camera that refuses is used anyway."""
    camera = StubCamera()
    camera.link["HeartbeatTimeout"] = StubNode(300_000, least=least)

    device = device_of(camera)

    assert camera.link["HeartbeatTimeout"].value == left
    assert device.is_alive()


def test_raw_gain_is_not_in_db() -> None:
    """A gain in the camera's own steps is not set as if it were in dB."""
    raw = StubNode(192)

    with pytest.raises(
        CameraSetupError, match=r"gain_db = 6\.0: the camera has no Gain or GainAbs"
    ):
        device_of(StubCamera(GainRaw=raw), gain_db=6.0)

    assert raw.history == []


def test_automatic_exposure_is_stopped() -> None:
    """What is set by the config is not changed by the camera afterwards."""
    automatic = StubNode("Continuous", ("Off", "Continuous"))
    camera = StubCamera(ExposureTime=StubNode(0), ExposureAuto=automatic)

    device_of(camera, exposure_us=500.0)

    assert automatic.value == "Off"


def test_other_triggers_are_off() -> None:
    """Only the start of a picture is triggered, and no rate holds triggers back."""
    nodes = trigger_nodes() | {"AcquisitionFrameRateEnable": StubNode(value=True)}
    camera = StubCamera(**nodes)

    device_of(camera, trigger="hardware", trigger_edge="falling", fps=5.0)

    assert nodes["TriggerSelector"].history == ["AcquisitionStart", "FrameStart", "FrameStart"]
    assert nodes["TriggerMode"].history == ["Off", "Off", "On"]
    assert nodes["TriggerActivation"].value == "FallingEdge"
    assert nodes["AcquisitionFrameRateEnable"].value is False
    assert camera.buffers.value == BUFFERS


def test_refused_software_trigger_is_told() -> None:
    """A trigger that the camera does not obey is said by a grab that follows."""
    camera = StubCamera(**trigger_nodes())
    device = device_of(camera, trigger="software")
    camera.trigger_refusal = "Node is not writable. : AccessException thrown"

    device.trigger()
    assert device._opened is not None
    device._opened.calls.close()

    with pytest.raises(SourceError, match="does not obey: Node is not writable"):
        device.grab(0)


def test_filled_up_lines_are_cut() -> None:
    """What a camera adds to each line is not part of the picture."""
    sent = np.arange(HEIGHT * (WIDTH + 4), dtype=np.uint8).reshape(HEIGHT, WIDTH + 4)

    (capture,) = grabbed(StubCamera(), StubResult(data=sent.tobytes(), padding=4))

    np.testing.assert_array_equal(capture.pixels, sent[:, :WIDTH])


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (StubResult(pixel_type=0x01100005), "it holds pixel type 0x1100005, Mono8 is 0x1080001"),
        (StubResult(data=bytes(47)), "Mono8 of 8 x 6 px takes 48 bytes, the buffer has 47"),
        (StubResult(data=bytes(50), padding=1), "cannot reshape array of size 50"),
    ],
)
def test_buffer_of_another_shape_is_failed(result: StubResult, fault: str) -> None:
    """A buffer that is not what was set up is no picture, even where pylon is content."""
    camera = StubCamera()

    (capture,) = grabbed(camera, result)

    assert capture.pixels is None
    assert capture.fault.startswith(f"buffer failed: {fault}")
    assert result.released == 1
