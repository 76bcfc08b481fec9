"""The run of ingest: it ends when the line is stopped, the source finished, or patience over."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
from ingest_rig import Rig, good, only

from edge.intake import POLL_MS
from edge.sources import SourceError
from edge.wakeup import Wakeup
from edge.wire import Announced, Lost

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.sockets import Context

MakeRig: TypeAlias = "Callable[..., Rig]"
ROUNDS_LIMIT = 2_000


def test_stop_gives_up_what_waits(rig: MakeRig) -> None:
    """A stop tells the gate of every frame that still waits, waits for its word, and returns."""
    line = rig(*map(good, range(3)))
    line.clock.tick_ms = 20
    line.meet_scorer()
    line.steps(3)

    line.ingest.run(lambda: True)
    lost = only(Lost, line.gate.notes())

    assert {note.announcement.seq for note in lost} == {1, 2, 3}
    assert {(note.why, note.detail) for note in lost} == {("dropped", "the line was stopped")}
    assert line.scorer.frames() == []


def test_silent_gate_does_not_hold_the_stop(rig: MakeRig, caplog: pytest.LogCaptureFixture) -> None:
    """A stop ends a second later without the gate's word, and the log counts what was not heard."""
    line = rig(good())
    line.clock.tick_ms = 20
    line.ingest.step()
    started = line.clock.ns

    line.ingest.run(lambda: True)

    assert 1.0 <= (line.clock.ns - started) / 1e9 < 1.5
    assert "camera c1: 1 notices not acknowledged by the gate" in caplog.text


class Peers:
    """A gate and a scorer that do their work whenever ingest asks whether to stop."""

    def __init__(
        self,
        line: Rig,
        *,
        acknowledges: bool = True,
        settles: bool = True,
        scores: bool = True,
    ) -> None:
        """Be there; a peer that is told not to do its part is silent."""
        self.line = line
        self.acknowledges = acknowledges
        self.settles = settles
        self.scores = scores
        self.settled = 0
        self.rounds = 0
        self.asked_ns = 0
        self.lost: list[Lost] = []

    def __call__(self) -> bool:
        """Answer what has arrived; stop after far too many rounds."""
        self.rounds += 1
        self.asked_ns = self.line.clock.ns
        for note in self.line.gate.notes():
            if isinstance(note, Lost):
                self.lost.append(note)
            if self.acknowledges and isinstance(note, Announced | Lost):
                self.line.acknowledge(note.announcement.seq, note.kind)
        arrived = self.line.scorer.take()
        self.settled += sum(len(parts) == 2 for parts in arrived) if self.settles else 0
        if arrived and self.scores:
            self.line.grant(self.settled, window=2)
        return self.rounds >= ROUNDS_LIMIT


@pytest.mark.parametrize("policy", ["wait", "drop_oldest"])
def test_finished_source_ends_the_run(rig: MakeRig, policy: str) -> None:
    """A finite source ends the run once every frame is acknowledged and settled."""
    line = rig(*map(good, range(5)), policy=policy, drain_s=1e9)
    line.clock.tick_ms = 1
    peers = Peers(line)

    line.ingest.run(peers)

    assert peers.rounds < ROUNDS_LIMIT
    assert (peers.settled, peers.lost) == (5, [])
    assert len(line.ingest._notices) == 0


@pytest.mark.parametrize("missing", ["acknowledges", "settles"])
def test_drain_has_an_end(rig: MakeRig, missing: str) -> None:
    """A finished source waits for silent peers as long as drain_s, and no longer."""
    line = rig(good(), good(), drain_s=0.5)
    line.clock.tick_ms = 20
    peers = Peers(line, **{missing: False})

    line.ingest.run(peers)

    assert peers.rounds < ROUNDS_LIMIT
    finished_ns = line.ingest._intake.finished_ns
    assert finished_ns is not None
    assert 0.5e9 < peers.asked_ns - finished_ns < 1e9


def test_absent_scorer_has_an_end(rig: MakeRig) -> None:
    """Frames that no scorer took until the end of the drain are given up, and said to be."""
    line = rig(good(), good(), drain_s=0.5)
    line.clock.tick_ms = 20
    peers = Peers(line, scores=False)

    line.ingest.run(peers)

    assert peers.rounds < ROUNDS_LIMIT
    lost = only(Lost, line.gate.notes())
    assert {note.announcement.seq for note in lost} == {1, 2}
    assert {note.detail for note in lost} == {"no scorer took it in time"}


def test_lost_source_ends_the_run(rig: MakeRig) -> None:
    """A source that is lost for good ends the run with its own message."""
    line = rig(good(), SourceError("camera c1: unplugged"))

    with pytest.raises(SourceError, match="camera c1: unplugged"):
        line.ingest.run(lambda: False)


def test_close_lets_everything_go(zmq_context: Context, ipc_folder: Path) -> None:
    """After close source, counter and sockets are released, and the context can end."""
    line = Rig(zmq_context, ipc_folder, [], connected=False)

    line.ingest.close()
    zmq_context.term()

    assert line.source.closed
    assert zmq_context.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        line.ingest._counter.next()


def test_live_camera_is_not_asked_again_and_again(rig: MakeRig) -> None:
    """A camera that wakes ingest is left alone while it has nothing, and emptied once it has."""
    line = rig(None, good(), good(1))
    line.ingest._intake.camera.wakeup = wakeup = Wakeup()

    waits = []
    for _ in range(3):
        line.ingest.step()
        waits.append(line.ingest._intake.wait_ms(line.ingest._may_capture))
    wakeup.close()

    assert waits == [POLL_MS, 0, 0]
