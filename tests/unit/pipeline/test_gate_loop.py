"""The gate process over real sockets and a real ledger; only the broker is a list."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from factories import BOOT, MS, announcement, config, inspection
from fake_session import FakeSession
from ingest_rig import FakeClock

from edge.commands import PartCommand
from edge.sockets import Context, Socket, connect_dealer
from edge.wire import (
    Acknowledged,
    Announced,
    Begins,
    CameraHere,
    Note,
    Order,
    Ordered,
    PartAt,
    ScorerUp,
    decode_note,
    encode_note,
)
from pipeline import publisher
from pipeline.camera_watch import SILENCE_NS as CAMERA_SILENCE_NS
from pipeline.gate_intake import SILENCE_NS
from pipeline.gate_loop import GateLoop
from pipeline.inspection import encode_inspection
from pipeline.ledger import LedgerError, open_for_reading
from pipeline.recovery import GAP_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_MS = 500
NEXT_BOOT = "b" * 16
LIMIT_MS = 5_000
PART = PartCommand(txn="t-1", by="anna", part="A-1")


class Rig:
    """A gate, an ingest and a scorer that say what a test wants."""

    def __init__(self, folder: Path, context: Context, **sections: Any) -> None:
        """Start the gate on the ledger of the folder."""
        self.clock = FakeClock()
        self.path = folder / "ledger.db"
        self.settings = config(
            line={"state_path": str(folder)},
            part={"deadline_ms": DEADLINE_MS},
            ledger={"path": str(self.path), "synchronous": "NORMAL"},
            evidence={"path": str(folder / "evidence")},
            **sections,
        )
        self.gate = GateLoop(self.settings, self.clock, context)
        self.broker: Any = self.gate._publisher._session
        self.gate._publisher.start(self.gate._desk.receive)
        self.ingest = connect_dealer(context, self.settings.endpoint("notices"), "c1")
        self.scorer = connect_dealer(context, self.settings.endpoint("inspections"), "s")
        self.scorer_is_up()

    def scorer_is_up(self) -> None:
        """Let the scorer say that it is there, until the gate has noticed."""
        while not self.gate._gate.has_scorer:
            self.send(self.scorer, ScorerUp(scorer=BOOT, model="a89d1abb", recipe="default"))
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

    def command(self, verb: str, *, step: bool = False, **fields: Any) -> None:
        """Send a command, always as the same transaction, and wait for its answer."""
        body = {"txn": f"t-{verb}", "by": "anna", **fields}
        before = len(self.answers())
        topic = f"musc/v1/site/area/line/station/cmd/{verb}"
        self.broker.deliver(topic, json.dumps(body).encode())
        self.gate.step()
        assert step or len(self.answers()) == before + 1

    def answers(self) -> list[tuple[str, bool, str]]:
        """Return verb, success and code of each answer."""
        return [(a["txn"][2:], a["ok"], a["code"]) for a in self.said("cmd/result")]

    def order(self) -> Order:
        """Return the next order that the scorer gets."""
        assert self.scorer.poll(LIMIT_MS)
        note = decode_note(self.scorer.recv())
        assert isinstance(note, Order)
        return note

    def acknowledgements(self) -> list[tuple[int, str]]:
        """Return what the gate acknowledged."""
        found: list[tuple[int, str]] = []
        while self.ingest.poll(50):
            note = decode_note(self.ingest.recv())
            assert isinstance(note, Acknowledged)
            found.append((note.seq, note.notice))
        return found

    def slow_disk(self, ms: int) -> None:
        """Let the next commit of results take this long."""
        write = self.gate._journal.write

        def slow_write(work: Any) -> None:
            write(work)
            if work.results:
                self.clock.advance_ms(ms)

        self.gate._journal.write = slow_write  # type: ignore[method-assign] - a slow disk

    def send_inspected(self, seq: int, **fields: Any) -> None:
        """Announce a frame and let the scorer say PASS, or what ``fields`` say."""
        note = announcement(seq, captured_ns=self.clock.ns)
        self.send(self.ingest, Announced(announcement=note))
        parts = encode_inspection(inspection(announcement=note, **fields))
        self.scorer.send_multipart([b"inspection", *parts])

    def inspect(self, seq: int, **fields: Any) -> None:
        """Send an inspected frame and wait until it is said."""
        self.send_inspected(seq, **fields)
        while not any(frame["seq"] == seq for frame in self.said("verdict")):
            self.step()

    def said(self, topic: str) -> list[dict[str, Any]]:
        """Return what was said on a topic."""
        return [json.loads(payload) for payload in self.broker.of(topic)]

    def state(self) -> str:
        """Return the line's state as the broker has it."""
        return str(self.said("status")[-1]["state"])

    def rows(self, table: str = "verdicts") -> list[dict[str, Any]]:
        """Return all rows of a table."""
        db = open_for_reading(self.path)
        rows = list(db.table(table).rows)
        db.close()
        return rows


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    monkeypatch.setattr(publisher, "BrokerSession", FakeSession)
    rig = Rig(ipc_folder, zmq_context)
    yield rig
    rig.gate._evidence.close(1.0)
    rig.gate.close()


