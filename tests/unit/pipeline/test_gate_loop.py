"""The gate process over real sockets and a real ledger; only the broker is a list."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from factories import BOOT, MS, announcement, config, inspection
from ingest_rig import FakeClock

from edge.sockets import Context, Socket, connect_dealer
from edge.wire import Acknowledged, Announced, Begins, Note, ScorerUp, decode_note, encode_note
from pipeline import gate_loop
from pipeline.gate_intake import GAP_FRAMES, SILENCE_NS
from pipeline.gate_loop import GateLoop
from pipeline.inspection import encode_inspection
from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.results import FrameResult, PartVerdict

DEADLINE_MS = 500
NEXT_BOOT = "b" * 16
LIMIT_MS = 5_000


class Recorder:
    """Stands for the publisher."""

    def __init__(self, *_args: object) -> None:
        """Remember nothing yet."""
        self.frames: list[FrameResult] = []
        self.parts: list[PartVerdict] = []
        self.states: list[str] = []
        self.unsent = 0

    def connect(self, *, required: bool) -> None:
        """Be there."""

    def state(self, state: str) -> None:
        """Note a change of state."""
        if self.states[-1:] != [state]:
            self.states.append(state)

    def heartbeat(self) -> None:
        """Beat."""

    def heatmap(self, *_args: object) -> None:
        """Show nothing."""

    def frame(self, result: FrameResult) -> None:
        """Note a frame result."""
        self.frames.append(result)

    def part(self, part: PartVerdict) -> None:
        """Note a part verdict."""
        self.parts.append(part)

    def close(self, _limit_s: float) -> None:
        """Go."""


class Rig:
    """A gate, an ingest and a scorer that say what a test wants."""

    def __init__(self, folder: Path, context: Context) -> None:
        """Start the gate on an empty ledger."""
        self.clock = FakeClock()
        self.path = folder / "ledger.db"
        self.settings = config(
            line={"state_path": str(folder)},
            part={"deadline_ms": DEADLINE_MS},
            ledger={"path": str(self.path), "synchronous": "NORMAL"},
            evidence={"path": str(folder / "evidence")},
        )
        self.gate = GateLoop(self.settings, self.clock, context)
        self.said: Any = self.gate._publisher
        self.ingest = connect_dealer(context, self.settings.endpoint("notices"), "c1")
        self.scorer = connect_dealer(context, self.settings.endpoint("inspections"), "s")
        self.scorer_is_up()

    def scorer_is_up(self) -> None:
        """Let the scorer say that it is there, until the gate has noticed."""
        while not self.gate._gate.has_scorer:
            self.send(self.scorer, ScorerUp(scorer=BOOT, model="a89d1abb"))
            self.step()

    def send(self, socket: Socket, *notes: Note) -> None:
        """Send notes."""
        for note in notes:
            assert socket.poll(LIMIT_MS, 2), "the gate takes nothing"
            socket.send(encode_note(note))

    def step(self) -> None:
        """Wait for a message and let the gate work."""
        self.gate._poller().poll(100)
        self.gate.step()

    def acknowledgements(self) -> list[tuple[int, str]]:
        """Return what the gate acknowledged."""
        found: list[tuple[int, str]] = []
        while self.ingest.poll(50):
            note = decode_note(self.ingest.recv())
            assert isinstance(note, Acknowledged)
            found.append((note.seq, note.notice))
        return found

    def inspect(self, seq: int) -> None:
        """Announce a frame and let the scorer say PASS."""
        note = announcement(seq, captured_ns=self.clock.ns)
        self.send(self.ingest, Announced(announcement=note))
        parts = encode_inspection(inspection(announcement=note))
        self.scorer.send_multipart([b"inspection", *parts])
        while len(self.said.frames) == 0 or self.said.frames[-1].announcement.seq != seq:
            self.step()

    def rows(self, table: str = "verdicts") -> list[dict[str, Any]]:
        """Return all rows of a table."""
        db = open_for_reading(self.path)
        rows = list(db.table(table).rows)
        db.close()
        return rows


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    monkeypatch.setattr(gate_loop, "Publisher", Recorder)
    rig = Rig(ipc_folder, zmq_context)
    yield rig
    rig.gate._evidence.close(1.0)
    rig.gate.close()


def test_inspected_frame_is_on_disk_then_acknowledged_and_said(rig: Rig) -> None:
    """One frame, one row, one message, one part; the notice is acknowledged."""
    rig.inspect(1)

    assert rig.acknowledgements() == [(1, "announced")]
    assert [(row["seq"], row["verdict"]) for row in rig.rows()] == [(1, "PASS")]
    assert [result.verdict for result in rig.said.frames] == ["PASS"]
    assert [part.verdict for part in rig.said.parts] == ["PASS"]


def test_frames_counted_and_never_announced_are_closed(rig: Rig) -> None:
    """What a dead ingest counted is in the ledger as camera_lost, not on live topics."""
    rig.send(rig.ingest, Begins(camera="c1", boot=BOOT, seq=7))
    rig.step()
    rig.send(rig.ingest, Begins(camera="c1", boot=NEXT_BOOT, seq=10))
    rig.step()

    assert rig.acknowledgements() == [(7, "begins"), (10, "begins")]
    assert [(row["seq"], row["reason"]) for row in rig.rows()] == [
        (seq, "camera_lost") for seq in (8, 9, 10)
    ]
    assert rig.said.frames == []
    assert [row["kind"] for row in rig.rows("events")] == ["gap_filled"]


def test_large_gap_is_closed_in_steps(rig: Rig) -> None:
    """A start is acknowledged only when its whole gap is closed, some frames at a time."""
    count = GAP_FRAMES + 10
    rig.send(rig.ingest, Begins(camera="c1", boot=BOOT, seq=0))
    rig.step()
    rig.acknowledgements()

    rig.send(rig.ingest, Begins(camera="c1", boot=NEXT_BOOT, seq=count))
    rig.step()
    first = rig.acknowledgements(), len(rig.rows())
    rig.send(rig.ingest, Begins(camera="c1", boot=NEXT_BOOT, seq=count))
    rig.step()

    assert first == ([], GAP_FRAMES)
    assert rig.acknowledgements() == [(count, "begins")]
    assert len(rig.rows()) == count


def test_notice_of_an_ingest_that_was_answered_for_is_ignored(rig: Rig) -> None:
    """A notice that arrives after its frame was filled opens no second row."""
    rig.send(rig.ingest, Begins(camera="c1", boot=BOOT, seq=0))
    rig.send(rig.ingest, Begins(camera="c1", boot=NEXT_BOOT, seq=2))
    rig.step()

    note = announcement(2, captured_ns=rig.clock.ns)
    rig.send(rig.ingest, Announced(announcement=note))
    rig.step()

    assert (2, "announced") in rig.acknowledgements()
    assert [row["seq"] for row in rig.rows()] == [1, 2]


def test_pass_that_the_disk_delayed_is_said_as_no_result(rig: Rig) -> None:
    """Past its deadline a PASS is said as `late`, and the next pass corrects the ledger."""
    write = rig.gate._write

    def slow_write(work: Any) -> None:
        write(work)
        if work.results:
            rig.clock.advance_ms(DEADLINE_MS)

    rig.gate._write = slow_write  # type: ignore[method-assign] - a slow disk
    rig.inspect(1)
    rig.step()

    assert [(r.verdict, r.why) for r in rig.said.frames] == [("NO_RESULT", "late")]
    assert [(p.verdict, p.why) for p in rig.said.parts] == [("NO_RESULT", "late")]
    assert [(row["verdict"], row["reason"]) for row in rig.rows()] == [("NO_RESULT", "late")]
    assert [row["verdict"] for row in rig.rows("parts")] == ["NO_RESULT"]


def test_other_writer_only_delays(rig: Rig) -> None:
    """While another program writes nothing is taken; afterwards everything is decided once."""
    other = sqlite3.connect(rig.path, isolation_level=None)
    other.execute("begin immediate")
    rig.send(rig.ingest, Announced(announcement=announcement(1, captured_ns=rig.clock.ns)))
    rig.step()
    during = rig.acknowledgements()
    other.execute("rollback")
    other.close()

    rig.step()

    assert during == []
    assert rig.acknowledgements() == [(1, "announced")]
    assert [row["seq"] for row in rig.rows()] == [1]


def test_silent_scorer_is_missed(rig: Rig) -> None:
    """A scorer that hangs is FAULT though its connection stands, until it speaks again."""
    rig.step()
    before = rig.said.states[-1]
    rig.clock.advance_ms(SILENCE_NS // MS + 1)
    rig.step()
    silent = rig.said.states[-1]
    rig.scorer_is_up()

    assert (before, silent, rig.said.states[-1]) == ("WARMING", "FAULT", "WARMING")


def test_locked_ledger_does_not_hold_the_stop(rig: Rig) -> None:
    """At the end what cannot be written is said all the same; the row stays open for later."""
    rig.send(rig.ingest, Announced(announcement=announcement(1, captured_ns=rig.clock.ns)))
    rig.step()
    other = sqlite3.connect(rig.path, isolation_level=None)
    other.execute("begin immediate")
    rig.clock.tick_ms = 50

    work = rig.gate._new_pass()
    rig.gate._intake.close_all(work)
    rig.gate._commit_last(work)
    other.execute("rollback")
    other.close()

    assert [(r.verdict, r.why) for r in rig.said.frames] == [("NO_RESULT", "scorer_down")]
    assert [row["verdict"] for row in rig.rows()] == [None]
