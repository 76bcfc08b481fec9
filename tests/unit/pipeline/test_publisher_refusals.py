"""What the broker refuses is owed: retained topics every 5 s, history ever more rarely."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest
from factories import announcement, moment
from fake_session import REFUSED, FakeSession
from sqlite_utils import Database

from edge.contract import Topics
from edge.mqtt import BrokerSettings
from pipeline import publisher as publisher_module
from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import FIRST_PAUSE_NS, Outbox
from pipeline.publisher import RETAINED_RETRY_BEATS, Publisher
from pipeline.results import FrameResult, LineIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator

RETAINED = ["camera/c1/status", "alarm/disk_low", "status"]


class Station:
    """A publisher and its outbox at a broker that refuses what it is told to."""

    def __init__(self, db: Database) -> None:
        """Be connected, with a camera and an alarm to tell of."""
        topics = Topics("musc", "site", "area", "line", "station")
        identity = LineIdentity("91d0", "f" * 16, 500)
        self.outbox = Outbox(db, OutboxSettings(), 0)
        self.publisher = Publisher(BrokerSettings("host", 1883, "5", "gate"), topics, identity)
        self.broker = cast("FakeSession", self.publisher._session)

    def connect(self) -> None:
        """Tell a camera, an alarm and the state to the broker."""
        self.publisher.camera("c1", "ONLINE")
        self.publisher.alarm("disk_low", "ACTIVE_UNACK")
        self.broker.published.clear()
        self.broker.refused.clear()
        self.publisher.start(lambda _incoming: None)

    def live(self, seconds: int) -> None:
        """Let seconds of a gate's life pass."""
        for _ in range(seconds):
            self.publisher.settle(self.outbox, 0)
            self.publisher.heartbeat()

    def keep(self, seq: int) -> int:
        """Keep a result that nobody has heard."""
        announced, decided_at = announcement(seq), moment().utc
        result = FrameResult(announced, "NO_RESULT", "late", "", "READY", "r", decided_at, 500)
        return self.outbox.put("verdict", self.publisher.frame_payload(result), moment())

    def drain(self, now_ns: int) -> list[int]:
        """Do what a gate's pass does with what is kept; return what was sent."""
        self.publisher.settle(self.outbox, now_ns)
        due = self.outbox.due(now_ns)
        for kept in due:
            self.publisher.history(kept, self.outbox)
        self.publisher.settle(self.outbox, now_ns)
        return [kept.id for kept in due]

    @property
    def retained(self) -> list[str]:
        """The retained topics that the broker took, in order."""
        return [message.topic for message in self.broker.published if message.retain]


@pytest.fixture
def station(monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    """Return a station at a broker by hand."""
    monkeypatch.setattr(publisher_module, "BrokerSession", FakeSession)
    db = Database(memory=True)
    migrations.apply(db)
    yield Station(db)
    db.close()


def test_refused_retained_topics_are_owed(station: Station) -> None:
    """However long they are refused, they come within one retry of the repair, the status last."""
    station.broker.refuses = lambda _topic: True
    station.connect()
    station.live(10 * RETAINED_RETRY_BEATS)
    before = station.retained

    station.broker.refuses = lambda _topic: False
    station.live(RETAINED_RETRY_BEATS)

    assert before == []
    assert station.retained == RETAINED


def test_they_are_tried_every_five_seconds(station: Station) -> None:
    """A refused topic is said once every five heartbeats, not with each of them."""
    station.broker.refuses = lambda topic: topic == "alarm/disk_low"
    station.connect()

    station.live(4 * RETAINED_RETRY_BEATS)

    tries = [message.topic for message in station.broker.refused]
    assert tries == ["alarm/disk_low"] * 5
    assert RETAINED_RETRY_BEATS == 5


def test_what_was_accepted_is_not_repeated(station: Station) -> None:
    """Only what is owed is said again, and the status after it; then nobody owes anything."""
    station.broker.refuses = lambda topic: topic == "alarm/disk_low"
    station.connect()
    station.live(1)
    station.broker.published.clear()

    station.broker.refuses = lambda _topic: False
    station.live(4 * RETAINED_RETRY_BEATS)

    assert station.retained == ["alarm/disk_low", "status"]


def test_the_newest_state_is_owed(station: Station) -> None:
    """What changed while it was refused is said as it is now, once."""
    station.broker.refuses = lambda _topic: True
    station.connect()
    station.publisher.alarm("disk_low", "ACTIVE_ACK")
    station.publisher.state("READY")
    station.live(1)

    station.broker.refuses = lambda _topic: False
    station.live(RETAINED_RETRY_BEATS)

    assert station.broker.of("alarm/disk_low") == [b"ACTIVE_ACK"]
    assert [json.loads(payload)["state"] for payload in station.broker.of("status")] == ["READY"]


def test_an_outcome_of_an_older_message_is_nobodys(station: Station) -> None:
    """What was lost with a connection is said once by the next one, and not again after it."""
    station.broker.confirms = False
    station.connect()
    station.broker.lose()
    station.broker.confirms = True
    station.broker.published.clear()

    station.broker.come_back()
    station.live(4 * RETAINED_RETRY_BEATS)

    assert station.retained == RETAINED


def test_the_fault_tells_what_is_refused(station: Station) -> None:
    """A broker that is there and refuses is a fault, with its words."""
    station.connect()
    station.broker.refuses = lambda _topic: True
    before = station.publisher.fault
    station.publisher.state("READY")

    assert before == ""
    assert station.publisher.fault == f"refuses status: {REFUSED}"


def test_refused_history_pauses_until_the_next_connection(station: Station) -> None:
    """A refusal from the broker stops the drain for a while; a reconnect begins it at once."""
    station.connect()
    numbers = [station.keep(seq) for seq in (1, 2)]
    station.broker.refuses = lambda topic: topic == "history"

    sent = [station.drain(now_ns) for now_ns in (0, 1, FIRST_PAUSE_NS - 1)]
    station.broker.refuses = lambda _topic: False
    station.broker.lose()
    station.broker.come_back()

    assert sent == [numbers, [], []]
    assert station.drain(FIRST_PAUSE_NS - 1) == numbers
    assert len(station.broker.of("history")) == 2
