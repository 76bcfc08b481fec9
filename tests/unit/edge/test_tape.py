"""A tape has what ingest would have announced, with its pixels, and no peer is needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import recordings as made
from factories import START
from ingest_rig import BOOT, FakeClock, FakeSource, good

from edge import recorder as module
from edge.intake import IntakeSettings
from edge.recorder import Recorder
from edge.recording import Recording
from edge.recording_lines import NotRecorded
from edge.sources import CameraEvent, Capture, SourceError
from edge.tape import Tape
from edge.wire import Begins, Happened, PartAt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.sockets import Context

ROOM_BYTES = 8 * module.LINE_BYTES
"""A frame of these tests takes little more than its line."""


class Deck:
    """A tape with its source, clock and writer."""

    def __init__(self, folder: Path, context: Context, source: FakeSource, **asked: Any) -> None:
        """Begin a recording of c1."""
        self.folder, self.source, self.clock = folder, source, FakeClock()
        limits = {name: asked.pop(name) for name in set(asked) & {"max_bytes", "room"}}
        self.recorder = Recorder(
            made.begin(folder) / "c1" / "index.jsonl",
            limits.get("max_bytes", 10_000_000),
            lambda: START,
            waiting_limit_bytes=limits.get("room", module.WAITING_LIMIT_BYTES),
        )
        settings = IntakeSettings(
            camera="c1", **({"policy": "drop_oldest", "interval_ms": 0} | asked)
        )
        self.tape = Tape(settings, source, BOOT, self.clock, context, self.recorder)

    def run(self, stop: Callable[[], bool] = lambda: False, frames: int | None = None) -> str:
        """Record to the end; return why that came."""
        end = self.tape.run(stop, frames)
        self.recorder.close(made.LIMIT_S)
        return end

    def read(self) -> Recording:
        """Open what was written."""
        return Recording(self.folder)


@pytest.fixture
def deck(tmp_path: Path, zmq_context: Context) -> Iterator[Callable[..., Deck]]:
    """Begin a tape of these captures; it is closed after the test."""
    decks: list[Deck] = []

    def begin(*captures: Capture | Exception | None, **asked: Any) -> Deck:
        decks.append(Deck(tmp_path, zmq_context, FakeSource(captures), **asked))
        return decks[-1]

    yield begin
    for one in decks:
        one.tape.close()
        one.recorder.close(made.LIMIT_S)
        assert one.source.closed


class Held(threading.Event):
    """Nothing is encoded before this is set."""

    def __init__(self) -> None:
        """Hold."""
        super().__init__()
        self.begun = threading.Event()
        """Set once the writer has a frame in hand, so that it gets no further."""


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Nothing is encoded before this is set."""
    event, encode = Held(), module.encode_frame_file

    def wait(frame: Any) -> bytes:
        event.begun.set()
        assert event.wait(made.LIMIT_S)
        return encode(frame)

    monkeypatch.setattr(module, "encode_frame_file", wait)
    yield event
    event.set()


def test_frames_are_announced_and_kept(deck: Callable[..., Deck]) -> None:
    """Frames are numbered from 1, an unusable picture is lost, the end is the source's."""
    tape = deck(good(1), good(2, fault="cut short"), good(3))
    tape.source.events = [CameraEvent("clock_step", {"step_s": 1.0})]

    end = tape.run()

    recording = tape.read()
    frames = recording.frames("c1")
    assert end == "finished"
    assert [frame.key.seq for frame in frames] == [1, 2, 3]
    assert [frame.lost.why if frame.lost else None for frame in frames] == [None, "corrupt", None]
    assert [frame.load().pixels[0, 0] for frame in (frames[0], frames[2])] == [1, 3]
    index = recording.indexes["c1"]
    assert index[0] == Begins(camera="c1", boot=BOOT, seq=0)
    assert [line.event for line in index if isinstance(line, Happened)] == ["clock_step"]
    assert recording.problems == []
    assert tape.tape.counts().corrupt == 1


def test_so_many_frames_are_taken(deck: Callable[..., Deck]) -> None:
    """No picture is asked for beyond the number of frames; a lost one is no frame."""
    tape = deck(good(1, fault="cut short"), *map(good, range(2, 9)))

    end = tape.run(frames=3)

    assert end == "taken"
    assert tape.source.reads == 4
    assert (tape.recorder.frames, tape.tape.taken) == (3, 3)


def test_stop_keeps_what_was_taken(deck: Callable[..., Deck], held: Held) -> None:
    """Frames that wait to be written when it is stopped are written."""
    tape = deck(*map(good, range(100)))

    def stop() -> bool:
        if tape.tape.taken < 5:
            return False
        held.set()
        return True

    end = tape.run(stop)

    assert end == "stopped"
    assert [frame.key.seq for frame in tape.read().frames("c1") if frame.stored] == [1, 2, 3, 4, 5]


def test_source_waits_for_the_writer(deck: Callable[..., Deck], held: Held) -> None:
    """With policy wait no frame is left out, and a writer that is behind holds the source."""
    tape = deck(*map(good, range(20)), policy="wait", room=ROOM_BYTES)
    reads: list[int] = []

    def stop() -> bool:
        if held.begun.is_set() and tape.recorder.behind and not held.is_set():
            reads.append(tape.source.reads)
            if len(reads) == 20:
                held.set()
        return False

    end = tape.run(stop)

    assert end == "finished"
    assert reads == [reads[0]] * 20
    assert reads[0] <= 8
    assert (tape.recorder.frames, tape.recorder.left_out) == (20, 0)


def test_frames_without_room_are_named(deck: Callable[..., Deck], held: Held) -> None:
    """With policy drop_oldest the source goes on; frames that find no room have their line."""
    tape = deck(*map(good, range(20)), room=ROOM_BYTES)

    def stop() -> bool:
        if tape.source.reads == 20:
            held.set()
        return False

    tape.run(stop)

    lines = tape.read().indexes["c1"]
    named = [line.seq for line in lines if isinstance(line, NotRecorded)]
    assert named
    assert tape.recorder.frames + len(named) == 20
    assert tape.recorder.left_out == len(named)


def test_end_of_the_budget_ends_the_tape(deck: Callable[..., Deck]) -> None:
    """A recording that is full takes no more pictures."""
    tape = deck(*map(good, range(100)), policy="wait", room=ROOM_BYTES, max_bytes=5_000)

    end = tape.run()

    assert end == "limit_reached"
    assert 0 < tape.recorder.frames < tape.source.reads < 100


def test_part_without_a_picture_is_lost(deck: Callable[..., Deck]) -> None:
    """A part that was told and not seen is in the recording under its name."""
    tape = deck(None, part_policy="message")

    tape.tape._intake.expect(PartAt(part_id="A-1"))
    tape.run()

    (frame,) = tape.read().frames("c1")
    assert frame.lost is not None
    assert (frame.lost.why, frame.lost.announcement.part_id) == ("missed_trigger", "A-1")


def test_pictures_are_not_put_away(deck: Callable[..., Deck]) -> None:
    """Nobody has judged them: a watched folder keeps its files."""
    tape = deck(good(1), good(2))

    tape.run()

    assert tape.source.let_go_of == 0


def test_source_that_is_lost_for_good_is_an_error(deck: Callable[..., Deck]) -> None:
    """What the source says is the caller's to tell; what came before is kept."""
    tape = deck(good(1), SourceError("belt: gone"))

    with pytest.raises(SourceError, match="belt: gone"):
        tape.run()

    tape.recorder.close(made.LIMIT_S)
    assert tape.recorder.frames == 1
