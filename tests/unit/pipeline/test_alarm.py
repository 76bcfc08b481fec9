"""An alarm goes through the states of ISA-18.2 and forgets nothing unacknowledged."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from alarm_rig import DOWN, START, WELL, at, drive, scorer

from pipeline.alarm import (
    EVERY_ALARM,
    SHELVE_LIMIT_MINUTES,
    AlarmBook,
    AlarmError,
    Transition,
    names_moved,
)
from pipeline.alarm_conditions import LineSight
from pipeline.config_alarm import (
    CameraLostAlarm,
    ConsecutiveAlarm,
    default_alarms,
)
from pipeline.results import Moment

if TYPE_CHECKING:
    from edge.contract import Verdict

IN_A_ROW = ConsecutiveAlarm(name="row", kind="consecutive", count=3)

RISES = "NORMAL>ACTIVE_UNACK"
KNOWN = "ACTIVE_UNACK>ACTIVE_ACK Ann"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("..!!", [RISES]),
        ("!a!.", [RISES, KNOWN, "ACTIVE_ACK>NORMAL"]),
        ("!..a.", [RISES, "ACTIVE_UNACK>RTN_UNACK", "RTN_UNACK>NORMAL Ann"]),
        ("!.!a", [RISES, "ACTIVE_UNACK>RTN_UNACK", "RTN_UNACK>ACTIVE_UNACK", KNOWN]),
        # Shelved while the cause is there: what it comes back to follows the cause.
        ("!as!u", [RISES, KNOWN, "ACTIVE_ACK>SHELVED Ann", "SHELVED>ACTIVE_UNACK Ann"]),
        ("!as.u", [RISES, KNOWN, "ACTIVE_ACK>SHELVED Ann", "SHELVED>NORMAL Ann"]),
        ("s!u", ["NORMAL>SHELVED Ann", "SHELVED>ACTIVE_UNACK Ann"]),
        # Came and went in the shelf: nobody was called, nobody need answer.
        ("s!.u", ["NORMAL>SHELVED Ann", "SHELVED>NORMAL Ann"]),
        # What was not acknowledged before is not forgotten.
        ("!s.u", [RISES, "ACTIVE_UNACK>SHELVED Ann", "SHELVED>RTN_UNACK Ann"]),
        (
            "!.s.u",
            [RISES, "ACTIVE_UNACK>RTN_UNACK", "RTN_UNACK>SHELVED Ann", "SHELVED>RTN_UNACK Ann"],
        ),
    ],
)
def test_latched_alarm_takes_the_states_of_isa_18_2(steps: str, expected: list[str]) -> None:
    """A latched alarm moves by its cause and by the operator, each in its way."""
    assert drive(AlarmBook([scorer()]), steps) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("!.", [RISES, "ACTIVE_UNACK>NORMAL"]),
        ("!a.", [RISES, KNOWN, "ACTIVE_ACK>NORMAL"]),
        ("!s.u", [RISES, "ACTIVE_UNACK>SHELVED Ann", "SHELVED>NORMAL Ann"]),
    ],
)
def test_alarm_without_latch_ends_with_its_cause(steps: str, expected: list[str]) -> None:
    """Without a latch no acknowledgment is waited for."""
    assert drive(AlarmBook([scorer(latch=False)]), steps) == expected


def test_shelving_ends_by_itself() -> None:
    """After its minutes a shelved alarm is back, by the line, at the next update."""
    book = AlarmBook([scorer()])
    book.update(DOWN, at(0))
    (shelved,) = book.shelve("scorer", "Ann", 2, "cable ordered", at(1))

    assert (shelved.note, shelved.shelved_until) == ("cable ordered", at(121).utc)
    assert book.update(DOWN, at(120.999)) == []
    (back,) = book.update(DOWN, at(121))

    assert (back.before, back.after, back.by) == ("SHELVED", "ACTIVE_UNACK", "")
    assert (back.note, back.shelved_until) == ("its time is over", None)


def test_shelving_ends_with_what_the_line_is_now() -> None:
    """A cause that is gone when the time is over does not ring once more."""
    book = AlarmBook([scorer()])
    book.update(DOWN, at(0))
    book.acknowledge("scorer", "Ann", at(1))
    book.shelve("scorer", "Ann", 1, "", at(2))

    book.part("PASS", "score", at(100))
    (back,) = book.update(WELL, at(100))

    assert (back.before, back.after) == ("SHELVED", "NORMAL")


@pytest.mark.parametrize(("step_back", "ends"), [(59, False), (61, True)])
def test_clock_that_steps_back_does_not_shelve_for_longer(step_back: int, *, ends: bool) -> None:
    """A wall clock set back by more than an hour ends a shelving of a day; less does not."""
    book = AlarmBook([scorer()])
    book.shelve("scorer", "Ann", SHELVE_LIMIT_MINUTES, "", at(0))

    earlier = Moment(START - timedelta(minutes=step_back), at(1).monotonic_ns)

    assert [one.after for one in book.update(WELL, earlier)] == (["NORMAL"] if ends else [])


def test_wall_clock_moves_no_delay() -> None:
    """Delays count monotonic time, whatever the wall clock does."""
    book = AlarmBook([scorer(on_delay_s=2)])
    book.update(DOWN, at(0))

    assert book.update(DOWN, Moment(START + timedelta(days=1), at(1.9).monotonic_ns)) == []
    (rises,) = book.update(DOWN, Moment(START - timedelta(days=1), at(2).monotonic_ns))

    assert (rises.after, rises.at) == ("ACTIVE_UNACK", START - timedelta(days=1))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("!!!..", []),
        ("!!!!...", [RISES]),
        ("!!!!.....", [RISES, "ACTIVE_UNACK>RTN_UNACK"]),
        ("!!!!...!....", [RISES]),
    ],
)
def test_delays_stand_between_cause_and_alarm(steps: str, expected: list[str]) -> None:
    """A cause must last three seconds to ring, and be gone four to end."""
    assert drive(AlarmBook([scorer(on_delay_s=3, off_delay_s=4)]), steps) == expected


def test_cause_between_two_updates_is_not_overlooked() -> None:
    """Three rejects and a good part within one pass of the gate ring all the same."""
    book = AlarmBook([IN_A_ROW])
    verdicts: list[Verdict] = ["FAIL", "FAIL", "FAIL", "PASS"]
    for second, verdict in enumerate(verdicts):
        book.part(verdict, "score", at(second))

    rises, clears = book.update(WELL, at(4))

    assert (rises.before, rises.after, rises.at) == ("NORMAL", "ACTIVE_UNACK", at(2).utc)
    assert rises.detail == {"parts_in_a_row": 3}
    assert (clears.after, clears.at) == ("RTN_UNACK", at(3).utc)
    assert book.update(WELL, at(5)) == []


@pytest.mark.parametrize("command", ["acknowledge", "shelve", "unshelve"])
def test_command_returns_earlier_transitions_first(command: str) -> None:
    """What parts brought about and what a person did come out in the order of time."""
    book = AlarmBook([IN_A_ROW, scorer()])
    book.shelve("scorer", "Ann", 5, "", at(0))
    for second in range(3):
        book.part("FAIL", "score", at(second))

    done = {
        "acknowledge": lambda: book.acknowledge("row", "Ann", at(3)),
        "shelve": lambda: book.shelve("row", "Ann", 5, "", at(3)),
        "unshelve": lambda: book.unshelve("scorer", "Ann", at(3)),
    }[command]()

    assert [one.by for one in done] == ["", "Ann"]
    assert (done[0].name, done[0].after, done[0].at) == ("row", "ACTIVE_UNACK", at(2).utc)


def test_refused_command_loses_no_transition() -> None:
    """An error leaves what has happened for the next update."""
    book = AlarmBook([IN_A_ROW])
    for second in range(3):
        book.part("FAIL", "score", at(second))

    with pytest.raises(AlarmError):
        book.unshelve("row", "Ann", at(3))

    assert [one.after for one in book.update(WELL, at(4))] == ["ACTIVE_UNACK"]


def test_transition_is_a_whole_row() -> None:
    """A transition names alarm, kind, states, time, person, note and what was seen."""
    alarm = CameraLostAlarm(name="cam", kind="camera_lost")
    book = AlarmBook([alarm])
    lost = LineSight(frozenset({"c2", "c1"}), False, None, False)

    assert book.update(lost, at(1)) == [
        Transition(
            name="cam",
            kind="camera_lost",
            before="NORMAL",
            after="ACTIVE_UNACK",
            at=at(1).utc,
            by="",
            note="",
            detail={"cameras": ["c1", "c2"]},
            shelved_until=None,
        )
    ]


def test_star_acknowledges_all_that_can_be() -> None:
    """``*`` acknowledges what is unacknowledged, and is content where nothing is."""
    book = AlarmBook([scorer(), IN_A_ROW, CameraLostAlarm(name="cam", kind="camera_lost")])
    for second in range(3):
        book.part("FAIL", "score", at(second))
    book.part("PASS", "score", at(3))
    book.update(DOWN, at(4))
    book.shelve("cam", "Ann", 5, "", at(5))

    done = book.acknowledge(EVERY_ALARM, "Ann", at(6))

    assert [(one.name, one.after) for one in done] == [("scorer", "ACTIVE_ACK"), ("row", "NORMAL")]
    assert book.states == {"scorer": "ACTIVE_ACK", "row": "NORMAL", "cam": "SHELVED"}
    assert book.acknowledge(EVERY_ALARM, "Ann", at(7)) == []


def test_star_shelves_all_that_can_be() -> None:
    """``*`` shelves and unshelves all that it concerns, and is content where nothing is."""
    book = AlarmBook([scorer(), IN_A_ROW, CameraLostAlarm(name="cam", kind="camera_lost")])
    book.shelve("row", "Ann", 9, "", at(0))

    shelved = book.shelve(EVERY_ALARM, "Ann", 5, "cable", at(1))
    again = book.shelve(EVERY_ALARM, "Ann", 5, "", at(2))
    back = book.unshelve(EVERY_ALARM, "Ann", at(3))

    assert [(one.name, one.after, one.note) for one in shelved] == [
        ("scorer", "SHELVED", "cable"),
        ("cam", "SHELVED", "cable"),
    ]
    assert again == []
    assert [one.name for one in back] == ["scorer", "row", "cam"]
    assert set(book.states.values()) == {"NORMAL"}
    assert book.unshelve(EVERY_ALARM, "Ann", at(4)) == []


def test_star_keeps_to_the_limits() -> None:
    """``*`` does not shelve for longer than one alarm may be."""
    book = AlarmBook([scorer()])

    with pytest.raises(AlarmError, match="1 to 1440"):
        book.shelve(EVERY_ALARM, "Ann", SHELVE_LIMIT_MINUTES + 1, "", at(0))

    assert book.states == {"scorer": "NORMAL"}


def test_names_are_those_a_person_moved() -> None:
    """What the line did on its own is not among the names, and a long list is cut."""
    book = AlarmBook([scorer(), IN_A_ROW, CameraLostAlarm(name="cam", kind="camera_lost")])
    for second in range(3):
        book.part("FAIL", "score", at(second))

    done = book.shelve(EVERY_ALARM, "Ann", 5, "", at(3))

    assert done[0].by == ""
    assert names_moved(done, 40) == "scorer, row, cam"
    assert names_moved(done, 14) == "scorer, ..."
    assert names_moved(done[:1], 40) == ""


@pytest.mark.parametrize(
    ("before", "command", "code", "words"),
    [
        ("", "a", "not_active", "scorer is not active"),
        ("!a", "a", "acknowledged", "scorer is acknowledged already"),
        ("!s", "a", "shelved", "scorer is shelved; unshelve it first"),
        ("s", "s", "shelved", "scorer is shelved already; unshelve it first"),
        ("!", "u", "not_shelved", "scorer is not shelved"),
    ],
)
def test_senseless_command_is_refused(before: str, command: str, code: str, words: str) -> None:
    """What makes no sense in the alarm's state is refused with a code, and changes nothing."""
    book = AlarmBook([scorer()])
    drive(book, before)
    states = book.states

    with pytest.raises(AlarmError) as caught:
        drive(book, command, start_s=10)

    assert (caught.value.code, str(caught.value)) == (code, words)
    assert book.states == states


