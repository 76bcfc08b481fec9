"""Told parts at ingest: the next frame's name, or a result of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
import zmq
from ingest_rig import BOOT, LIMIT_MS, Rig, good, only

from edge.counter import read_count
from edge.sockets import Context, Socket, connect_dealer
from edge.wire import Announced, CameraHere, CameraLeft, Lost, PartAt, encode_note

if TYPE_CHECKING:
    from collections.abc import Callable

MakeRig: TypeAlias = "Callable[..., Rig]"


class Program:
    """A program of the plant that tells parts on the camera's own endpoint."""

    def __init__(self, context: Context, line: Rig) -> None:
        """Connect to the camera."""
        self._socket = connect_dealer(context, line.part_endpoint, "plc")
        self._parts: Socket | None = line.ingest._intake.parts

    def tell(self, body: bytes) -> None:
        """Send a message, and wait until it has arrived."""
        assert self._parts is not None
        assert self._socket.poll(LIMIT_MS, zmq.POLLOUT), "nobody listens"
        self._socket.send(body)
        assert self._parts.poll(LIMIT_MS), "nothing arrived"


def named(line: Rig) -> list[tuple[int, str]]:
    """Return number and part id of the announcements that have arrived."""
    notes = only(Announced, line.gate.notes())
    return [(note.announcement.seq, note.announcement.part_id) for note in notes]


def missed(line: Rig) -> list[tuple[int, str, str]]:
    """Return number, part id and detail of the missed triggers that have arrived."""
    notes = only(Lost, line.gate.notes())
    assert {note.why for note in notes} <= {"missed_trigger"}
    return [(n.announcement.seq, n.announcement.part_id, n.detail) for n in notes]


def test_told_part_is_the_next_frame(rig: MakeRig) -> None:
    """The gate's told part names the next frame; the frame after it is counted."""
    line = rig(good(part_id="file"), good(part_id="file"), part_policy="message")
    line.tell_part("A-17")

    line.steps(2)

    assert named(line) == [(1, "A-17"), (2, "c1-00000002")]


def test_any_program_may_tell(rig: MakeRig, zmq_context: Context) -> None:
    """A program on the part endpoint tells parts as the gate does."""
    line = rig(good(), part_policy="message")
    program = Program(zmq_context, line)
    program.tell(encode_note(PartAt(part_id="A-18")))

    line.steps(1)

    assert named(line) == [(1, "A-18")]


@pytest.mark.parametrize("body", [b"", b"A-18", b'{"kind":"part_at","part_id":"a;b"}', b"x" * 9000])
def test_rubbish_is_no_part(
    rig: MakeRig, zmq_context: Context, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    """What is no told part is logged and names nothing."""
    line = rig(good(), part_policy="message")
    Program(zmq_context, line).tell(body)

    line.steps(1)

    assert named(line) == [(1, "c1-00000001")]
    assert "ingest ignored a message: not a note" in caplog.text


def test_acknowledgement_counts_from_the_gate_alone(rig: MakeRig, zmq_context: Context) -> None:
    """A program on the part endpoint cannot make ingest forget a notice."""
    line = rig(good(), part_policy="message")
    program = Program(zmq_context, line)
    line.steps(1)

    ack = f'{{"kind":"acknowledged","boot":"{BOOT}","seq":1,"notice":"announced"}}'
    program.tell(ack.encode())
    line.steps(1)

    assert len(line.ingest._notices) == 1


def test_replaced_part_was_missed(rig: MakeRig) -> None:
    """A part told while another waits makes that one a result of its own, numbered before it."""
    line = rig(good(), part_policy="message")
    line.tell_part("A")
    line.ingest._take_notes()
    told_ns = line.clock.ns
    line.clock.advance_ms(10)
    line.tell_part("B")

    line.steps(1)
    notes = line.gate.notes()

    (lost,) = only(Lost, notes)
    assert (lost.why, lost.detail) == (
        "missed_trigger",
        "a later picture came, and none that is certainly of this part",
    )
    assert (lost.announcement.seq, lost.announcement.part_id) == (1, "A")
    assert lost.announcement.captured_ns == told_ns
    assert [note.announcement.part_id for note in only(Announced, notes)] == ["B"]
    assert read_count(line.counter_path) == 2


def test_part_without_a_picture_is_missed(rig: MakeRig) -> None:
    """A picture that does not come in time makes its part missed; a later one is counted."""
    line = rig(None, None, good(), part_policy="message", part_wait_ms=300)
    line.tell_part("A")
    line.ingest.step()

    line.clock.advance_ms(299)
    line.ingest.step()
    early = missed(line)
    line.clock.advance_ms(1)
    line.ingest.step()
    notes = line.gate.notes()

    assert early == []
    assert [n.detail for n in only(Lost, notes)] == ["no picture within 300 ms"]
    assert [n.announcement.part_id for n in only(Announced, notes)] == ["c1-00000002"]


@pytest.mark.parametrize("stopped", [True, False])
def test_run_ends_with_a_missed_part(rig: MakeRig, *, stopped: bool) -> None:
    """A part that waits when the line is stopped, or the source ends, is missed; then we leave."""
    line = rig(part_policy="message", drain_s=0.0)
    line.clock.tick_ms = 20
    line.tell_part("A")

    line.ingest.run(lambda: stopped)
    notes = line.gate.all_notes()

    details = {note.announcement.part_id: note.detail for note in only(Lost, notes)}
    assert details == {"A": "the run ended before a picture came"}
    assert notes[-1] == CameraLeft(camera="c1", boot=BOOT)


def test_corrupt_picture_bears_the_told_part(rig: MakeRig) -> None:
    """A capture without usable pixels uses up the told part as any other does."""
    line = rig(good(bit_depth=17), part_policy="message")
    line.tell_part("A")

    line.steps(1)

    (lost,) = only(Lost, line.gate.notes())
    assert (lost.why, lost.announcement.part_id) == ("corrupt", "A")


@pytest.mark.parametrize("policy", ["source", "counter"])
def test_told_part_without_the_policy_is_ignored(
    rig: MakeRig, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """Where parts do not come by message a told one is logged and changes nothing."""
    line = rig(good(), part_policy=policy)
    line.tell_part("A")

    line.steps(1)

    assert named(line) == [(1, "c1-00000001")]
    assert line.ingest._intake.parts is None
    assert "camera c1: told part A ignored" in caplog.text


def test_counter_names_every_frame(rig: MakeRig) -> None:
    """Under ``counter`` the source's own names, even bad ones, are of no account."""
    line = rig(good(part_id="lid_07"), good(part_id="A;2"), part_policy="counter")

    line.steps(2)

    assert named(line) == [(1, "c1-00000001"), (2, "c1-00000002")]


def test_presence_says_how_the_camera_is(rig: MakeRig) -> None:
    """Five times a second the gate hears that the camera is here; a change it hears at once."""
    line = rig(None, None, None, None, None)
    line.steps(2)
    first = only(CameraHere, line.gate.all_notes())

    line.clock.advance_ms(199)
    line.ingest.step()
    early = line.gate.all_notes()
    line.source.now = "NO_TRIGGER"
    line.ingest.step()
    changed = only(CameraHere, line.gate.all_notes())
    line.clock.advance_ms(200)
    line.ingest.step()

    assert [note.state for note in first] == ["ONLINE"]
    assert early == []
    assert [note.state for note in changed] == ["NO_TRIGGER"]
    assert line.gate.all_notes() == [CameraHere(camera="c1", boot=BOOT, state="NO_TRIGGER")]
