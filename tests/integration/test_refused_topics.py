"""A broker whose access list forgets the box: said once, and all comes after a repair."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
from typing import TYPE_CHECKING

import pytest
from brokers import LIMIT_S, Inbox, acl_lines, login_lines, start_mosquitto, wait_until
from factories import announcement, moment
from sqlite_utils import Database

from edge.contract import Topics
from edge.embedded_broker import HOST
from edge.mqtt import BrokerSession, BrokerSettings
from pipeline.config_plant import OutboxSettings
from pipeline.ledger_schema import migrations
from pipeline.outbox import BURST, FIRST_PAUSE_NS, Outbox
from pipeline.publisher import Publisher
from pipeline.results import FrameResult, LineIdentity

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from edge.mqtt import Protocol

TOPICS = Topics("musc", "site", "area", "line", "station")
RETAINED = [TOPICS.under("alarm/disk_low"), TOPICS.camera("c1"), TOPICS.under("status")]
"""In the order of the box, the status last."""
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
        """Prepare it, with an alarm, a camera and a state to tell of."""
        self.outbox = Outbox(db, OutboxSettings(), 0)
        identity = LineIdentity("91d0", "f" * 16, 500)
        self.publisher = Publisher(plant.settings("box", protocol), TOPICS, identity)
        for seq in range(1, KEPT + 1):
            announced, decided_at = announcement(seq), moment().utc
            late = FrameResult(announced, "NO_RESULT", "late", "", "READY", "r", decided_at, 500)
            self.outbox.put("verdict", self.publisher.frame_payload(late), moment())
        self.publisher.alarm("disk_low", "NORMAL")
        self.publisher.camera("c1", "ONLINE")

    @property
    def quiet(self) -> bool:
        """Whether the broker has answered everything."""
        return not self.publisher._owes()

    @property
    def said(self) -> int:
        """How many retained messages were numbered so far."""
        return -self.publisher._last_number

    def work(self, now_ns: int) -> int:
        """Do a pass, and wait for the broker's answers; return how many went to history."""
        due = self.outbox.due(now_ns)
        for kept in due:
            self.publisher.history(kept, self.outbox)
        self.publisher.heartbeat()
        wait_until(lambda: self.quiet)
        self.publisher.settle(self.outbox, now_ns)
        return len(due)


@contextlib.contextmanager
def open_box(plant: Plant, db: Database, protocol: Protocol) -> Iterator[Box]:
    """Yield a box whose broker has answered its first words; it is closed at the end."""
    box = Box(plant, db, protocol)
    try:
        before = box.said
        box.publisher.start(lambda _incoming: None)
        # Connected alone is too early: what it says then is said in the session's thread.
        wait_until(lambda: box.said >= before + len(RETAINED) and box.quiet)
        yield box
    finally:
        box.publisher.close(LIMIT_S)


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


def retained(auditor: Inbox) -> list[str]:
    """Return the retained topics that were passed on, in order."""
    return [topic for topic, _ in auditor.messages if topic in RETAINED]


def test_a_repaired_access_list_brings_everything(
    plant: Plant, auditor: Inbox, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused, the box says so once and waits; allowed, all of it comes, the status last."""
    caplog.set_level(logging.INFO)
    with open_box(plant, db, "5") as box:
        refused = [box.work(0), *(box.work(FIRST_PAUSE_NS - 1) for _ in range(20))]
        fault, heard = box.publisher.fault, [*auditor.messages]
        plant.repair()
        pauses = itertools.count(1)

        def recovered() -> bool:
            box.work(next(pauses) * FIRST_PAUSE_NS)
            whole = len(auditor.payloads(TOPICS.under("history"))) == KEPT
            return whole and set(retained(auditor)) == set(RETAINED) and not box.publisher.fault

        wait_until(recovered)
        wait_until(lambda: retained(auditor)[-1] == RETAINED[-1])
        box.outbox.settle(moment())

    assert (refused[0], sum(refused[1:]), heard) == (BURST, 0, [])
    assert refusals(caplog) == [WARNING.format(RETAINED[0])]
    assert fault.startswith(f"refuses {TOPICS.root}/")
    assert box.outbox.waiting == 0


def test_mqtt_3_is_not_told(plant: Plant, db: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A 3.1.1 broker confirms what it throws away: the box cannot know, and says nothing."""
    caplog.set_level(logging.INFO)
    with open_box(plant, db, "3.1.1") as box:
        sent, fault = box.work(0), box.publisher.fault
        box.outbox.settle(moment())

    assert (sent, box.outbox.waiting) == (BURST, KEPT - BURST)
    assert (refusals(caplog), fault) == ([], "")
