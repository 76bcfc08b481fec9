"""Pushed frames as a camera: the pusher's count, clock and restarts, and rubbish counted."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq
from ingest_rig import FakeClock

from edge.endpoints import free_port
from edge.frame import Announcement, Frame
from edge.keys import load_keys, make_keys
from edge.sockets import bind_router, connect_dealer
from edge.sources import CameraBusyError, Capture, SourceError
from edge.sources.live import LiveSettings, LiveSource
from edge.sources.pushed import LOG_EVERY_NS, PushedDevice
from edge.wire import encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.keys import LineKeys
    from edge.sockets import Context, Socket

LIMIT_S = 10.0
QUIET_S = 0.02
BOOTS = ("00000000000000aa", "00000000000000bb")
RNG = np.random.default_rng(3)


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes when it is told to."""
    return FakeClock()


@pytest.fixture
def listen(ipc_endpoint: str, clock: FakeClock) -> Iterator[Callable[..., PushedDevice]]:
    """Open a device at an endpoint; it is closed after the test."""
    devices: list[PushedDevice] = []

    def start(endpoint: str = ipc_endpoint, keys: LineKeys | None = None) -> PushedDevice:
        devices.append(PushedDevice(endpoint, clock, keys))
        devices[-1].open()
        return devices[-1]

    yield start
    for device in devices:
        device.close()


@pytest.fixture
def device(listen: Callable[..., PushedDevice]) -> PushedDevice:
    """An open device."""
    return listen()


@pytest.fixture
def pusher(zmq_context: Context, ipc_endpoint: str) -> Socket:
    """A program that pushes to the device."""
    return connect_dealer(zmq_context, ipc_endpoint, "pusher")


def frame(seq: int = 1, boot: str = BOOTS[0], **fields: Any) -> Frame:
    """Return a frame with noise for pixels."""
    known: dict[str, Any] = {
        "pixels": RNG.integers(0, 256, (4, 6), np.uint8),
        "pixel_format": "mono",
        "bit_depth": 8,
    }
    announcement = Announcement(
        camera="another",
        boot=boot,
        seq=seq,
        part_id=f"P{seq}",
        captured_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
        captured_ns=1000 * seq,
        origin="line scan 3",
    )
    return Frame(announcement, **(known | fields))


def push(socket: Socket, *parts: Any) -> None:
    """Send a message as soon as there is a connection."""
    assert socket.poll(1000 * LIMIT_S, zmq.POLLOUT), "no connection"
    socket.send_multipart(parts)


def grab(device: PushedDevice) -> Capture:
    """Return the next frame."""
    capture = device.grab(LIMIT_S)
    assert capture is not None
    return capture


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "not within the limit"
        time.sleep(0.001)


def test_frame_becomes_a_capture(device: PushedDevice, pusher: Socket, clock: FakeClock) -> None:
    """Everything that a frame says is in the capture; only the camera's name is not used."""
    pixels = RNG.integers(0, 4096, (4, 6, 3), np.uint16)
    sent = frame(41, pixels=pixels, pixel_format="bgr", bit_depth=12, offset_px=(10, 20))

    push(pusher, *encode_frame(sent))
    capture = grab(device)

    np.testing.assert_array_equal(capture.pixels, pixels)
    assert (capture.pixel_format, capture.bit_depth, capture.offset_px) == ("bgr", 12, (10, 20))
    assert (capture.part_id, capture.origin, capture.fault) == ("P41", "line scan 3", "")
    assert (capture.counter, capture.camera_ns, capture.arrived_ns) == (41, 41_000, clock.ns)
    assert capture.opening == 0


def test_restart_of_the_pusher_begins_anew(device: PushedDevice, pusher: Socket) -> None:
    """Each start of a pusher is an opening of its own, and no frame is lost by it."""
    for seq, boot in ((7, BOOTS[0]), (8, BOOTS[0]), (1, BOOTS[1]), (3, BOOTS[1])):
        push(pusher, *encode_frame(frame(seq, boot)))

    captures = [grab(device) for _ in range(4)]

    assert [(c.opening, c.counter) for c in captures] == [(0, 7), (0, 8), (1, 1), (1, 3)]


