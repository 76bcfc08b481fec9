"""The bench of the transport: nothing is copied on the way, every frame comes once and whole."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq
from factories import config
from ingest_rig import FakeClock
from rich.console import Console
from typer.testing import CliRunner

from edge.frame_queue import FrameQueue
from edge.sockets import bind_router, connect_dealer, receive_all
from edge.wire import Credit, Hello, decode_frame, encode_frame, encode_note
from pipeline import bench_transport, bench_way
from pipeline.bench_receiver import READ_ALL, Receiver, checksum
from pipeline.bench_transport import (
    TransportBench,
    TransportReport,
    check_content,
    make_pictures,
    run_transport_bench,
)
from pipeline.bench_way import BOOT, CAMERA, TransportBenchError, Way, make_frame
from pipeline.cli_bench import bench_app
from pipeline.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.frame import Frame
    from edge.sockets import Context
    from pipeline.inspection import Inspection

LIMIT_MS = 5_000
SHAPE = (120, 200, 3)
"""72,000 bytes: above what pyzmq copies because it is small."""
FIGURES = {
    "width_px", "height_px", "frames", "repeats", "ipc_fraction", "tcp_fraction", "memcpy_gbps",
    "ipc_gbps", "tcp_gbps", "frames_per_s_ipc", "frames_per_s_tcp",
}  # fmt: skip


def pictures(count: int = 3) -> Any:
    """Return small pictures."""
    return make_pictures(TransportBench(frames=count, shape=SHAPE))


def share(one: Any, other: Any) -> bool:
    """Tell whether two buffers are the same memory, first byte to last."""
    first, second = (np.frombuffer(buffer, np.uint8) for buffer in (one, other))
    return first.size == second.size and bool(np.shares_memory(first, second))


class SpySocket:
    """A socket that remembers the messages of ZeroMQ that went through it."""

    def __init__(self, socket: Any = None) -> None:
        """Stand before a socket; without one everything is taken, and nothing comes."""
        self._socket = socket
        self.sent: list[list[Any]] = []
        self.received: list[list[Any]] = []

    def send_multipart(self, parts: list[Any], *, flags: int, copy: bool) -> None:
        """Make the messages that pyzmq makes of the parts."""
        assert flags == zmq.NOBLOCK
        self.sent.append([zmq.Frame(part, copy=copy) for part in parts])

    def recv_multipart(self, *, flags: int, copy: bool) -> list[Any]:
        """Remember what comes."""
        if self._socket is None:
            raise zmq.Again
        self.received.append(self._socket.recv_multipart(flags=flags, copy=copy))
        return self.received[-1]


def test_pixels_are_sent_from_where_they_lie() -> None:
    """What ZeroMQ is given to send is the memory of the frame's pixels, byte for byte."""
    (pixels,) = pictures(1)
    spy: Any = SpySocket()
    queue = FrameQueue(spy, CAMERA, BOOT, 1)
    credit = [memoryview(encode_note(Credit(boot=BOOT, settled=0, window=1)))]
    spy.recv_multipart = iter_messages([credit])
    queue.take_credit()
    queue.put(make_frame(1, pixels))

    queue.send()

    ((_, body),) = spy.sent
    assert share(body.buffer, pixels)


def iter_messages(messages: list[Any]) -> Any:
    """Return a ``recv_multipart`` that gives these and then nothing."""
    left = [[_Part(part) for part in parts] for parts in messages]

    def receive(**_: Any) -> Any:
        if not left:
            raise zmq.Again
        return left.pop(0)

    return receive


class _Part:
    """A message part as pyzmq gives it."""

    def __init__(self, buffer: memoryview) -> None:
        """Hold a buffer."""
        self.buffer = buffer


def test_copy_would_be_noticed() -> None:
    """A message that pyzmq copied shares no memory with the pixels, so the law above can fail."""
    (pixels,) = pictures(1)
    _, body = encode_frame(make_frame(1, pixels))

    copied = zmq.Frame(body, copy=True)

    assert bytes(copied.buffer) == pixels.tobytes()
    assert not share(copied.buffer, pixels)


def test_pixels_are_read_from_where_they_came(zmq_context: Context, ipc_endpoint: str) -> None:
    """A received frame's pixels are the memory of ZeroMQ's own message, and read-only."""
    (sent,) = pictures(1)
    router = bind_router(zmq_context, ipc_endpoint)
    dealer = connect_dealer(zmq_context, ipc_endpoint, CAMERA)
    assert dealer.poll(LIMIT_MS, zmq.POLLOUT)
    dealer.send_multipart(encode_frame(make_frame(1, sent)))
    assert router.poll(LIMIT_MS)
    spy: Any = SpySocket(router)

    (_, *parts), *_ = receive_all(spy, limit=1)
    pixels = decode_frame(parts).pixels

    assert share(spy.received[0][-1].buffer, pixels)
    assert not pixels.flags.writeable
    assert np.array_equal(pixels, sent)


