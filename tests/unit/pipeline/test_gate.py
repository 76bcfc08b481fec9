"""Every announced frame gets one result, in time, and PASS only where it is earned."""

from __future__ import annotations

import pytest
from factories import MS, announcement, inspection, moment

from pipeline.gate import Gate, part_too_late, too_late
from pipeline.parts import PartAssembler

DEADLINE_MS = 100


@pytest.fixture
def gate() -> Gate:
    """Return a gate whose scorer is up."""
    gate = Gate(DEADLINE_MS, min_peers=8)
    gate.scorer_up()
    return gate


def test_inspection_in_time_decides(gate: Gate) -> None:
    """A PASS from a ready window before the deadline is the result."""
    gate.announce(announcement(), moment(0))

    result = gate.inspected(inspection(), moment(99))

    assert result is not None
    assert (result.verdict, result.why, result.latency_ms) == ("PASS", "score", 99)
    assert gate.open_frames == 0


def test_nothing_decides_twice(gate: Gate) -> None:
    """A second inspection, a loss and the deadline find the frame closed."""
    gate.announce(announcement(), moment(0))
    gate.inspected(inspection(), moment(10))

    again = gate.inspected(inspection(verdict="FAIL"), moment(11))
    lost = gate.lose(announcement(), "dropped", "", moment(12))

    assert (again, lost, gate.due(moment(1000))) == (None, None, [])


def test_resent_announcement_keeps_the_first_deadline(gate: Gate) -> None:
    """An announcement that comes again changes nothing."""
    gate.announce(announcement(), moment(0))

    gate.announce(announcement(captured_ns=50_000_000), moment(60))

    assert gate.next_due_ns() == DEADLINE_MS * 1_000_000


@pytest.mark.parametrize(("ms", "results"), [(99.9, 0), (100, 1)])
def test_deadline_closes_exactly_when_it_is_over(gate: Gate, ms: float, results: int) -> None:
    """No result before the deadline, NO_RESULT `late` at it."""
    gate.announce(announcement(), moment(0))

    due = gate.due(moment(ms))

    assert [result.why for result in due] == ["late"] * results


def test_inspection_after_the_deadline_is_late(gate: Gate) -> None:
    """A PASS that comes too late, though nothing closed the frame yet, is NO_RESULT."""
    gate.announce(announcement(), moment(0))

    result = gate.inspected(inspection(), moment(100.5))

    assert result is not None
    assert (result.verdict, result.why) == ("NO_RESULT", "late")


def test_frames_of_a_dead_scorer_are_scorer_down(gate: Gate) -> None:
    """Frames open when the scorer died close as `scorer_down`, even if a new one is up by then."""
    gate.announce(announcement(), moment(0))
    gate.scorer_lost(moment(10))
    gate.scorer_up()

    (result,) = gate.due(moment(100))

    assert (result.verdict, result.why) == ("NO_RESULT", "scorer_down")


def test_drop_without_scorer_says_so(gate: Gate) -> None:
    """Ingest sees a full queue; the gate knows that there was nobody to empty it."""
    gate.announce(announcement(), moment(0))
    gate.scorer_lost(moment(1))

    result = gate.lose(announcement(), "dropped", "queue full", moment(2))

    assert result is not None
    assert result.why == "scorer_down"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "WARMING"}, "warming"),
        ({"state": "DEGRADED"}, "warming"),
        ({"score": None}, "not_finite"),
        ({"threshold": None}, "not_finite"),
        ({"score": 0.9}, "not_finite"),
        ({"score": 0.8}, "not_finite"),
        ({"window_n": 7}, "not_finite"),
    ],
)
def test_unearned_pass_is_refused(gate: Gate, fields: dict[str, object], why: str) -> None:
    """PASS without a ready window, a score or a threshold becomes NO_RESULT."""
    gate.announce(announcement(), moment(0))

    result = gate.inspected(inspection(**fields), moment(1))

    assert result is not None
    assert (result.verdict, result.why) == ("NO_RESULT", why)


def test_nan_score_on_the_wire_cannot_pass(gate: Gate) -> None:
    """NaN and infinity travel as no score, and no score cannot pass."""
    gate.announce(announcement(), moment(0))
    received = type(inspection()).model_validate_json(
        inspection(score=float("nan")).model_dump_json()
    )

    result = gate.inspected(received, moment(1))

    assert result is not None
    assert (result.verdict, result.why) == ("NO_RESULT", "not_finite")


def test_state_is_fault_without_scorer(gate: Gate) -> None:
    """WARMING at the start, the scorer's word, FAULT without it, STOPPED after its farewell."""
    states = [gate.state]
    gate.announce(announcement(), moment(0))
    gate.inspected(inspection(), moment(1))
    states.append(gate.state)
    gate.scorer_lost(moment(2))
    states.append(gate.state)
    gate.scorer_up()
    gate.scorer_left(moment(3))
    states.append(gate.state)

    assert states == ["WARMING", "READY", "FAULT", "STOPPED"]


