"""Commands: done once, answered always, and a flood costs the line nothing."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from factories import moment

from edge.commands import COMMAND_LIMIT_BYTES, Command, RebirthCommand
from edge.contract import Topics
from edge.mqtt import Incoming
from pipeline import command_desk
from pipeline.command_desk import NOTED_AT_ONCE, WAITING_LIMIT, CommandDesk, Reply
from pipeline.ledger import Ledger
from pipeline.line_memory import REPEAT_S, LineMemory
from pipeline.results import LineIdentity, timestamp
from pipeline.scorer_link import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.commands import CommandResult
    from pipeline.results import Moment

TOPICS = Topics("musc", "site", "area", "line", "station")


class Verbs:
    """Does what a test says."""

    def __init__(self) -> None:
        """Begin with success."""
        self.done: list[Command] = []
        self.reply: Reply | None = Reply(ok=True, code="done")

    def execute(self, command: Command, _now: Moment) -> Reply | None:
        """Note the command."""
        self.done.append(command)
        return self.reply


class Rig:
    """A desk on a ledger of its own."""

    def __init__(self, path: Path) -> None:
        """Open it."""
        self.ledger = Ledger(path, "NORMAL", LineIdentity("91d0aabb", "f" * 16, 100))
        self.verbs = Verbs()
        self.wakeups = 0
        self.desk = self.new_desk()

    def new_desk(self) -> CommandDesk:
        """Return a desk, as after a restart of the gate."""
        memory = LineMemory(self.ledger.db)
        return CommandDesk(TOPICS, self.ledger, memory, self.wake, now_ns=0)

    def wake(self) -> None:
        """Count how often the gate was woken."""
        self.wakeups += 1

    def send(self, verb: str, payload: bytes, *, retained: bool = False) -> None:
        """Let a message arrive."""
        self.desk.receive(Incoming(TOPICS.command(verb), payload, retained, len(payload)))

    def take(self, ms: float = 0.0) -> list[CommandResult]:
        """Let the gate take what has arrived."""
        with self.ledger.transaction():
            return self.desk.take(self.verbs, moment(ms))

    def events(self) -> list[dict[str, object]]:
        """Return the details of all events."""
        return [json.loads(row["detail"]) for row in self.ledger.db.table("events").rows]


def body(txn: str = "t1", **fields: object) -> bytes:
    """Return a command."""
    return json.dumps({"txn": txn, "by": "anna", **fields}).encode()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return a desk."""
    rig = Rig(tmp_path / "ledger.db")
    yield rig
    rig.ledger.close()


def test_command_is_done_and_answered(rig: Rig) -> None:
    """A command wakes the gate, is done once and kept with who gave it."""
    rig.send("rebirth", body())

    (result,) = rig.take()

    assert (result.txn, result.ok, result.code) == ("t1", True, "done")
    assert rig.verbs.done == [RebirthCommand(txn="t1", by="anna")]
    assert rig.wakeups == 1
    (row,) = rig.ledger.db.table("commands").rows
    assert (row["verb"], row["by"], row["ok"], row["body"]) == ("rebirth", "anna", 1, "{}")


def test_delivered_again_it_is_answered_again(rig: Rig) -> None:
    """The same transaction is not done twice, not even by another gate."""
    rig.send("rebirth", body())
    (first,) = rig.take()
    rig.desk = rig.new_desk()
    rig.send("rebirth", body())

    (second,) = rig.take()

    assert second == first
    assert len(rig.verbs.done) == 1


def test_number_of_another_command_is_refused(rig: Rig) -> None:
    """Whoever counts from one again is told so, and after some minutes is a newcomer."""
    rig.send("rebirth", body())
    rig.take()
    rig.send("ack", body(alarm="*"))
    (used,) = rig.take()
    old = timestamp(moment().utc - timedelta(seconds=REPEAT_S + 1))
    rig.ledger.db.execute("update commands set time = ?", [old])
    rig.send("ack", body(alarm="*"))
    (new,) = rig.take()

    assert (used.ok, used.code) == (False, "txn_used")
    assert new.ok
    assert len(rig.verbs.done) == 2


def test_answer_that_comes_later(rig: Rig) -> None:
    """While the scorer has not answered nothing is said; then its answer is."""
    rig.verbs.reply = None
    rig.send("reset", body())
    during = rig.take()
    rig.send("reset", body())
    again = rig.take()

    answer = Answer("t1", ok=False, code="scorer_down", detail="gone")
    result = rig.desk.finish(answer, moment())

    assert during == again == []
    assert result is not None
    assert (result.txn, result.ok, result.code) == ("t1", False, "scorer_down")
    assert len(rig.verbs.done) == 1
    assert rig.desk.finish(answer, moment()) is None


@pytest.mark.parametrize(
    ("verb", "payload", "code", "txn"),
    [
        ("explode", body(), "unknown_verb", "t1"),
        ("ack", b"{", "not_json", ""),
        ("ack", body(), "bad_field", "t1"),
        ("ack", b"x" * (COMMAND_LIMIT_BYTES + 1), "too_long", ""),
    ],
)
def test_what_is_no_command_gets_an_error(
    rig: Rig, verb: str, payload: bytes, code: str, txn: str
) -> None:
    """Unknown and malformed commands are answered and become an event; nothing is done."""
    rig.send(verb, payload)

    (result,) = rig.take()

    assert (result.ok, result.code, result.txn) == (False, code, txn)
    assert [event["code"] for event in rig.events()] == [code]
    assert rig.verbs.done == []


def test_retained_command_is_refused(rig: Rig) -> None:
    """A retained command would come with every connect; it is never done."""
    rig.send("rebirth", body(), retained=True)

    (result,) = rig.take()

    assert not result.ok
    assert result.code == "retained"
    assert rig.verbs.done == []


def test_payload_that_was_not_read_is_too_long(rig: Rig) -> None:
    """A message of which only the size is known is refused with it."""
    rig.desk.receive(Incoming(TOPICS.command("ack"), b"", retained=False, size=10_000_000))

    (result,) = rig.take()

    assert result.code == "too_long"
    assert "10000000" in result.detail


def test_own_results_are_not_answered(rig: Rig) -> None:
    """What the box says on cmd/result comes back to it, and is no command."""
    rig.send("result", b'{"txn":"t1","ok":true,"code":"done"}')

    assert rig.take() == []
    assert rig.wakeups == 0


def test_flood_is_counted_and_costs_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Of 100,000 malformed commands a few are noted, all are counted, and the line goes on."""
    sent = 100_000
    with caplog.at_level(logging.WARNING):
        for _ in range(sent):
            rig.send("ack", b"{")
        answered = len(rig.take())
        rig.send("ack", b"{")
        rig.take(ms=60_000)

    noted = [event for event in rig.events() if event["code"] == "not_json"]
    assert answered == command_desk.AT_ONCE
    assert len(noted) == len(caplog.records) == NOTED_AT_ONCE + 1
    others = sum(int(str(event.get("others_not_noted", 0))) for event in rig.events())
    assert others + len(noted) == sent + 1
    assert sent > WAITING_LIMIT
