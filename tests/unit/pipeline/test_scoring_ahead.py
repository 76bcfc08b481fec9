"""The scorer's loop beside a working inspector: nothing is lost, and order is kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from factories import config, frame
from ingest_rig import FakeClock
from stand_in_scorer import StandInInspector

from edge.sockets import bind_router, connect_dealer
from edge.wire import Order, encode_frame, encode_note
from pipeline.inspection import decode_inspection
from pipeline.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.sockets import Context

LIMIT_S = 20.0


class HeldInspector(StandInInspector):
    """Inspects a frame only when it is let; tells that it has begun."""

    def __init__(self, settings: Any) -> None:
        """Hold the first frame."""
        super().__init__(settings, sleep=lambda _s: None)
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.ready = threading.Event()
        self.threads: set[str] = set()

    def prepare(self, frames: Any) -> None:
        """Tell that a frame was made ready."""
        super().prepare(frames)
        self.ready.set()

    def inspect(self, one: Any) -> Any:
        """Wait to be let."""
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        assert self.go.acquire(timeout=LIMIT_S), "never let go"
        return super().inspect(one)


class Rig:
    """Gate, camera, and a loop that runs in a thread of the test."""

    def __init__(self, context: Context, folder: Path) -> None:
        """Start the loop."""
        settings = config(
            line={"state_path": str(folder)}, window={"size_frames": 10, "min_peers": 2}
        )
        self.gate = bind_router(context, settings.endpoint("inspections"))
        self.camera = connect_dealer(context, settings.endpoint("frames"), "c1")
        self.box = HeldInspector(settings)
        worker = ThreadPoolExecutor(1, "worker")
        self.scoring = Scoring(settings, self.box, "0badcafe", FakeClock(), context, worker)
        self.stop = threading.Event()
        self.said: list[Any] = []
        self.scorer = b""
        self._loop = threading.Thread(target=self.scoring.run, args=(self.stop.is_set,))
        self._loop.start()

    def send(self, *seqs: int) -> None:
        """Send frames as the camera."""
        assert self.camera.poll(LIMIT_S * 1000, zmq.POLLOUT)
        for seq in seqs:
            self.camera.send_multipart(list(encode_frame(frame(seq))))

    def hear(self, enough: Callable[[], bool]) -> None:
        """Listen as the gate until it is enough."""
        while not enough():
            assert self.gate.poll(LIMIT_S * 1000), "the scorer says nothing"
            self.scorer, *parts = self.gate.recv_multipart()
            if parts[0] == b"inspection":
                self.said.append(decode_inspection(parts[1:]))

    def end(self) -> None:
        """Stop the loop, letting all go."""
        self.stop.set()
        self.box.go.release(100)
        self._loop.join(LIMIT_S)
        assert not self._loop.is_alive()
        self.scoring.close()


@pytest.fixture
def rig(zmq_context: Context, ipc_folder: Path) -> Iterator[Rig]:
    """A loop with a worker."""
    one = Rig(zmq_context, ipc_folder)
    yield one
    one.end()


def test_next_frame_is_made_ready_while_one_is_inspected(rig: Rig) -> None:
    """A frame that arrives during an inspection is made ready before that has ended."""
    rig.send(1)
    assert rig.box.begun.acquire(timeout=LIMIT_S)

    rig.send(2)
    made = rig.box.ready.wait(LIMIT_S)
    rig.box.go.release(2)
    rig.hear(lambda: len(rig.said) == 2)

    assert made
    assert rig.box.prepared == [[2]]
    assert [one.announcement.seq for one in rig.said] == [1, 2]
    assert {name[:6] for name in rig.box.threads} == {"worker"}


def test_order_waits_for_the_frame_in_hand(rig: Rig) -> None:
    """An order that comes during an inspection holds for the next frame, made ready or not."""
    rig.hear(lambda: rig.scorer != b"")
    rig.send(1)
    assert rig.box.begun.acquire(timeout=LIMIT_S)
    rig.send(2)
    assert rig.box.ready.wait(LIMIT_S)
    order = Order(order="0" * 16, verb="recipe", recipe="lid")

    rig.gate.send_multipart([rig.scorer, encode_note(order)])
    assert rig.scoring._gate.poll(LIMIT_S * 1000)
    rig.box.go.release(2)
    rig.hear(lambda: len(rig.said) == 2)

    assert [(one.announcement.seq, one.recipe) for one in rig.said] == [(1, "default"), (2, "lid")]


def test_stop_loses_no_frame_that_was_made_ready(rig: Rig) -> None:
    """A loop that is stopped with one frame in hand and one made ready inspects both."""
    rig.send(1)
    assert rig.box.begun.acquire(timeout=LIMIT_S)
    rig.send(2)
    assert rig.box.ready.wait(LIMIT_S)

    rig.stop.set()
    rig.box.go.release(2)
    rig.hear(lambda: len(rig.said) == 2)

    assert [one.announcement.seq for one in rig.said] == [1, 2]
