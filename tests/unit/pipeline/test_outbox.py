"""The outbox: kept until confirmed, in order, within its limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from factories import moment
from sqlite_utils import Database

from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import BURST, GivenUp, Outbox
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
    later = Moment(moment().utc + timedelta(seconds=61), 120_000_000_000)
    fresh = outbox.put("part", b"x", later)

    given_up = outbox.settle(later)

    assert given_up == [GivenUp(2, "max_age_s")]
    assert [row["id"] for row in db.table("outbox").rows] == [fresh]


def test_what_an_earlier_gate_left_is_history(db: Database) -> None:
    """A gate that was killed leaves rows; the next one sends them."""
    numbers = keep(Outbox(db, OutboxSettings(), 0), 3)

    assert [kept.id for kept in Outbox(db, OutboxSettings(), 0).due(0)] == numbers
