"""A broker whose access list forgets the box: said once, and all comes after a repair."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import pytest
from brokers import LIMIT_S, Inbox, acl_lines, login_lines, start_mosquitto, wait_until
from factories import moment
from sqlite_utils import Database

from edge.contract import Topics
from edge.embedded_broker import HOST
from edge.mqtt import BrokerSession, BrokerSettings
from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import FIRST_PAUSE_NS, Outbox
from pipeline.publisher import Publisher
from pipeline.results import LineIdentity

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from edge.mqtt import Protocol

TOPICS = Topics("musc", "site", "area", "line", "station")
KEPT = 31
NOBODY = ("user auditor", "topic read #")
ALLOWED = ("user box", f"topic write {TOPICS.root}/#", *NOBODY)
WARNING = (
    "MQTT broker refuses {}: Not authorized; does its access list allow user box to write there?"
)


class Plant:
    """A mosquitto whose access list can be repaired while it runs."""

    def __init__(self, program: str, folder: Path) -> None:
        """Start it; the box has a password and no rights."""
        self._folder = folder
        logins = login_lines(folder, box="xob", auditor="rotidua")
        self.process: subprocess.Popen[bytes]
        self.process, self.port = start_mosquitto(
            program, folder, "allow_anonymous false", *logins, *acl_lines(folder, *NOBODY)
        )

    def settings(self, user: str, protocol: Protocol) -> BrokerSettings:
        """Return the login of a user."""
        return BrokerSettings(HOST, self.port, protocol, user, user, user[::-1])

    def repair(self) -> None:
        """Allow the box its root, and have the broker read that."""
        acl_lines(self._folder, *ALLOWED)
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def plant(mosquitto: str, tmp_path: Path) -> Iterator[Plant]:
    """A plant's broker; it is stopped after the test."""
    started = Plant(mosquitto, tmp_path)
    yield started
    started.process.terminate()
    started.process.wait(LIMIT_S)


@pytest.fixture
def auditor(plant: Plant) -> Iterator[Inbox]:
    """Hear everything that the broker passes on."""
    session = BrokerSession(plant.settings("auditor", "5"))
    inbox = Inbox(session)
    session.subscribe("#", 1)
    session.connect(LIMIT_S)
    yield inbox
    session.close()


class Box:
    """A publisher with history to send; the test is its clock."""

    def __init__(self, plant: Plant, db: Database, protocol: Protocol) -> None:
        """Connect, with an alarm, a camera and a state to tell of."""
        self.outbox = Outbox(db, OutboxSettings(), 0)
        for _ in range(KEPT):
            self.outbox.put("part", b'{"v":1}', moment())
        identity = LineIdentity("91d0", "f" * 16, 500)
        self.publisher = Publisher(plant.settings("box", protocol), TOPICS, identity)
        self.publisher.alarm("disk_low", "NORMAL")
        self.publisher.camera("c1", "ONLINE")
        self.publisher.start(lambda _incoming: None)
        wait_until(lambda: self.publisher.connected and self.quiet)

    @property
    def quiet(self) -> bool:
        """Whether the broker has answered everything."""
        return not self.publisher._owes()

    def work(self, now_ns: int) -> int:
        """Do a pass, and wait for the broker's answers; return how many went to history."""
        due = self.outbox.due(now_ns)
        for kept in due:
            self.publisher.history(kept, self.outbox)
        self.publisher.heartbeat()
        wait_until(lambda: self.quiet)
        self.publisher.settle(self.outbox, now_ns)
        return len(due)


@pytest.fixture
def db() -> Iterator[Database]:
    """Return an empty ledger in memory."""
    db = Database(memory=True)
    migrations.apply(db)
    yield db
    db.close()


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of refusals."""
    said = [record.getMessage() for record in caplog.records]
    return [line for line in said if "refuses" in line]


def test_a_repaired_access_list_brings_everything(
    plant: Plant, auditor: Inbox, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, the box says so once and waits; allowed, history and retained topics all come."""
    caplog.set_level(logging.INFO)
    box = Box(plant, db, "5")
    refused = [box.work(0), *(box.work(FIRST_PAUSE_NS - 1) for _ in range(20))]
    fault = box.publisher.fault

    plant.repair()
    now_ns, history = 0, TOPICS.under("history/part")

    def recovered() -> bool:
        nonlocal now_ns
        now_ns += FIRST_PAUSE_NS
        box.work(now_ns)
        return box.publisher.fault == "" and len(auditor.payloads(history)) >= KEPT

    wait_until(recovered)
    box.outbox.settle(moment())
    box.publisher.close(LIMIT_S)

    first = TOPICS.under("alarm/disk_low")
    assert (refused[0], sum(refused[1:])) == (20, 0)
    assert refusals(caplog) == [WARNING.format(first)]
    assert fault.startswith(f"refuses {TOPICS.root}/")
    assert box.outbox.waiting == 0
    retained = [topic for topic, _ in auditor.messages if "history" not in topic]
    ours = [topic for topic in retained if not topic.endswith("heartbeat")]
    status = TOPICS.under("status")
    assert ours[:3] == [first, TOPICS.camera("c1"), status]


def test_mqtt_3_is_not_told(plant: Plant, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A 3.1.1 broker confirms what it throws away: the box cannot know, and says nothing."""
    caplog.set_level(logging.INFO)
    box = Box(plant, db, "3.1.1")

    sent = box.work(0)
    box.outbox.settle(moment())
    box.publisher.close(LIMIT_S)

    assert (sent, box.outbox.waiting) == (20, KEPT - 20)
    assert (refusals(caplog), box.publisher.fault) == ([], "closed")