@pytest.mark.parametrize("minutes", [-1, 0, 1441])
def test_shelving_has_limits(minutes: int) -> None:
    """Nobody shelves for less than a minute or more than a day."""
    book = AlarmBook([scorer()])

    with pytest.raises(AlarmError, match=f"scorer: minutes = {minutes}: 1 to 1440") as caught:
        book.shelve("scorer", "Ann", minutes, "", at(0))

    assert caught.value.code == "out_of_range"
    assert book.states == {"scorer": "NORMAL"}


def test_unknown_alarm_is_answered_within_bounds() -> None:
    """A wrong name is answered with those there are, in a message of bounded length."""
    many = [scorer(name=f"{'n' * 29}{number}") for number in range(10, 74)]

    with pytest.raises(AlarmError, match=r"'brake'; there are: scorer$") as caught:
        AlarmBook([scorer()]).shelve("brake", "Ann", 5, "", at(0))
    with pytest.raises(AlarmError) as long:
        AlarmBook(many).acknowledge("x" * 500, "Ann", at(0))
    with pytest.raises(AlarmError, match="there are: none"):
        AlarmBook([]).unshelve("brake", "Ann", at(0))

    assert caught.value.code == "unknown_alarm"
    assert len(str(long.value)) < 200


def test_well_line_rings_nothing() -> None:
    """With the default alarms, a line that starts, warms and passes parts stays quiet."""
    book = AlarmBook(default_alarms())
    for second in range(60):
        book.part("NO_RESULT", "warming", at(second))
    for second in range(60, 120):
        book.part("PASS", "score", at(second))

    assert book.update(WELL, at(120)) == []
    assert set(book.states.values()) == {"NORMAL"}
