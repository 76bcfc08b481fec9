"""A restart forgets no alarm, no shelving and no part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from alarm_rig import DOWN, START, WELL, at, drive, scorer

from pipeline.alarm import AlarmBook, AlarmRecord
from pipeline.config_alarm import ConsecutiveAlarm, DiskLowAlarm, NOfMAlarm, RateAlarm

if TYPE_CHECKING:
    from edge.contract import AlarmState
    from pipeline.config_alarm import Alarm

IN_A_ROW = ConsecutiveAlarm(name="row", kind="consecutive", count=3)


def record(state: AlarmState, **fields: Any) -> AlarmRecord:
    """Return what the ledger has of an alarm since the start."""
    return AlarmRecord(state, START, **fields)


@pytest.mark.parametrize(
    ("state", "steps", "expected"),
    [
        ("ACTIVE_UNACK", "!", []),
        ("ACTIVE_UNACK", ".", ["ACTIVE_UNACK>RTN_UNACK"]),
        ("ACTIVE_ACK", "!.", ["ACTIVE_ACK>NORMAL"]),
        ("RTN_UNACK", "..a", ["RTN_UNACK>NORMAL Ann"]),
        ("RTN_UNACK", "!", ["RTN_UNACK>ACTIVE_UNACK"]),
        ("NORMAL", "!", ["NORMAL>ACTIVE_UNACK"]),
    ],
)
def test_restored_alarm_goes_on(state: AlarmState, steps: str, expected: list[str]) -> None:
    """After a restart an alarm is what it was, until its cause is seen to be otherwise."""
    book = AlarmBook([scorer()], {"scorer": record(state)})

    assert book.states == {"scorer": state}
    assert drive(book, steps) == expected


@pytest.mark.parametrize(
    ("state", "after"), [("ACTIVE_UNACK", "RTN_UNACK"), ("ACTIVE_ACK", "NORMAL")]
)
def test_off_delay_counts_from_the_restart(state: AlarmState, after: AlarmState) -> None:
    """A restored alarm whose cause is gone waits its whole delay before it ends."""
    book = AlarmBook([scorer(off_delay_s=5)], {"scorer": record(state)})

    assert drive(book, "." * 5, start_s=100) == []
    assert drive(book, ".", start_s=105) == [f"{state}>{after}"]


@pytest.mark.parametrize(
    ("before", "steps", "expected"),
    [
        ("ACTIVE_UNACK", ".u", "SHELVED>RTN_UNACK Ann"),
        ("RTN_UNACK", ".u", "SHELVED>RTN_UNACK Ann"),
        ("ACTIVE_ACK", ".u", "SHELVED>NORMAL Ann"),
        ("ACTIVE_ACK", "!u", "SHELVED>ACTIVE_UNACK Ann"),
        ("NORMAL", "." * 61, "SHELVED>NORMAL"),
        ("ACTIVE_UNACK", "." * 61, "SHELVED>RTN_UNACK"),
    ],
)
def test_restored_shelf_keeps_what_it_owes(before: AlarmState, steps: str, expected: str) -> None:
    """A restart neither ends a shelving nor forgets what was unacknowledged before it."""
    shelved = record("SHELVED", before=before, shelved_until=at(60).utc)
    book = AlarmBook([scorer()], {"scorer": shelved})

    assert drive(book, steps) == [expected]


def test_restored_shelf_keeps_what_cannot_be_seen() -> None:
    """Where nothing tells otherwise, a shelved alarm's cause is what it was before."""
    disk = DiskLowAlarm(name="disk", kind="disk_low")
    shelved = record("SHELVED", before="ACTIVE_ACK", shelved_until=at(60).utc)
    book = AlarmBook([disk], {"disk": shelved})
    book.update(WELL, at(1))

    (back,) = book.unshelve("disk", "Ann", at(2))

    assert back.after == "ACTIVE_UNACK"


@pytest.mark.parametrize("until", [None, at(-1).utc])
def test_shelf_that_ran_out_meanwhile_ends_at_once(until: Any) -> None:
    """A shelving whose end passed while the gate was down ends with the first update."""
    shelved = record("SHELVED", shelved_until=until)
    book = AlarmBook([scorer()], {"scorer": shelved})

    assert drive(book, "!") == ["SHELVED>ACTIVE_UNACK"]


def test_alarm_that_the_config_has_no_more_is_dropped() -> None:
    """A latched alarm without a section goes to NORMAL once, and its topic can be corrected."""
    gone = record("ACTIVE_ACK", before="ACTIVE_UNACK", kind="rate")
    book = AlarmBook([scorer()], {"old": gone, "older": record("NORMAL")})

    (dropped,) = book.update(WELL, at(1))

    assert (dropped.name, dropped.kind, dropped.by) == ("old", "rate", "")
    assert (dropped.before, dropped.after, dropped.at) == ("ACTIVE_ACK", "NORMAL", at(1).utc)
    assert dropped.note == (
        "not in the config any more; ACTIVE_ACK since 2026-01-02T03:04:05.678901Z"
    )
    assert book.update(WELL, at(2)) == []
    assert book.states == {"old": "NORMAL", "scorer": "NORMAL"}


def test_record_of_a_transition_restores_its_alarm() -> None:
    """The last row is all that a restart needs."""
    book = AlarmBook([scorer()])
    book.update(DOWN, at(0))
    (shelved,) = book.shelve("scorer", "Ann", 1, "", at(1))

    assert shelved.record == AlarmRecord(
        "SHELVED", at(1).utc, at(61).utc, before="ACTIVE_UNACK", kind="scorer_down"
    )


def test_seed_recalls_parts_without_transitions() -> None:
    """The parts before a restart count on: one more reject completes the row."""
    book = AlarmBook([IN_A_ROW])

    book.seed([("PASS", "score", -3), ("FAIL", "score", -2), ("FAIL", "score", -1)])

    assert book.update(WELL, at(0)) == []
    book.part("FAIL", "score", at(1))
    assert [one.after for one in book.update(WELL, at(1))] == ["ACTIVE_UNACK"]


@pytest.mark.parametrize(("seeded", "after"), [(True, "RTN_UNACK"), (False, "ACTIVE_UNACK")])
def test_seed_tells_that_nothing_more_came(*, seeded: bool, after: AlarmState) -> None:
    """A restored rate ends at once where the seed holds too few parts; unseeded it waits."""
    rate = RateAlarm(name="rate", kind="rate", count=2, period_s=30)
    book = AlarmBook([rate], {"rate": record("ACTIVE_UNACK")})
    if seeded:
        book.seed([("FAIL", "score", at(-3).monotonic_ns)])

    book.update(WELL, at(0))

    assert book.states == {"rate": after}


def test_book_tells_how_much_it_can_recall() -> None:
    """The farthest look back of all alarms, in parts and in seconds."""
    alarms: list[Alarm] = [
        IN_A_ROW,
        NOfMAlarm(name="n", kind="n_of_m", count=2, of_parts=7),
        RateAlarm(name="r", kind="rate", count=2, period_s=30),
        scorer(),
    ]

    assert (AlarmBook(alarms).seed_parts, AlarmBook(alarms).seed_s) == (7, 30)
    assert (AlarmBook([]).seed_parts, AlarmBook([]).seed_s) == (0, 0)
