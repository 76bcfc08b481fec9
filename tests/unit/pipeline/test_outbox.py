"""The outbox: kept until confirmed, in order, within its limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from factories import moment
from sqlite_utils import Database

from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import BURST, FIRST_PAUSE_NS, LONGEST_PAUSE_NS, GivenUp, Outbox
from pipeline.results import Moment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def db() -> Iterator[Database]:
    """Return an empty ledger in memory."""
    db = Database(memory=True)
    migrations.apply(db)
    yield db
    db.close()


def keep(outbox: Outbox, count: int) -> list[int]:
    """Put messages of 100 bytes that no broker takes live."""
    return [outbox.put("verdict", b"x" * 100, moment()) for _ in range(count)]


def test_a_confirmed_message_is_deleted(db: Database) -> None:
    """What the broker has confirmed leaves the table with the next settling."""
    outbox = Outbox(db, OutboxSettings(), 0)
    (number,) = keep(outbox, 1)
    outbox.sent_live(number)

    during = outbox.due(0)
    outbox.outcome(number, confirmed=True)
    outbox.settle(moment())

    assert during == []
    assert list(db.table("outbox").rows) == []
    assert outbox.waiting == 0


def test_an_older_unknown_outcome_holds_the_newer_back(db: Database) -> None:
    """History waits for the outcome of what was sent live before it: order is kept."""
    outbox = Outbox(db, OutboxSettings(), 0)
    first, second = keep(outbox, 2)
    outbox.sent_live(first)

    during = outbox.due(0)
    outbox.outcome(first, confirmed=False)

    assert during == []
    assert [kept.id for kept in outbox.due(0)] == [first, second]


def test_history_is_in_the_order_of_the_captures(db: Database) -> None:
    """A frame that got its result after a later one still comes before it."""
    outbox = Outbox(db, OutboxSettings(), 0)
    later, earlier = (
        outbox.put("verdict", b"x", moment(), moment().utc + timedelta(seconds=seconds))
        for seconds in (2, 1)
    )
    outbox.sent_live(later)
    (first,) = outbox.due(0)
    outbox.sent_late(first.id)
    outbox.outcome(later, confirmed=False)
    outbox.outcome(first.id, confirmed=False)

    assert first.id == earlier
    assert [kept.id for kept in outbox.due(0)] == [earlier, later]


def test_the_rate_is_kept(db: Database) -> None:
    """A burst at once, then so many a second."""
    outbox = Outbox(db, OutboxSettings(drain_per_s=100), 0)
    keep(outbox, 3 * BURST)

    counts = []
    for ms in (0, 0, 50, 60, 10_000):
        due = outbox.due(ms * 1_000_000)
        counts.append(len(due))
        for kept in due:
            outbox.sent_late(kept.id)

    assert counts == [BURST, 0, 5, 1, BURST]


def test_a_lost_drain_begins_again(db: Database) -> None:
    """What was on its way to history when the connection ended is sent again, and first."""
    outbox = Outbox(db, OutboxSettings(), 0)
    numbers = keep(outbox, 3)
    for number in numbers:
        outbox.sent_late(number)

    outbox.outcome(numbers[0], confirmed=True)
    outbox.outcome(numbers[1], confirmed=False)
    outbox.outcome(numbers[2], confirmed=False)

    assert [kept.id for kept in outbox.due(0)] == numbers[1:]


def send(outbox: Outbox, now_ns: int) -> list[int]:
    """Send to history what is due."""
    due = [kept.id for kept in outbox.due(now_ns)]
    for number in due:
        outbox.sent_late(number)
    return due


def test_refused_history_is_tried_ever_more_rarely(db: Database) -> None:
    """After a refusal one message is tried after 10 s, 20 s, 40 s, then once a minute."""
    outbox = Outbox(db, OutboxSettings(), 0)
    keep(outbox, 3)
    tries: list[int] = []

    for second in range(200):
        sent = send(outbox, second * 1_000_000_000)
        for number in sent:
            outbox.refused(number, second * 1_000_000_000)
        tries += [second] * len(sent)

    assert tries == [0, 0, 0, 10, 30, 70, 130, 190]
    assert (FIRST_PAUSE_NS, LONGEST_PAUSE_NS) == (10_000_000_000, 60_000_000_000)


def test_one_that_is_taken_lets_the_others_go(db: Database) -> None:
    """A probe waits for its answer alone; when it is confirmed the rest follow, in order."""
    outbox = Outbox(db, OutboxSettings(), 0)
    numbers = keep(outbox, 3)
    for number in send(outbox, 0):
        outbox.refused(number, 0)

    probe = send(outbox, FIRST_PAUSE_NS)
    meanwhile = send(outbox, LONGEST_PAUSE_NS)
    outbox.outcome(probe[0], confirmed=True)

    assert (probe, meanwhile) == (numbers[:1], [])
    assert send(outbox, LONGEST_PAUSE_NS) == numbers[1:]


def test_a_new_connection_ends_the_pause(db: Database) -> None:
    """After a reconnect history is tried at once, and a refusal pauses as briefly as the first."""
    outbox = Outbox(db, OutboxSettings(), 0)
    numbers = keep(outbox, 2)
    for now_ns in (0, FIRST_PAUSE_NS):
        for number in send(outbox, now_ns):
            outbox.refused(number, now_ns)

    outbox.resume()
    again = send(outbox, FIRST_PAUSE_NS)
    for number in again:
        outbox.refused(number, FIRST_PAUSE_NS)

    assert again == numbers
    assert send(outbox, 2 * FIRST_PAUSE_NS - 1) == []
    assert send(outbox, 2 * FIRST_PAUSE_NS) == numbers[:1]


def test_a_refused_live_message_is_history_at_once(db: Database) -> None:
    """A live topic that is forbidden says nothing of the history topics: they are tried."""
    outbox = Outbox(db, OutboxSettings(), 0)
    (number,) = keep(outbox, 1)
    outbox.sent_live(number)

    outbox.refused(number, 0)

    assert send(outbox, 0) == [number]


def test_a_second_outage_is_drained_like_the_first(db: Database) -> None:
    """Numbers are not used again, so what is kept after a drain is not taken for drained."""
    outbox = Outbox(db, OutboxSettings(), 0)
    (first,) = keep(outbox, 1)
    outbox.sent_late(first)
    outbox.outcome(first, confirmed=True)
    outbox.settle(moment())

    (second,) = keep(outbox, 1)

    assert [kept.id for kept in outbox.due(0)] == [second]


def test_the_oldest_go_when_the_bytes_are_used_up(db: Database) -> None:
    """Beyond max_bytes the oldest messages are given up, and counted."""
    outbox = Outbox(db, OutboxSettings(max_bytes=100_000), 0)
    numbers = keep(outbox, 1_001)

    given_up = outbox.settle(moment())

    left = [row["id"] for row in db.table("outbox").rows]
    assert given_up == [GivenUp(len(numbers) - len(left), "max_bytes")]
    assert left == numbers[-len(left) :]
    assert 0 < len(left) <= 1_000


def test_the_aged_go(db: Database) -> None:
    """Messages older than max_age_s are given up."""
    outbox = Outbox(db, OutboxSettings(max_age_s=60), 0)
    keep(outbox, 2)
    outbox.settle(moment())
    later = Moment(moment().utc + timedelta(seconds=61), 61_000_000_000)
    fresh = outbox.put("part", b"x", later)

    given_up = outbox.settle(later)

    assert given_up == [GivenUp(2, "max_age_s")]
    assert [row["id"] for row in db.table("outbox").rows] == [fresh]


def test_a_clock_that_is_set_ages_nothing(db: Database) -> None:
    """When the wall clock jumps by years, what was kept is not old; it is from then on."""
    outbox = Outbox(db, OutboxSettings(max_age_s=60), 0)
    keep(outbox, 2)
    outbox.settle(moment())
    jump = timedelta(days=20_000)

    set_now = outbox.settle(Moment(moment().utc + jump, 61_000_000_000))
    later = Moment(moment().utc + jump + timedelta(seconds=61), 122_000_000_000)

    assert set_now == []
    assert outbox.settle(later) == [GivenUp(2, "max_age_s")]


def test_corrections_and_strangers_do_not_upset_the_budget(db: Database) -> None:
    """Shorter payloads, and rows that somebody else deleted, leave no phantom bytes."""
    outbox = Outbox(db, OutboxSettings(max_bytes=100_000), 0)
    for number in keep(outbox, 900):
        outbox.replace(number, b"y")
    keep(outbox, 900)
    within = outbox.settle(moment())
    db.execute("delete from outbox where id > 1")
    outbox.put("part", b"z" * 20_000, moment())

    given_up = outbox.settle(moment())

    assert within == []
    assert given_up == [GivenUp(2, "max_bytes")]
    assert outbox.settle(moment()) == []


def test_what_an_earlier_gate_left_is_history(db: Database) -> None:
    """A gate that was killed leaves rows; the next one sends them."""
    numbers = keep(Outbox(db, OutboxSettings(), 0), 3)

    assert [kept.id for kept in Outbox(db, OutboxSettings(), 0).due(0)] == numbers