def test_scorer_that_never_came_is_a_fault() -> None:
    """A line that starts is WARMING; once a scorer is due and not there it is FAULT."""
    gate = Gate(DEADLINE_MS)
    before = gate.state

    gate.scorer_is_due()

    assert (before, gate.state) == ("WARMING", "FAULT")


def test_worst_camera_is_the_state_of_the_line() -> None:
    """One camera that warms up keeps the line WARMING, whatever the others say."""
    gate = Gate(DEADLINE_MS)
    gate.scorer_up()
    for seq, camera, state in ((1, "c1", "READY"), (2, "c2", "WARMING"), (3, "c1", "READY")):
        note = announcement(seq, camera=camera)
        gate.announce(note, moment(0))
        gate.inspected(inspection(announcement=note, state=state, verdict="FAIL"), moment(1))

    assert gate.state == "WARMING"


def test_words_of_a_dead_scorer_do_not_revive_it(gate: Gate) -> None:
    """An inspection that is read after the loss decides its frame, but the line stays FAULT."""
    gate.announce(announcement(), moment(0))
    gate.scorer_lost(moment(1))

    result = gate.inspected(inspection(), moment(2))

    assert result is not None
    assert result.verdict == "PASS"
    assert gate.state == "FAULT"


def test_deciding_score_is_the_configured_one() -> None:
    """With "rescored" a raw score below the threshold does not make a PASS."""
    gate = Gate(DEADLINE_MS, deciding="rescored")
    gate.announce(announcement(), moment(0))

    result = gate.inspected(inspection(score=0.5, rescored=0.9), moment(1))

    assert result is not None
    assert result.verdict == "NO_RESULT"


@pytest.mark.parametrize(("ms", "late"), [(99, False), (100, True), (250, True)])
def test_pass_on_disk_too_late_is_corrected(gate: Gate, ms: float, late: bool) -> None:  # noqa: FBT001 - a parameter
    """A PASS, of a frame or a part, that cannot be said in time becomes NO_RESULT `late`."""
    gate.announce(announcement(), moment(0))
    result = gate.inspected(inspection(), moment(50))
    assert result is not None
    (part,) = PartAssembler(("c1",), DEADLINE_MS).add(result, moment(50))

    corrected = too_late(result, DEADLINE_MS, moment(ms))
    part_corrected = part_too_late(part, DEADLINE_MS, moment(ms))

    assert (corrected is not None) == (part_corrected is not None) == late
    if corrected is not None and part_corrected is not None:
        assert (corrected.verdict, corrected.why) == ("NO_RESULT", "late")
        assert (part_corrected.verdict, part_corrected.why) == ("NO_RESULT", "late")


def test_fail_is_never_corrected(gate: Gate) -> None:
    """A FAIL stays a FAIL however long the disk took."""
    gate.announce(announcement(), moment(0))
    result = gate.inspected(inspection(verdict="FAIL"), moment(50))

    assert result is not None
    assert too_late(result, DEADLINE_MS, moment(900)) is None


def test_close_all_leaves_nothing_open(gate: Gate) -> None:
    """At the end of the line every open frame gets NO_RESULT."""
    for seq in (1, 2, 3):
        gate.announce(announcement(seq), moment(0))

    results = gate.close_all("the line was stopped", moment(5))

    assert [(r.verdict, r.why) for r in results] == [("NO_RESULT", "scorer_down")] * 3
    assert gate.next_due_ns() is None


def test_each_frame_needs_the_recipe_of_its_capture(gate: Gate) -> None:
    """Across two changeovers a frame passes only by the window of what ran when it was captured."""
    for seq, ms in ((1, 0), (2, 10), (3, 20)):
        gate.announce(announcement(seq, captured_ns=ms * MS), moment(ms))
        gate.change_recipe("bc"[seq % 2], moment(ms + 5))

    verdicts = [
        gate.inspected(inspection(seq, recipe=recipe), moment(30))
        for seq, recipe in ((1, "default"), (2, "default"), (3, "b"))
    ]

    assert [(r.verdict, r.why) for r in verdicts if r] == [
        ("PASS", "score"),
        ("NO_RESULT", "warming"),
        ("PASS", "score"),
    ]


def test_lost_camera_passes_nothing(gate: Gate) -> None:
    """While a camera is not there, not even what it sent before may pass."""
    gate.announce(announcement(), moment(0))
    gate.cameras_lost = frozenset({"c1"})

    result = gate.inspected(inspection(), moment(10))

    assert result is not None
    assert (result.verdict, result.why) == ("NO_RESULT", "camera_lost")
    assert gate.state == "FAULT"


def test_infinite_threshold_earns_no_pass(gate: Gate) -> None:
    """A threshold that is no number lets nothing pass."""
    gate.announce(announcement(), moment(0))

    result = gate.inspected(inspection(threshold=float("inf")), moment(10))

    assert result is not None
    assert (result.verdict, result.why) == ("NO_RESULT", "not_finite")
