"""The gate process: on disk, then acknowledged and said; what is wrong is refused and survived."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from factories import BOOT, MS, announcement
from gate_rig import DEADLINE_MS, NEXT_BOOT, Rig, running_gate

from edge.sockets import Context
from edge.wire import (
    Announced,
    Begins,
    CameraHere,
)
from pipeline.camera_watch import SILENCE_NS as CAMERA_SILENCE_NS
from pipeline.gate_intake import SILENCE_NS
from pipeline.ledger import LedgerError
from pipeline.recovery import GAP_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(ipc_folder: Path, zmq_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a running gate."""
    with running_gate(ipc_folder, zmq_context, monkeypatch) as rig:
        yield rig


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
    for begins in (
        Begins(camera="c1", boot=BOOT, seq=0),
        Begins(camera="c1", boot=NEXT_BOOT, seq=2),
    ):
        rig.send(rig.ingest, begins)
        rig.step()

    note = announcement(2, captured_ns=rig.clock.ns)
    rig.send(rig.ingest, Announced(announcement=note))
    rig.step()

    assert (2, "announced") in rig.acknowledgements()
    assert [row["seq"] for row in rig.rows()] == [1, 2]


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
    rig.send(rig.ingest, Begins(camera="c1", boot=BOOT, seq=0))
    rig.step()
    while not (acknowledged := rig.acknowledgements()):
        rig.step()

    assert acknowledged == [(0, "begins")], "a stranger is told nothing"
    assert rig.rows() == []
    kinds = [row["kind"] for row in rig.rows("events")]
    assert 0 < kinds.count("message_refused") <= 20


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