def test_inspected_frame_is_on_disk_then_acknowledged_and_said(rig: Rig) -> None:
    """One frame, one row, one message, one part; the notice is acknowledged."""
    rig.inspect(1)

    assert rig.acknowledgements() == [(1, "announced")]
    assert [(row["seq"], row["verdict"]) for row in rig.rows()] == [(1, "PASS")]
    assert [frame["verdict"] for frame in rig.said("verdict")] == ["PASS"]
    assert [part["verdict"] for part in rig.said("part")] == ["PASS"]
    assert [line.split(b";")[1:] for line in rig.broker.of("plc")] == [[b"1", b"P1", b"1"]]


def test_frames_counted_and_never_announced_are_closed(rig: Rig) -> None:
    """What a dead ingest counted is in the ledger as camera_lost, and said as history alone."""
    rig.send(rig.ingest, Begins(camera="c1", boot=BOOT, seq=7))
    rig.step()
    rig.send(rig.ingest, Begins(camera="c1", boot=NEXT_BOOT, seq=10))
    rig.step()

    assert rig.acknowledgements() == [(7, "begins"), (10, "begins")]
    assert [(row["seq"], row["reason"]) for row in rig.rows()] == [
        (seq, "camera_lost") for seq in (8, 9, 10)
    ]
    rig.step()
    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [frame["seq"] for frame in rig.said("history")] == [8, 9, 10]
    assert [part["part"] for part in rig.said("history/part")] == [
        row["part_id"] for row in rig.rows("parts")
    ]
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
    rig.broker.confirms = False
    rig.slow_disk(DEADLINE_MS)
    rig.inspect(1)
    rig.step()
    rig.broker.lose()
    rig.broker.come_back()
    rig.step()

    for topic in ("verdict", "part", "history", "history/part"):
        assert [(m["verdict"], m["why"]) for m in rig.said(topic)] == [("NO_RESULT", "late")]
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
    before = rig.state()
    rig.clock.advance_ms(SILENCE_NS // MS + 1)
    rig.step()
    silent = rig.state()
    rig.scorer_is_up()

    assert (before, silent, rig.state()) == ("WARMING", "FAULT", "WARMING")


def test_locked_ledger_does_not_hold_the_stop(rig: Rig) -> None:
    """At the end what cannot be written is not said either; the next gate closes the row."""
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

    assert rig.said("verdict") == []
    assert [row["verdict"] for row in rig.rows()] == [None]


def test_pass_that_the_disk_held_for_long_is_never_history(rig: Rig) -> None:
    """Long past its deadline a PASS is corrected before it can be told, live or as history."""
    rig.slow_disk(3 * DEADLINE_MS)
    rig.send_inspected(1)
    while not rig.said("history"):
        rig.step()

    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [(f["verdict"], f["why"]) for f in rig.said("history")] == [("NO_RESULT", "late")]
    assert [row["reason"] for row in rig.rows()] == ["late"]


def test_message_that_is_no_result_is_given_up(rig: Rig) -> None:
    """A kept message that cannot be read ends nothing; those behind it are told."""
    with rig.gate._ledger.transaction():
        rig.gate._outbox.put("verdict", b"{}", rig.gate._moment())
    rig.gate.step()
    rig.inspect(1)
    rig.clock.advance_ms(2_000)
    rig.gate.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert rig.rows("outbox") == []


def test_outage_is_told_as_history(rig: Rig) -> None:
    """What the broker missed comes on history, in order and marked late, and never live."""
    rig.inspect(1)
    rig.broker.lose()
    for seq in (2, 3):
        rig.send_inspected(seq)
        while len(rig.rows()) < seq or rig.rows()[-1]["verdict"] is None:
            rig.step()
    rig.clock.advance_ms(10 * DEADLINE_MS)
    rig.broker.come_back()
    rig.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert [(f["seq"], f["verdict"], f["late"]) for f in rig.said("history")] == [
        (2, "PASS", True),
        (3, "PASS", True),
    ]
    assert [part["part"] for part in rig.said("history/part")] == ["P2", "P3"]
    assert len(rig.broker.of("plc")) == 1
    rig.clock.advance_ms(2_000)
    rig.step()
    assert rig.rows("outbox") == []


def test_unconfirmed_is_told_again_as_history(rig: Rig) -> None:
    """A message that left and was not confirmed before the connection ended comes again."""
    rig.broker.confirms = False
    rig.inspect(1)
    rig.broker.lose()
    rig.step()
    rig.broker.confirms = True
    rig.broker.come_back()
    rig.step()

    assert [frame["seq"] for frame in rig.said("verdict")] == [1]
    assert [frame["seq"] for frame in rig.said("history")] == [1]


def test_fail_that_the_disk_delayed_is_history(rig: Rig) -> None:
    """Past its deadline a FAIL stays one, and is not said live."""
    rig.slow_disk(DEADLINE_MS)
    rig.send_inspected(1, verdict="FAIL", score=0.9)
    while not rig.said("history"):
        rig.step()

    assert [row["verdict"] for row in rig.rows()] == ["FAIL"]
    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [frame["verdict"] for frame in rig.said("history")] == ["FAIL"]


def test_changeover_needs_the_new_window(rig: Rig) -> None:
    """After `recipe` nothing compared with the old product passes; the scorer is told."""
    rig.inspect(1)
    rig.command("recipe", recipe="lid-blue")
    rig.clock.advance_ms(1)
    rig.inspect(2)
    rig.inspect(3, recipe="lid-blue")

    assert rig.answers() == [("recipe", True, "done")]
    assert [(f["verdict"], f["why"], f["recipe"]) for f in rig.said("verdict")] == [
        ("PASS", "score", "default"),
        ("NO_RESULT", "warming", "lid-blue"),
        ("PASS", "score", "lid-blue"),
    ]
    order = rig.order()
    assert (order.verb, order.recipe) == ("recipe", "lid-blue")
    assert [row["kind"] for row in rig.rows("events")] == ["recipe"]


def test_recipe_outlives_the_gate(rig: Rig, zmq_context: Context) -> None:
    """A gate that comes back runs the recipe of the last command."""
    rig.command("recipe", recipe="lid-blue")
    rig.gate._evidence.close(1.0)
    rig.gate.close()

    again = GateLoop(rig.settings, rig.clock, zmq_context)
    rig.gate = again

    assert again._gate.recipe == "lid-blue"


def test_order_waits_for_the_scorer(rig: Rig) -> None:
    """`reset` is answered with what the scorer says; delivered again it is not done again."""
    rig.command("reset", step=True)
    rig.gate.step()
    order = rig.order()
    rig.send(rig.scorer, Ordered(order=order.order, ok=True, code="done", detail="emptied"))
    while not rig.answers():
        rig.step()
    rig.command("reset")

    assert (order.verb, order.camera) == ("reset", None)
    assert rig.answers() == [("reset", True, "done"), ("reset", True, "done")]
    assert not rig.scorer.poll(100)


def test_part_message_reaches_its_camera(rig: Rig) -> None:
    """`part` goes to the cameras that wait for it; others, and cameras that are away, refuse."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1, "part_id": "message"}
    assert rig.gate._verbs.execute(PART, rig.gate._moment()).code == "not_expected"
    rig.gate._verbs._config = config(camera=[camera])
    assert rig.gate._verbs.execute(PART, rig.gate._moment()).code == "camera_lost"
    rig.send(rig.ingest, CameraHere(camera="c1", boot=BOOT, state="ONLINE"))
    rig.step()

    assert rig.gate._verbs.execute(PART, rig.gate._moment()).ok
    rig.gate.step()
    assert rig.ingest.poll(LIMIT_MS)
    assert decode_note(rig.ingest.recv()) == PartAt(part_id="A-1")


def test_camera_that_falls_silent_is_lost(rig: Rig) -> None:
    """A camera's state is retained; silence is LOST and FAULT, and ends with its next word."""
    rig.send(rig.ingest, CameraHere(camera="c1", boot=BOOT, state="ONLINE"))
    rig.step()
    rig.clock.advance_ms(CAMERA_SILENCE_NS // MS + 1)
    rig.scorer_is_up()
    rig.step()
    lost = rig.state()
    rig.send(rig.ingest, CameraHere(camera="c1", boot=BOOT, state="ONLINE"))
    rig.step()

    assert rig.broker.of("camera/c1/status") == [b"ONLINE", b"LOST", b"ONLINE"]
    assert (lost, rig.state()) == ("FAULT", "WARMING")


def test_latched_alarm_outlives_the_gate(rig: Rig, zmq_context: Context) -> None:
    """An alarm that nobody acknowledged is there again after a restart, and can be acknowledged."""
    for seq in range(1, 6):
        rig.inspect(seq, verdict="FAIL", score=0.9)
    rig.inspect(6)
    rig.gate._evidence.close(1.0)
    rig.gate.close()

    rig.gate = GateLoop(rig.settings, rig.clock, zmq_context)
    rig.broker = rig.gate._publisher._session
    rig.gate._publisher.start(rig.gate._desk.receive)
    rig.gate.step()
    before = rig.gate._alarms.states["rejects_in_a_row"]
    rig.command("ack", alarm="rejects_in_a_row")

    assert before == "RTN_UNACK"
    assert rig.answers() == [("ack", True, "done")]
    assert rig.broker.of("alarm/rejects_in_a_row")[-1] == b"NORMAL"
    assert [row["after"] for row in rig.rows("alarms")] == ["ACTIVE_UNACK", "RTN_UNACK", "NORMAL"]
    assert rig.rows("alarms")[-1]["by"] == "anna"


def test_part_half_seen_by_a_killed_gate_has_its_verdict(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of which one view was closed when the gate died gets NO_RESULT from the next one."""
    monkeypatch.setattr(publisher, "BrokerSession", FakeSession)
    cameras = [{"id": name, "kind": "synthetic", "interval_ms": 1} for name in ("c1", "c2")]
    rig = Rig(ipc_folder, zmq_context, camera=cameras)
    rig.inspect(1)
    killed = rig.gate
    killed._ledger.close()
    for socket in (killed._sockets.notices, killed._sockets.inspections):
        socket.close(linger=0)
    killed._sockets.scorers.monitor.close(linger=0)

    rig.gate = GateLoop(rig.settings, rig.clock, zmq_context)
    assert rig.gate._begin()

    assert [(p["part_id"], p["verdict"], p["reason"]) for p in rig.rows("parts")] == [
        ("P1", "NO_RESULT", "missing_view")
    ]
    assert [row["part_owed"] for row in rig.rows()] == [0]
    for gate in (rig.gate, killed):
        gate._evidence.close(1.0)
    rig.gate.close()


def test_capture_in_the_future_counts_from_now(rig: Rig) -> None:
    """A clock of another host cannot keep a frame open: its deadline counts from its arrival."""
    far = announcement(1, captured_ns=rig.clock.ns + 10**15)
    rig.send(rig.ingest, Announced(announcement=far))
    rig.step()
    rig.clock.advance_ms(DEADLINE_MS + 1)
    rig.scorer_is_up()
    rig.gate.step()

    assert [row["verdict"] for row in rig.rows()] == ["NO_RESULT"]


def test_stranger_is_refused_and_counted(rig: Rig) -> None:
    """A camera that is not of this line gets no row; a thousand of its notices are a few events."""
    for seq in range(1, 1_001):
        rig.send(rig.ingest, Announced(announcement=announcement(seq, camera="other")))
    while rig.ingest.poll(0) or rig.gate._sockets.notices.poll(50):
        rig.gate.step()

    assert rig.rows() == []
    kinds = [row["kind"] for row in rig.rows("events")]
    assert 0 < kinds.count("message_refused") <= 20


def test_results_from_before_a_reboot_are_history(rig: Rig, zmq_context: Context) -> None:
    """After the host has restarted its clock lies behind the rows; nothing of them is said live."""
    rig.send(rig.ingest, Announced(announcement=announcement(1, captured_ns=rig.clock.ns)))
    rig.step()
    rig.gate._ledger.db.execute("update verdicts set captured_ns = captured_ns + 1000000000000")
    rig.gate._evidence.close(1.0)
    rig.gate.close()

    rig.gate = GateLoop(rig.settings, rig.clock, zmq_context)
    rig.broker = rig.gate._publisher._session
    assert rig.gate._begin()
    rig.gate.step()

    assert [row["reason"] for row in rig.rows()] == ["gate_restart"]
    assert rig.said("verdict") == rig.said("part") == rig.broker.of("plc") == []
    assert [frame["seq"] for frame in rig.said("history")] == [1]


def test_folder_that_is_gone_ends_nothing(rig: Rig) -> None:
    """Without its evidence folder the gate does not know the free space, and goes on."""
    (rig.path.parent / "evidence").rmdir()
    rig.clock.advance_ms(60_000)
    rig.step()

    assert rig.gate._free_bytes is None


def test_full_disk_is_fault_until_it_can_be_written(rig: Rig) -> None:
    """What cannot be written is not said: FAULT, then the end, and the next gate goes on."""
    pages = rig.gate._ledger.db.execute("pragma page_count").fetchone()[0]
    rig.gate._ledger.db.execute(f"pragma max_page_count = {pages}")
    for seq in range(1, 200):
        rig.send(rig.ingest, Announced(announcement=announcement(seq, captured_ns=rig.clock.ns)))
    looks: list[str] = []

    def stop() -> bool:
        looks.append(rig.state())
        if looks.count("FAULT") == 3:
            rig.gate._ledger.db.execute("pragma max_page_count = 1000000")
        return len(looks) > 500

    with pytest.raises(LedgerError, match="full"):
        rig.gate.run(stop)

    assert looks[-1] == "FAULT"
    assert rig.said("verdict") == []
    assert [row["kind"] for row in rig.rows("events")][-1] == "ledger_failed"


def test_start_waits_for_another_writer(rig: Rig) -> None:
    """A ledger that is locked when the gate starts only delays it."""
    other = sqlite3.connect(rig.path, isolation_level=None)
    other.execute("begin immediate")
    during = rig.gate._begin()
    other.execute("rollback")
    other.close()

    assert (during, rig.gate._begin()) == (False, True)


def test_late_view_after_a_restart_makes_no_second_part(
    ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view that was missing when its part closed is recognised by the next gate, too."""
    monkeypatch.setattr(publisher, "BrokerSession", FakeSession)
    cameras = [{"id": name, "kind": "synthetic", "interval_ms": 1} for name in ("c1", "c2")]
    rig = Rig(ipc_folder, zmq_context, camera=cameras)
    rig.inspect(1)
    rig.clock.advance_ms(DEADLINE_MS + 1)
    rig.scorer_is_up()
    rig.gate.step()
    rig.gate._evidence.close(1.0)
    rig.gate.close()

    rig.gate = GateLoop(rig.settings, rig.clock, zmq_context)
    rig.broker = rig.gate._publisher._session
    assert rig.gate._begin()
    late = announcement(1, camera="c2", captured_ns=rig.clock.ns)
    rig.send(rig.ingest, Announced(announcement=late))
    while len(rig.rows()) < 2:
        rig.step()
    rig.clock.advance_ms(2 * DEADLINE_MS)
    rig.gate.step()

    assert [part["reason"] for part in rig.rows("parts")] == ["missing_view"]
    rig.gate._evidence.close(1.0)
    rig.gate.close()
