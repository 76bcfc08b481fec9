"""deploy/examples/push_frames.py: what it pushes arrives, and is written as the line writes it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.clock import SystemClock
from edge.sockets import bind_router
from edge.sources.pushed import PushedDevice
from edge.wire import decode_frame, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.sockets import Context
    from edge.sources import Capture

PROGRAM = Path(__file__).parents[2] / "deploy" / "examples" / "push_frames.py"
LIMIT_S = 30.0
LINES_OF_CODE = 22
RNG = np.random.default_rng(5)
PICTURES = {
    "a.npy": RNG.integers(0, 256, (24, 32), np.uint8),
    "b.npy": RNG.integers(0, 256, (24, 32, 3), np.uint8),
    "c.npy": RNG.integers(0, 65_536, (24, 32), np.uint16),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pictures as numpy saves them."""
    for name, pixels in PICTURES.items():
        np.save(tmp_path / name, pixels)
    return tmp_path


@pytest.fixture
def push() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program; it is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, PROGRAM, *arguments]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(LIMIT_S)


def grab(device: PushedDevice, count: int) -> list[Capture]:
    """Return so many frames."""
    captures: list[Capture] = []
    end = time.monotonic() + LIMIT_S
    while len(captures) < count and time.monotonic() < end:
        capture = device.grab(0.1)
        captures += [] if capture is None else [capture]
    return captures


def test_pictures_of_a_folder_arrive(
    ipc_endpoint: str, folder: Path, push: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """The pictures of a folder arrive bit by bit, in order, counted from 1, and it ends."""
    device = PushedDevice(ipc_endpoint, SystemClock(), None)
    device.open()

    program = push(ipc_endpoint, folder)
    captures = grab(device, len(PICTURES))
    code = program.wait(LIMIT_S)
    device.close()

    assert code == 0
    assert device.refused == 0
    assert [capture.origin for capture in captures] == list(PICTURES)
    assert [(c.counter, c.part_id) for c in captures] == [
        (seq, f"part-{seq:06d}") for seq in (1, 2, 3)
    ]
    assert [(c.pixel_format, c.bit_depth) for c in captures] == [
        ("mono", 8),
        ("bgr", 8),
        ("mono", 16),
    ]
    for capture, pixels in zip(captures, PICTURES.values(), strict=True):
        np.testing.assert_array_equal(capture.pixels, pixels)


def test_random_pictures_arrive(
    ipc_endpoint: str, push: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Without a folder there are pictures all the same, each another."""
    device = PushedDevice(ipc_endpoint, SystemClock(), None)
    device.open()

    push(ipc_endpoint)
    first, second = grab(device, 2)
    device.close()

    assert first.pixels is not None
    assert second.pixels is not None
    assert not np.array_equal(first.pixels, second.pixels)
    assert first.camera_ns is not None
    assert second.camera_ns is not None
    assert first.camera_ns < second.camera_ns


def test_header_is_written_as_the_line_writes_it(
    zmq_context: Context,
    ipc_endpoint: str,
    folder: Path,
    push: Callable[..., subprocess.Popen[bytes]],
) -> None:
    """Each header has the very fields, in names, types and values, that edge.wire writes."""
    router = bind_router(zmq_context, ipc_endpoint)
    push(ipc_endpoint, folder)

    for _ in PICTURES:
        assert router.poll(1000 * LIMIT_S), "nothing came"
        _, head, body = router.recv_multipart()
        ours, pixels = encode_frame(decode_frame([head, body]))

        assert json.loads(head) == json.loads(ours)
        assert body == bytes(pixels)


def test_program_is_short_and_needs_little() -> None:
    """The program is read in a minute, and needs pyzmq and numpy but nothing of this project."""
    _, _, code = PROGRAM.read_text().split('"""')
    lines = [line for line in code.splitlines() if line.strip()]
    imports = [line for line in lines if line.startswith(("import ", "from "))]

    assert len(lines) - len(imports) <= LINES_OF_CODE
    assert not [line for line in imports if "edge" in line or "cv2" in line]


def test_line_that_is_away_is_waited_for(
    folder: Path, push: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A program that connected before the line was there loses no picture."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        push(endpoint, folder)
        connection, _ = listener.accept()
        connection.close()
    device = PushedDevice(endpoint, SystemClock(), None)
    device.open()

    captures = grab(device, len(PICTURES))
    device.close()

    assert [capture.counter for capture in captures] == [1, 2, 3]