def test_two_pushers_at_once_are_told(
    device: PushedDevice, pusher: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Two programs at one endpoint are taken apart, and that they should not be is logged."""
    with caplog.at_level(logging.WARNING):
        for boot in (*BOOTS, BOOTS[0]):
            push(pusher, *encode_frame(frame(1, boot)))
        openings = [grab(device).opening for _ in range(3)]

    assert openings == [0, 1, 2]
    assert caplog.text.count("two programs push frames") == 1


def test_opening_counts_from_zero_again(device: PushedDevice, pusher: Socket) -> None:
    """A device that was closed can be opened again, and counts the pusher's starts anew."""
    for boot in BOOTS:
        push(pusher, *encode_frame(frame(1, boot)))
    before = [grab(device).opening for _ in BOOTS]

    device.close()
    device.close()
    # Until the pusher has noticed, what it sends is lost with the connection.
    until(lambda: not pusher.poll(0, zmq.POLLOUT))
    device.open()
    push(pusher, *encode_frame(frame(2, BOOTS[1])))

    assert before == [0, 1]
    assert grab(device).opening == 0


@pytest.mark.parametrize(
    "parts",
    [
        [b"rubbish"],
        [b"{}", b""],
        [b"", *encode_frame(frame())],
        [encode_frame(frame())[0], b"too short"],
        [encode_frame(frame())[0].replace(b'"v":1', b'"v":2'), b"0" * 24],
    ],
    ids=["one part", "no header", "three parts", "short", "version"],
)
def test_rubbish_is_counted(device: PushedDevice, pusher: Socket, parts: list[bytes]) -> None:
    """A message that is no frame yields nothing, is counted, and the next frame is taken."""
    push(pusher, *parts)
    push(pusher, *encode_frame(frame(5)))

    nothing = device.grab(LIMIT_S)

    assert nothing is None
    assert device.refused == 1
    assert grab(device).counter == 5


def test_rubbish_is_logged_once_a_minute(
    device: PushedDevice, pusher: Socket, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of rubbish is one line a minute, which says how much it was."""
    with caplog.at_level(logging.WARNING):
        for advance_ms in (0, 1, LOG_EVERY_NS // 1_000_000):
            clock.advance_ms(advance_ms)
            push(pusher, b"rubbish")
            device.grab(LIMIT_S)

    first, second = caplog.messages
    assert "message 1 refused: not a frame message" in first
    assert "message 3 refused" in second


def test_nothing_comes_in_time(device: PushedDevice) -> None:
    """Without a frame there is none after the time that was given."""
    assert device.grab(QUIET_S) is None


def test_alive_while_a_pusher_is_connected(
    device: PushedDevice, zmq_context: Context, ipc_endpoint: str
) -> None:
    """The camera is there while a pusher is connected, whether it pushes or not."""
    before = device.is_alive()
    pusher = connect_dealer(zmq_context, ipc_endpoint, "pusher")
    until(device.is_alive)

    pusher.close(linger=0)

    assert not before
    until(lambda: not device.is_alive())


def test_comings_and_goings_do_not_pile_up(
    device: PushedDevice, zmq_context: Context, ipc_endpoint: str
) -> None:
    """What ZeroMQ tells of its peers is taken with each grab, also while nobody asks for it."""
    watch = device._watch
    assert watch is not None

    def grabs_with(peers: int) -> bool:
        device.grab(QUIET_S)
        return len(watch._peers) == peers

    connect_dealer(zmq_context, ipc_endpoint, "pusher")
    until(lambda: grabs_with(1))
    connect_dealer(zmq_context, ipc_endpoint, "another")
    until(lambda: grabs_with(2))

    assert not watch.monitor.poll(0)


def test_address_in_use_is_busy(zmq_context: Context, clock: FakeClock) -> None:
    """An address that another process listens at is a busy camera; it is free again after that."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    other = bind_router(zmq_context, endpoint)
    device = PushedDevice(endpoint, clock, None)

    with pytest.raises(CameraBusyError, match=f"cannot bind {endpoint}: the address is in use"):
        device.open()
    other.close(linger=0)
    until(lambda: _opens(device))
    device.close()


def _opens(device: PushedDevice) -> bool:
    try:
        device.open()
    except CameraBusyError:
        return False
    return True


def test_exposed_address_is_refused(clock: FakeClock) -> None:
    """An address beyond this host without keys is an error with the remedy."""
    device = PushedDevice("tcp://*:5570", clock, None)

    with pytest.raises(SourceError, match=r"without keys.*musc-edge keys"):
        device.open()
    assert not device.is_alive()


def test_keys_let_the_right_pusher_in(
    tmp_path: Path, zmq_context: Context, listen: Callable[..., PushedDevice]
) -> None:
    """With keys a pusher that has them is let in, and one without is not."""
    make_keys(tmp_path / "keys")
    keys = load_keys(tmp_path / "keys")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    device = listen(endpoint, keys)
    stranger = connect_dealer(zmq_context, endpoint, "stranger")
    friend = connect_dealer(zmq_context, endpoint, "friend", keys=keys)

    push(friend, *encode_frame(frame(9)))

    assert grab(device).counter == 9
    assert not stranger.poll(0, zmq.POLLOUT)


def test_what_waits_at_closing_is_counted(
    device: PushedDevice, pusher: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames that nobody took before the endpoint was closed are counted and logged."""
    for seq in (1, 2):
        push(pusher, *encode_frame(frame(seq)))
    grab(device)
    until(lambda: device._socket is not None and device._socket.poll(0) > 0)

    with caplog.at_level(logging.WARNING):
        device.close()

    assert device.dropped == 1
    assert "closed while 1 messages waited" in caplog.text


def test_live_source_follows_the_pusher(
    zmq_context: Context, ipc_endpoint: str, clock: FakeClock
) -> None:
    """The camera is LOST without a pusher, ONLINE with one, and its endpoint stays bound."""
    device = PushedDevice(ipc_endpoint, clock, None)
    source = LiveSource(device, LiveSettings("hardware", comes_back=True), clock)
    try:
        before = source.state
        pusher = connect_dealer(zmq_context, ipc_endpoint, "pusher")
        push(pusher, *encode_frame(frame(6)))
        push(pusher, *encode_frame(frame(7)))
        captures: list[Capture] = []

        def has_both() -> bool:
            capture = source.read()
            captures.extend([capture] if capture is not None else [])
            return len(captures) == 2

        until(has_both)
        online = source.state
        pusher.close(linger=0)
        until(lambda: device._watch is not None and not device._watch._peers)
        clock.advance_ms(2000)
        until(lambda: source.state == "LOST")
        counts = source.counts
    finally:
        source.close()

    assert (before, online) == ("LOST", "ONLINE")
    assert [c.counter for c in captures] == [6, 7]
    assert (counts["openings"], counts["losses"]) == (1, 1)


def test_closed_device_gives_nothing(clock: FakeClock, ipc_endpoint: str) -> None:
    """A device that was never opened has no frames, no pusher, and no trigger."""
    device = PushedDevice(ipc_endpoint, clock, None)

    with pytest.raises(SourceError, match=f"zmq {ipc_endpoint}: not open"):
        device.grab(QUIET_S)
    with pytest.raises(SourceError, match="cannot be triggered"):
        device.trigger()
    assert not device.is_alive()
    assert not device.can_trigger
