"""Ingest: every trigger is counted, announced until acknowledged, and sent only on credit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from ingest_rig import BOOT, LIMIT_MS, Rig, good, only

from edge.counter import read_count
from edge.ingest import PRESENCE_NS, UNACKNOWLEDGED_LIMIT
from edge.notices import RESEND_NS
from edge.sources import Capture
from edge.wire import Announced, Hello, Lost, decode_note

if TYPE_CHECKING:
    from collections.abc import Callable


RESEND_MS = RESEND_NS // 1_000_000
MakeRig: TypeAlias = "Callable[..., Rig]"


def test_number_is_on_disk_first(rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an announcement leaves its number is already in the durable counter."""
    line = rig(good(), good(), good())
    on_disk: list[tuple[int, int]] = []

    def look(_socket: Any, parts: list[Any]) -> bool:
        note = decode_note(parts[0])
        if isinstance(note, Announced):
            on_disk.append((note.announcement.seq, read_count(line.counter_path)))
        return True

    monkeypatch.setattr("edge.notices.try_send", look)
    line.steps(3)

    assert on_disk == [(1, 1), (2, 2), (3, 3)]


def test_full_disk_announces_nothing(rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that cannot be written is not used: nothing leaves for the gate."""
    line = rig(good())

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        line.ingest.step()
    assert line.gate.notes() == []


def test_announcement_says_what_is_known(rig: MakeRig) -> None:
    """An announcement has camera, boot, number, part, both times and the origin."""
    line = rig(good(part_id="A-17"), good(3))

    line.steps(2)
    first, second = (note.announcement for note in only(Announced, line.gate.notes()))

    assert (first.camera, first.boot, first.seq) == ("c1", BOOT, 1)
    assert (first.part_id, second.part_id) == ("A-17", "c1-00000002")
    assert first.captured_at == line.clock.now()
    assert first.captured_ns == line.clock.ns
    assert second.origin == "3.png"


def test_resent_until_acknowledged(rig: MakeRig) -> None:
    """An announcement is repeated, unchanged, every half second until acknowledged."""
    line = rig(good())
    line.ingest.step()
    first = line.gate.notes()
    line.clock.advance_ms(RESEND_MS - 1)
    line.ingest.step()
    too_early = line.gate.notes()

    line.clock.advance_ms(1)
    line.ingest.step()
    again = line.gate.notes()
    line.acknowledge(1)
    line.ingest.step()
    line.clock.advance_ms(10 * RESEND_MS)
    line.steps(3)

    assert len(first) == 1
    assert too_early == []
    assert again == first
    assert line.gate.notes() == []


@pytest.mark.parametrize(
    ("seq", "notice", "boot"),
    [(2, "announced", BOOT), (1, "lost", BOOT), (1, "announced", "f" * 16)],
)
def test_only_its_own_acknowledgement_counts(
    rig: MakeRig, seq: int, notice: str, boot: str
) -> None:
    """An acknowledgement of another frame, notice or boot does not stop the resending."""
    line = rig(good())
    line.ingest.step()
    first = line.gate.notes()

    line.acknowledge(seq, notice, boot)
    line.clock.advance_ms(RESEND_MS)
    line.ingest.step()

    assert line.gate.notes() == first


def test_gate_that_comes_late_hears_all(rig: MakeRig) -> None:
    """What was announced while no gate was there reaches the gate that comes, in order."""
    line = rig(good(), good(), connected=False)
    line.steps(2)

    line.gate.appear()
    line.scorer.appear()
    line.wait_for_peers()
    line.clock.advance_ms(RESEND_MS)
    line.ingest.step()

    assert [note.announcement.seq for note in only(Announced, line.gate.notes())] == [1, 2]


def test_no_frame_without_credit(rig: MakeRig) -> None:
    """Frames beyond the credit window wait; each settled frame lets one more leave."""
    line = rig(*map(good, range(5)))
    line.meet_scorer()
    line.steps(5)
    before = line.scorer.frames()

    line.grant(settled=0, window=2)
    line.steps(3)
    granted = line.scorer.frames()
    line.grant(settled=1, window=2)
    line.steps(3)
    later = line.scorer.frames()

    assert before == []
    assert [frame.announcement.seq for frame in granted] == [1, 2]
    assert [frame.announcement.seq for frame in later] == [3]
    assert [int(frame.pixels[0, 0]) for frame in granted + later] == [0, 1, 2]


@pytest.mark.parametrize("boot", ["f" * 16])
def test_credit_of_another_boot_is_nothing(rig: MakeRig, boot: str) -> None:
    """Credit that was meant for an earlier start of this camera lets nothing leave."""
    line = rig(good())
    line.meet_scorer()

    line.grant(settled=0, window=8, boot=boot)
    line.steps(2)

    assert line.scorer.frames() == []


def test_wait_reads_only_on_credit(rig: MakeRig) -> None:
    """With policy wait the source is not read before the scorer wants a frame."""
    line = rig(*map(good, range(5)), policy="wait")
    line.meet_scorer()
    line.steps(3)
    without = line.source.reads

    line.grant(settled=0, window=2)
    line.steps(5)
    with_two = line.source.reads
    line.grant(settled=2, window=2)
    line.steps(5)

    assert (without, with_two, line.source.reads) == (0, 2, 4)


def test_wait_holds_back_for_a_slow_gate(rig: MakeRig) -> None:
    """With policy wait a gate that acknowledges nothing stops the camera, too."""
    line = rig(*map(good, range(100)), policy="wait")
    line.meet_scorer()
    line.grant(settled=0, window=1024)

    line.steps(90)
    held = line.source.reads
    line.acknowledge(1)
    line.steps(5)

    assert held == UNACKNOWLEDGED_LIMIT
    assert line.source.reads == held + 1


def test_drop_oldest_says_so(rig: MakeRig) -> None:
    """With policy drop_oldest a full queue loses its oldest frame, and the gate hears why."""
    line = rig(*map(good, range(4)), queue_frames=2)
    line.meet_scorer()

    line.steps(4)
    lost = only(Lost, line.gate.notes())
    line.grant(settled=0, window=8)
    line.ingest.step()

    assert [(note.announcement.seq, note.why) for note in lost] == [(1, "dropped"), (2, "dropped")]
    assert lost[0].detail == "queue of 2 frames full, oldest dropped"
    assert [frame.announcement.seq for frame in line.scorer.frames()] == [3, 4]


def test_lost_notice_is_resent(rig: MakeRig) -> None:
    """A loss is repeated until the gate acknowledges it, as an announcement is."""
    line = rig(Capture(None, fault="0.png: cut short"))
    line.ingest.step()
    first = line.gate.notes()
    line.clock.advance_ms(RESEND_MS)
    line.ingest.step()
    again = line.gate.notes()

    line.acknowledge(1, "lost")
    line.clock.advance_ms(RESEND_MS)
    line.ingest.step()

    assert len(first) == 1
    assert again == first
    assert line.gate.notes() == []


CORRUPT = {
    "unreadable": (Capture(None, origin="9.png", fault="9.png: cut short"), "9.png: cut short"),
    "nothing": (Capture(None), "no pixels"),
    "colour as mono": (
        good(9, pixels=np.zeros((2, 2, 3), np.uint8)),
        "9.png: shape (2, 2, 3), mono has (height, width)",
    ),
    "flat": (good(9, pixels=np.zeros(4, np.uint8)), "9.png: shape (4,), mono has (height, width)"),
    "deep": (good(9, bit_depth=17), "9.png: 17 bits a value, the limits are 1 and 16"),
    "part id": (
        good(9, part_id="A;2"),
        "9.png: part id 'A;2' is not 1 to 48 visible ASCII characters without ; "
        "and quotes or backslashes",
    ),
    "endless": (Capture(None, fault="x" * 600), "x" * 512),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_captures_do_not_stop_the_line(rig: MakeRig, name: str) -> None:
    """What cannot be inspected is lost as corrupt, with file and reason; the line goes on."""
    capture, detail = CORRUPT[name]
    line = rig(good(0), capture, good(2))
    line.meet_scorer()
    line.grant(settled=0, window=8)

    line.steps(3)
    notes = line.gate.notes()

    (lost,) = only(Lost, notes)
    assert (lost.announcement.seq, lost.why, lost.detail) == (2, "corrupt", detail)
    assert lost.announcement.part_id == "c1-00000002"
    assert [note.announcement.seq for note in only(Announced, notes)] == [1, 3]
    assert [int(frame.pixels[0, 0]) for frame in line.scorer.frames()] == [0, 2]


def test_rubbish_from_peers_is_ignored(rig: MakeRig, caplog: pytest.LogCaptureFixture) -> None:
    """A message that is no note is logged, and the line goes on."""
    line = rig(good())
    line.meet_scorer()
    line.scorer.send_bytes(b"rubbish")
    line.ingest._scorer.poll(LIMIT_MS)

    line.ingest.step()

    assert "ingest ignored a message: not a note" in caplog.text
    assert len(line.gate.notes()) == 1


def test_no_trigger_no_number(rig: MakeRig) -> None:
    """A source that has nothing at the moment uses no number."""
    line = rig(None, None, good())

    line.steps(3)

    assert [note.announcement.seq for note in only(Announced, line.gate.notes())] == [1]
    assert read_count(line.counter_path) == 1


def test_interval_is_kept(rig: MakeRig) -> None:
    """Between two captures lies at least the interval of the camera."""
    line = rig(*map(good, range(3)), interval_ms=100)
    reads = []

    for _ in range(5):
        line.ingest.step()
        reads.append(line.source.reads)
        line.clock.advance_ms(50)

    assert reads == [1, 1, 2, 2, 3]


def test_greets_with_its_count(rig: MakeRig) -> None:
    """The scorer is greeted five times a second, behind the frames that the greeting counts."""
    line = rig(good(), good())
    line.meet_scorer()
    line.grant(settled=0, window=8)
    line.steps(2)
    line.scorer.take()

    line.clock.advance_ms(PRESENCE_NS // 1_000_000 - 1)
    line.ingest.step()
    early = line.scorer.take()
    line.clock.advance_ms(1)
    line.ingest.step()

    assert early == []
    assert [decode_note(parts[0]) for parts in line.scorer.take()] == [
        Hello(camera="c1", boot=BOOT, sent=2)
    ]


def test_restarted_scorer_gets_frames(rig: MakeRig) -> None:
    """A scorer that died with frames frees them by its successor's total, and frames flow again."""
    line = rig(*map(good, range(6)))
    line.meet_scorer()
    line.grant(settled=0, window=2)
    line.steps(4)
    died_with = line.scorer.frames()
    line.scorer.vanish()

    line.scorer.appear()
    line.wait_for_peers()
    line.meet_scorer()
    line.grant(settled=2, window=2)
    line.steps(2)

    assert [frame.announcement.seq for frame in died_with] == [1, 2]
    assert [frame.announcement.seq for frame in line.scorer.frames()] == [3, 4]


def test_old_credit_does_not_count_back(rig: MakeRig) -> None:
    """Credit that arrives late and knows less than we do takes nothing back."""
    line = rig(*map(good, range(6)))
    line.meet_scorer()
    line.grant(settled=0, window=2)
    line.steps(2)
    line.grant(settled=2, window=2)
    line.grant(settled=1, window=2)
    line.ingest._scorer.poll(LIMIT_MS)

    line.steps(4)

    assert len(line.scorer.frames()) == 4
