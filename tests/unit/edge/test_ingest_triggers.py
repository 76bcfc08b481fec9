"""Triggers at ingest: each has one result, with or without a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ingest_rig import BOOT, MS, START_NS, Rig, good, only

from edge.camera import CameraChecks
from edge.sources import CameraEvent
from edge.wire import Announced, CameraHere, Happened, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.wire import Note

MakeRig: TypeAlias = "Callable[..., Rig]"


def lost(notes: list[Note]) -> list[tuple[int, str, str]]:
    """Return number, part id and reason of the lost frames."""
    return [
        (note.announcement.seq, note.announcement.part_id, note.why) for note in only(Lost, notes)
    ]


def announced(notes: list[Note]) -> list[tuple[int, str]]:
    """Return number and part id of the announced frames."""
    return [(note.announcement.seq, note.announcement.part_id) for note in only(Announced, notes)]


def test_gap_of_the_counter_is_a_missed_trigger_each(rig: MakeRig) -> None:
    """Pictures 7 and 10 with nothing between are two parts without a result, in their order."""
    line = rig(good(counter=7), good(1, counter=10), part_policy="counter")
    line.source.counts_triggers = True

    line.steps(2)
    notes = line.gate.notes()

    assert announced(notes) == [(1, "c1-00000001"), (4, "c1-00000004")]
    assert lost(notes) == [
        (2, "c1-00000002", "missed_trigger"),
        (3, "c1-00000003", "missed_trigger"),
    ]


def test_told_part_is_not_missed_twice(rig: MakeRig) -> None:
    """A trigger that the camera counted and the plant told is one part, not two."""
    line = rig(good(counter=7), None, good(1, counter=9), part_policy="message")
    line.source.counts_triggers = True
    for part_id in "ABC":
        line.tell_part(part_id)
        line.ingest.step()
        line.clock.advance_ms(100)

    notes = line.gate.notes()

    assert announced(notes) == [(1, "A"), (3, "C")]
    assert lost(notes) == [(2, "B", "missed_trigger")]


def test_late_picture_bears_its_own_part(rig: MakeRig) -> None:
    """A picture that was taken before the next part was told is of the part before it."""
    line = rig(None, None, good(arrived_ns=START_NS + 150 * MS), good(1), part_policy="message")
    line.tell_part("A")
    line.ingest.step()
    line.clock.advance_ms(300)
    line.tell_part("B")
    line.ingest.step()

    line.steps(2)

    assert announced(line.gate.notes()) == [(1, "A"), (2, "B")]


def test_software_trigger_asks_the_camera(rig: MakeRig) -> None:
    """With told_is_trigger each told part triggers the camera once, however often it is told."""
    line = rig(None, part_policy="message", told_is_trigger=True)
    for part_id in ("A", "A", "B"):
        line.tell_part(part_id)
        line.ingest.step()

    assert line.source.triggers == 2, "a part that is told twice is one part"


def test_recording_waits_for_the_trigger(rig: MakeRig) -> None:
    """A recording gives one picture for each told part, and none without."""
    line = rig(*map(good, range(5)), part_policy="message", told_is_trigger=True)
    line.steps(3)
    before = line.source.reads

    for part_id in ("A", "B"):
        line.tell_part(part_id)
        line.steps(2)

    assert before == 0
    assert announced(line.gate.notes()) == [(1, "A"), (2, "B")]
    assert line.source.reads == 2


def test_old_picture_is_not_of_a_new_trigger(rig: MakeRig) -> None:
    """A picture from before the telling is judged under its own number, never as that part."""
    line = rig(
        good(arrived_ns=1), good(1), part_policy="message", told_is_trigger=True, part_wait_ms=500
    )
    line.tell_part("A")

    line.steps(2)

    assert announced(line.gate.notes()) == [(1, "c1-00000001"), (2, "A")]


def test_part_of_a_lost_camera_has_a_result_at_once(rig: MakeRig) -> None:
    """A part that is told while the camera is away is no result `camera_lost`, under its id."""
    line = rig(part_policy="message")
    line.source.now = "LOST"
    line.tell_part("A-17")

    line.ingest.step()

    assert lost(line.gate.notes()) == [(1, "A-17", "camera_lost")]


def test_stale_pictures_are_no_result(rig: MakeRig) -> None:
    """A camera that repeats its picture has results `stale`, and its state says so at once."""
    line = rig(*[good(7)] * 4, checks=CameraChecks(stale_frames=3))

    line.steps(4)
    notes = line.gate.all_notes()

    assert [why for _, _, why in lost(notes)] == ["stale", "stale"]
    assert len(announced(notes)) == 2
    assert only(CameraHere, notes)[-1].state == "STALE"


def test_events_are_told_until_acknowledged(rig: MakeRig) -> None:
    """What happens to the camera is told again until the gate has it on disk."""
    line = rig(None, None, None)
    line.source.events = [CameraEvent("camera_lost", {"why": "pulled out"})]
    line.clock.advance_ms(200)
    line.ingest.step()
    first = only(Happened, line.gate.all_notes())

    line.clock.advance_ms(500)
    line.ingest.step()
    again = only(Happened, line.gate.all_notes())
    line.acknowledge(1, "happened")
    line.clock.advance_ms(1000)
    line.ingest.step()

    assert [(note.event, note.detail) for note in first] == [("camera_lost", {"why": "pulled out"})]
    assert again == first
    assert only(Happened, line.gate.all_notes()) == []


def test_counts_travel_with_the_presence(rig: MakeRig) -> None:
    """The gate hears what the camera has counted, and what became of its frames."""
    line = rig(good(), good(1, pixels=None, fault="underrun"), part_policy="counter")
    line.steps(2)
    line.gate.all_notes()

    line.clock.advance_ms(200)
    line.ingest.step()
    (here,) = only(CameraHere, line.gate.all_notes())

    assert (here.boot, here.counts.frames, here.counts.corrupt) == (BOOT, 2, 1)


def test_stop_accounts_for_parts_that_wait(rig: MakeRig) -> None:
    """A triggered picture that waits when the line stops is a frame, given up with the reason."""
    line = rig(good(), good(1), *[None] * 100, part_policy="counter")
    line.ingest._intake.camera.every_picture_counts = True
    line.clock.tick_ms = 20

    line.ingest.run(lambda: True)

    assert sorted(set(lost(line.gate.notes()))) == [
        (1, "c1-00000001", "dropped"),
        (2, "c1-00000002", "dropped"),
    ]


def test_triggered_pictures_are_taken_as_they_come(rig: MakeRig) -> None:
    """An interval holds a camera back that runs freely, and never a part that was triggered."""
    line = rig(good(), good(1), part_policy="counter", interval_ms=1000)
    line.ingest._intake.camera.every_picture_counts = True

    line.steps(2)

    assert len(announced(line.gate.notes())) == 2


def test_source_lets_go_of_what_is_on_disk(rig: MakeRig) -> None:
    """A picture is let go of when the gate has acknowledged it, and not before those before it."""
    line = rig(*map(good, range(3)), None)
    line.steps(3)
    before = line.source.let_go_of

    line.acknowledge(2)
    line.ingest.step()
    out_of_order = line.source.let_go_of
    line.acknowledge(1)
    line.ingest.step()

    assert (before, out_of_order, line.source.let_go_of) == (0, 0, 2)
