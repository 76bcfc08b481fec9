"""A recording is read in the scorer's order; what is wrong with it is named, the rest is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import recordings as made
from factories import BOOT, announcement, frame

from edge.recording import RecordedFrame, Recording
from edge.recording_files import PROBLEM_MEANINGS
from edge.recording_lines import Ended, NotRecorded, OrderDone, ScorerSaid
from edge.wire import Announced, Begins, Lost

if TYPE_CHECKING:
    from edge.recording import Step


def order_of(steps: list[Step]) -> list[int | str]:
    """Return frames by number and the rest by kind."""
    return [step.key.seq if isinstance(step, RecordedFrame) else step.kind for step in steps]


def test_order_of_inspection_is_kept(tmp_path: Path) -> None:
    """Frames come where they were inspected, others where they were closed, orders between."""
    recording = Recording(made.whole(tmp_path))

    steps = list(recording.steps())

    assert order_of(steps) == ["gate", "scorer", 1, 3, 2, "order", 4]
    assert recording.problems == []


def test_frame_comes_with_all_that_is_known(tmp_path: Path) -> None:
    """A step of a frame has announcement, inspection and result, whatever came first."""
    recording = Recording(made.whole(tmp_path))

    by_seq = {step.key.seq: step for step in recording.steps() if isinstance(step, RecordedFrame)}

    assert by_seq[2].announcement == announcement(2)
    assert by_seq[2].inspected == made.inspected(2)
    assert by_seq[2].result == made.result(2)
    assert by_seq[3].inspected is None
    assert by_seq[3].lost is not None
    assert by_seq[3].result is not None
    assert by_seq[3].result.why == "dropped"
    assert np.array_equal(by_seq[3].load().pixels, frame(3).pixels)


def test_frame_closed_as_late_stands_where_it_was_inspected(tmp_path: Path) -> None:
    """A deadline that passed before the inspection does not move it."""
    made.begin(tmp_path)
    made.camera(tmp_path, 1, 2)
    late = made.result(1, verdict="NO_RESULT", why="late", scored=False)
    made.line(tmp_path, late, made.inspected(2), made.result(2), made.inspected(1))

    steps = list(Recording(tmp_path).steps())

    assert order_of(steps) == ["gate", "scorer", 2, 1]


def test_without_a_line_cameras_come_one_after_the_other(tmp_path: Path) -> None:
    """Where no gate wrote, the frames of each camera come by their number."""
    made.begin(tmp_path, "c1", "c2")
    made.camera(tmp_path, 1, 2, name="c2")
    made.camera(tmp_path, 8, 9)

    recording = Recording(tmp_path)

    keys = [(s.key.camera, s.key.seq) for s in recording.steps() if isinstance(s, RecordedFrame)]
    assert keys == [("c1", 8), ("c1", 9), ("c2", 1), ("c2", 2)]
    assert recording.problems == []


def test_repeated_order_was_done_once_by_each_scorer(tmp_path: Path) -> None:
    """An order that is answered again is no second one, unless another scorer came between."""
    made.begin(tmp_path)
    made.line(
        tmp_path, made.order(), made.order(), made.scorer("6" * 16), made.order(), made.order()
    )

    steps = list(Recording(tmp_path).steps())

    kinds = [type(step) for step in steps[1:]]
    assert kinds == [ScorerSaid, OrderDone, ScorerSaid, OrderDone]


def test_results_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    """What the gate closed of frames from before the recording is no part of it."""
    made.begin(tmp_path)
    made.camera(tmp_path, 8)
    made.line(tmp_path, made.result(7), made.inspected(8), made.result(8))

    recording = Recording(tmp_path)

    assert order_of(list(recording.steps())) == ["gate", "scorer", 8]
    assert recording.problems == []


def test_unknown_and_missing_folders_are_named(tmp_path: Path) -> None:
    """A folder of no camera is not read, a camera without an index is named."""
    made.begin(tmp_path, "c1", "c2")
    made.camera(tmp_path, 1)
    made.camera(tmp_path, 1, name="c9")

    recording = Recording(tmp_path)

    assert [(p.kind, p.where) for p in recording.problems] == [
        ("missing_camera", "c2/index.jsonl"), ("unknown_folder", "c9"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="c9"):
        recording.frames("c9")


def test_gap_in_the_numbers_is_named(tmp_path: Path) -> None:
    """Numbers that were counted and have no line are told, at the end of a boot, too."""
    made.begin(tmp_path)
    made.camera(tmp_path, 3, 4, 7)
    made.write(tmp_path / "c1" / "index.jsonl", Begins(camera="c1", boot="b" * 16, seq=9))

    found = Recording(tmp_path).problems

    assert [(p.kind, p.where, p.count) for p in found] == [
        ("gap", "c1: 5 to 6", 2), ("gap", "c1: 8 to 9", 2),
    ]  # fmt: skip


def test_what_was_not_recorded_is_named(tmp_path: Path) -> None:
    """A frame left out and a recording that ended are problems with their reasons."""
    made.begin(tmp_path)
    made.write(
        tmp_path / "c1" / "index.jsonl",
        Announced(announcement=announcement(1)),
        NotRecorded(camera="c1", boot=BOOT, seq=1, why="queue_full"),
        Ended(at=made.START, why="disk_low", detail="9 bytes are free"),
    )

    found = Recording(tmp_path).problems

    assert [(p.kind, p.where) for p in found] == [
        ("not_recorded", f"c1/{BOOT}/1"), ("ended", "c1/index.jsonl"), ("no_pixels", "c1: from 1"),
    ]  # fmt: skip
    assert "queue_full" in found[0].detail
    assert "9 bytes are free" in found[1].detail


def test_said_twice_is_named(tmp_path: Path) -> None:
    """Of two lines about the same thing the first is used."""
    made.begin(tmp_path)
    made.camera(tmp_path, 1)
    made.line(tmp_path, made.inspected(1), made.inspected(1, score=9.0), made.result(1))
    made.write(tmp_path / "c1" / "index.jsonl", frame(1))

    recording = Recording(tmp_path)

    seen = recording.frames("c1")[0].inspected
    assert seen == made.inspected(1)
    assert recording.counts() == {"repeated_line": 2}
    assert order_of(list(recording.steps())) == ["gate", "scorer", 1]


def test_line_and_cameras_are_held_against_each_other(tmp_path: Path) -> None:
    """Inspected and never announced, sent and never inspected: both are told, none is hidden."""
    made.begin(tmp_path)
    made.camera(tmp_path, 1, 2)
    made.line(tmp_path, made.inspected(1), made.inspected(3))

    recording = Recording(tmp_path)

    assert [(p.kind, p.where, p.count) for p in recording.problems] == [
        ("not_announced", "c1: from 3", 1), ("not_accounted", "c1: from 2", 1),
    ]  # fmt: skip
    assert order_of(list(recording.steps())) == ["gate", "scorer", 1, 3, 2]


def test_inspected_without_pixels_is_named(tmp_path: Path) -> None:
    """A frame that the scorer saw and whose pixels were not written any more is told."""
    made.begin(tmp_path)
    made.camera(tmp_path, 1)
    made.write(
        tmp_path / "c1" / "index.jsonl",
        Announced(announcement=announcement(2)),
        Announced(announcement=announcement(3)),
        Lost(announcement=announcement(3), why="dropped", detail=""),
    )
    made.line(tmp_path, made.inspected(1), made.inspected(2))

    found = Recording(tmp_path).problems

    assert [(p.kind, p.where, p.count) for p in found] == [("no_pixels", "c1: from 2", 1)]


def test_line_of_another_camera_is_damaged(tmp_path: Path) -> None:
    """An index holds its own camera's frames only."""
    made.begin(tmp_path)
    made.write(tmp_path / "c1" / "index.jsonl", frame(1, camera="c2"))

    recording = Recording(tmp_path)

    assert recording.counts() == {"damaged_line": 1}
    assert recording.frames("c1") == []


def test_each_problem_has_a_meaning() -> None:
    """Every kind of problem is explained in words."""
    assert all(meaning.endswith(".") for meaning in PROBLEM_MEANINGS.values())
