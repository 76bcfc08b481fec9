"""A part gets one verdict: FAIL if any view fails, PASS only if every view passes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import MS, announcement, inspection, moment

from pipeline.gate import Gate
from pipeline.parts import PartAssembler

if TYPE_CHECKING:
    from edge.contract import Verdict
    from pipeline.results import FrameResult

VIEWS = ("c1", "c2")


def result(camera: str, verdict: str, part: str = "A", seq: int = 1) -> FrameResult:
    """Return a frame result of one camera."""
    gate = Gate(100)
    note = announcement(seq, camera=camera, part_id=part)
    gate.announce(note, moment(0))
    if verdict == "NO_RESULT":
        closed = gate.lose(note, "corrupt", "", moment(1))
    else:
        closed = gate.inspected(inspection(announcement=note, verdict=verdict), moment(1))
    assert closed is not None
    return closed


@pytest.mark.parametrize(
    ("first", "second", "verdict", "why", "worst"),
    [
        ("PASS", "PASS", "PASS", "score", "c1"),
        ("PASS", "FAIL", "FAIL", "score", "c2"),
        ("FAIL", "NO_RESULT", "FAIL", "score", "c1"),
        ("PASS", "NO_RESULT", "NO_RESULT", "corrupt", "c2"),
    ],
)
def test_views_combine(first: str, second: str, verdict: str, why: str, worst: str) -> None:
    """The worst view decides, and is named."""
    parts = PartAssembler(VIEWS, 100)

    assert parts.add(result("c1", first), moment(1)) == []
    (part,) = parts.add(result("c2", second), moment(2))

    assert (part.verdict, part.why) == (verdict, why)
    assert part.worst is not None
    assert part.worst.announcement.camera == worst
    assert (part.views, part.seen, part.part_seq) == (2, 2, 1)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("PASS", ("NO_RESULT", "missing_view")), ("FAIL", ("FAIL", "score"))],
)
def test_missing_view_closes_at_the_deadline(verdict: str, expected: tuple[str, str]) -> None:
    """A part whose view is missing never passes; a view that failed still fails it."""
    parts = PartAssembler(VIEWS, 100)
    parts.add(result("c1", verdict), moment(1))

    assert parts.due(moment(99)) == []
    (part,) = parts.due(moment(100))

    assert (part.verdict, part.why) == expected
    assert part.seen == 1


@pytest.mark.parametrize("why", ["missed_trigger", "camera_lost"])
@pytest.mark.parametrize(
    ("other", "expected"),
    [("PASS", ("NO_RESULT", "missing_view")), ("FAIL", ("FAIL", "score"))],
)
def test_view_without_a_picture_is_missing(
    why: str, other: Verdict, expected: tuple[str, str]
) -> None:
    """A frame result that says there was no picture closes the part at once, as missing."""
    parts = PartAssembler(VIEWS, 100)
    missed = replace(result("c2", "NO_RESULT"), why=why)  # type: ignore[arg-type]
    parts.add(result("c1", other), moment(1))

    (part,) = parts.add(missed, moment(2))

    assert (part.verdict, part.why, part.seen) == (*expected, 1)


def test_only_view_without_a_picture_keeps_its_reason() -> None:
    """Where a part is one frame, its reason is the frame's."""
    parts = PartAssembler(("c1",), 100)

    (part,) = parts.add(replace(result("c1", "NO_RESULT"), why="missed_trigger"), moment(1))

    assert (part.why, part.seen) == ("missed_trigger", 1)


def test_late_view_changes_nothing() -> None:
    """A view that comes after its part was closed opens no second part."""
    parts = PartAssembler(VIEWS, 100)
    parts.add(result("c1", "PASS"), moment(1))
    parts.due(moment(100))

    assert parts.add(result("c2", "PASS"), moment(150)) == []
    assert parts.next_due_ns() is None


def test_reused_part_id_is_a_new_part() -> None:
    """The same view under the same id again begins another part."""
    parts = PartAssembler(("c1",), 100)

    seqs = [parts.add(result("c1", "PASS", seq=seq), moment(1))[0].part_seq for seq in (1, 2, 3)]

    assert seqs == [1, 2, 3]


def test_same_view_twice_closes_the_first_part() -> None:
    """A part that is still open when its id comes round again is missing a view."""
    parts = PartAssembler(VIEWS, 100)
    parts.add(result("c1", "PASS", seq=1), moment(1))

    (part,) = parts.add(result("c1", "PASS", seq=2), moment(2))

    assert part.why == "missing_view"
    assert len(parts.close_all(moment(3))) == 1


def test_camera_that_is_no_view_makes_no_part() -> None:
    """A camera beside the expected views has frame results only."""
    parts = PartAssembler(("c1",), 100)

    assert parts.add(result("c9", "FAIL"), moment(1)) == []
    assert parts.close_all(moment(1)) == []


def test_deadline_counts_from_the_first_capture() -> None:
    """Whichever view is judged first, the part is due with its earliest capture."""
    parts = PartAssembler(VIEWS, 100)
    early = result("c1", "PASS")
    late = replace(
        early, announcement=announcement(1, camera="c2", part_id="A", captured_ns=40 * MS)
    )
    three = PartAssembler((*VIEWS, "c3"), 100)

    parts.add(late, moment(41))
    alone = parts.next_due_ns()
    three.add(late, moment(41))
    three.add(early, moment(42))

    assert (alone, three.next_due_ns()) == (140 * MS, 100 * MS)


def test_recalled_part_takes_its_late_view() -> None:
    """A part that an earlier gate closed short of a view takes that view without a word."""
    parts = PartAssembler(VIEWS, 100)
    parts.recall("A", ["c1"])

    assert parts.add(result("c2", "PASS"), moment(2)) == []
    assert parts.next_due_ns() is None