class KeepingReceiver(Receiver):
    """A receiver that keeps what it was given."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.given: list[Frame] = []

    def inspect(self, frame: Frame) -> Inspection:
        """Keep the frame."""
        self.given.append(frame)
        return super().inspect(frame)


def test_inspector_is_given_the_view(
    zmq_context: Context, ipc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the scorer's socket and its inspector no pixel moves."""
    (sent,) = pictures(1)
    settings = config(line={"state_path": str(ipc_folder)})
    receiver, clock = KeepingReceiver(), FakeClock()
    scoring = Scoring(settings, receiver, "0badcafe", clock, zmq_context)
    came: list[Any] = []

    def kept(socket: Any) -> Any:
        messages = receive_all(socket)
        came.extend(messages)
        return messages

    monkeypatch.setattr("pipeline.scoring.receive_all", kept)
    dealer = connect_dealer(zmq_context, settings.endpoint("frames"), CAMERA)
    assert dealer.poll(LIMIT_MS, zmq.POLLOUT)
    dealer.send(encode_note(Hello(camera=CAMERA, boot=BOOT, sent=0)))
    dealer.send_multipart(encode_frame(make_frame(1, sent)))

    while not receiver.given:
        assert scoring._cameras.poll(LIMIT_MS)
        scoring.step()

    assert share(came[-1][-1], receiver.given[0].pixels)


@pytest.fixture
def way(zmq_context: Context, ipc_folder: Path) -> Iterator[Way]:
    """A way over ipc to a real receiver."""
    with Way(ipc_folder / "way", zmq_context, "") as started:
        yield started


def test_every_frame_comes_once_and_whole(way: Way) -> None:
    """Every byte is compared at the other end, and every frame is said once, in order."""
    sent = pictures()

    check_content(way, sent)
    way.carry(sent)
    unread = way.collect()
    way.carry(sent[:1], READ_ALL)

    assert unread == ["", "", ""]
    assert way.collect() == [checksum(sent[0])]


def test_receiver_ends_with_its_owner(way: Way) -> None:
    """A receiver whose standard input closes stops by itself, without a kill."""
    way.close()

    assert way._process.returncode == 0


def test_killed_receiver_is_an_error(way: Way) -> None:
    """Frames that nobody settles any more are an error at once, not after the limit."""
    way._process.kill()
    way._process.wait()

    with pytest.raises(TransportBenchError, match="not settled: the receiver ended with code -9"):
        way.carry(pictures())


def test_receiver_that_does_not_start_is_an_error(
    zmq_context: Context, ipc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code of a receiver that cannot run is told."""
    monkeypatch.setattr(bench_way.sys, "executable", "/bin/false")
    way = Way(ipc_folder / "way", zmq_context, "")

    with pytest.raises(TransportBenchError, match=r"does not answer: .* code 1"), way:
        pass


def test_frame_that_is_said_twice_is_an_error(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second inspection of a frame is not passed over."""
    way.carry(pictures(1))
    way.collect()
    monkeypatch.setattr(way, "_seq", 0)
    way.carry(pictures(1))
    monkeypatch.setattr(way, "_seq", 2)

    with pytest.raises(TransportBenchError, match="frame 1 was inspected twice"):
        way.collect()


def test_other_content_is_an_error(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte that differs at the other end is named by its picture."""
    sent = pictures()
    said = [checksum(pixels) for pixels in sent]
    changed = sent[1].copy()
    changed[-1, -1, -1] ^= 1
    monkeypatch.setattr(way, "collect", lambda: [said[0], checksum(changed), said[2]])

    with pytest.raises(TransportBenchError, match="picture 1 came as"):
        check_content(way, sent)


def test_both_ways_race_the_copy(ipc_folder: Path) -> None:
    """Each way and the copy have one time for each counted round."""
    bench = TransportBench(frames=2, repeats=3, shape=SHAPE)

    report = run_transport_bench(Console(file=io.StringIO()), bench, ipc_folder)

    assert {name: len(times) for name, times in report.times_ms.items()} == {
        "memcpy": 3,
        "ipc": 3,
        "tcp": 3,
    }


def test_fraction_is_the_share_of_the_copy() -> None:
    """Rates are medians; a fraction is the copy's time over the way's, round by round."""
    times = {"memcpy": [1.0, 2.0, 4.0], "ipc": [10.0, 10.0, 80.0], "tcp": [4.0, 8.0, 16.0]}
    report = TransportReport(TransportBench(frames=10, repeats=3, shape=(100, 200, 3)), times)

    said = report.summary()

    assert said.keys() == FIGURES
    assert (said["ipc_fraction"], said["tcp_fraction"]) == (0.1, 0.25)
    assert (said["frames_per_s_ipc"], said["frames_per_s_tcp"]) == (1000.0, 1250.0)
    assert said["memcpy_gbps"] == 0.3
    assert report.table()[1] == ["ipc", "1000", "125", "1000", "0.06", "0.100"]


def test_command_ends_with_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line holds every figure, for the pictures that were asked for."""
    monkeypatch.setattr(
        bench_transport,
        "run_transport_bench",
        lambda _console, bench, _folder: TransportReport(
            bench, {name: [2.0] * bench.repeats for name in ("memcpy", "ipc", "tcp")}
        ),
    )

    done = CliRunner().invoke(bench_app, ["transport", "--frames", "4", "--repeats", "9"])

    assert done.exit_code == 0, done.output
    said = json.loads(done.output.splitlines()[-1])
    assert said.keys() == FIGURES
    assert (said["width_px"], said["height_px"]) == (1920, 1080)
    assert (said["frames"], said["repeats"]) == (4, 9)
