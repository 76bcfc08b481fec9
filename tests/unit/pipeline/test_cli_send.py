"""``send`` as a user runs it: a command on the broker, and what the line answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer
from brokers import Inbox, open_sessions
from typer.testing import CliRunner

from edge.commands import CommandResult, parse_command
from edge.contract import Topics
from pipeline import cli_send
from pipeline.cli_send import NoAnswerError, command_payload, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

    from edge.mqtt import BrokerSession, Incoming

TOPICS = Topics("musc", "site", "area", "line", "station")
CONFIG = """[[camera]]
id = "c1"
kind = "synthetic"
interval_ms = 100
[mqtt]
embedded = true
port = {port}
"""
PIN = ("pin", "cam=c1", "boot=7f3a9c01b2d4e5f6", "seq=17")
BY = "anna"


@pytest.fixture
def config(tmp_path: Path, embedded_broker_port: int) -> Path:
    """A line's config at the test's broker."""
    path = tmp_path / "line.toml"
    path.write_text(CONFIG.format(port=embedded_broker_port))
    return path


class Box:
    """What stands for the gate: it answers what the test says, from the delivery it says."""

    def __init__(self, session: BrokerSession) -> None:
        """Listen for commands."""
        self.session = session
        self.commands: list[tuple[str, bytes]] = []
        self.answer_from = 1
        self.ok = True
        Inbox(session).subscribe(TOPICS.command("+"), 1)
        session.on_message = self._take

    def _take(self, message: Incoming) -> None:
        verb = TOPICS.verb(message.topic)
        if verb is None:
            return
        self.commands.append((verb, message.payload))
        if len(self.commands) < self.answer_from:
            return
        command = parse_command(verb, message.payload)
        code = "done" if self.ok else "unknown_frame"
        other = CommandResult(txn="somebody-else", ok=False, code="bad_field")
        answer = CommandResult(txn=command.txn, ok=self.ok, code=code, detail="as told")
        for said in (b"no answer at all", other.payload(), answer.payload()):
            self.session.publish(TOPICS.command("result"), said, qos=1)


@pytest.fixture
def box(embedded_broker_port: int) -> Iterator[Box]:
    """A gate at the broker."""
    with open_sessions() as connect:
        yield Box(connect(embedded_broker_port))


def run(config: Path, *words: str) -> Result:
    """Run the command."""
    app = typer.Typer()
    app.command()(send)
    return CliRunner().invoke(app, [*words, "--config", str(config), "--by", BY])


def test_answer_is_printed(config: Path, box: Box) -> None:
    """The command arrives as it was given, and its own answer ends it."""
    done = run(config, *PIN, "--json")

    ((verb, payload),) = box.commands
    body = json.loads(payload)
    answer = json.loads(done.stdout)
    assert (verb, body["seq"], body["by"]) == ("pin", 17, BY)
    assert (answer["ok"], answer["txn"], answer["detail"]) == (True, body["txn"], "as told")
    assert done.exit_code == 0


def test_refused_command_is_exit_1(config: Path, box: Box) -> None:
    """What the line cannot do is said with its code."""
    box.ok = False

    done = run(config, *PIN)

    assert done.exit_code == 1
    assert "unknown_frame" in done.stdout


def test_command_is_sent_again_under_its_txn(
    config: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that was not there yet hears it later, as one and the same command."""
    monkeypatch.setattr(cli_send, "AGAIN_S", 0.1)
    box.answer_from = 3

    done = run(config, "release", "what=pins")

    assert done.exit_code == 0
    assert len({payload for _, payload in box.commands}) == 1


def test_nobody_answers(config: Path) -> None:
    """After its time the command says what it waited for."""
    done = run(config, *PIN, "--wait-s", "0.2")

    assert isinstance(done.exception, NoAnswerError)
    assert "no answer within 0.2 s at musc/v1/site/area/line/station/cmd/result" in str(
        done.exception
    )


@pytest.mark.parametrize(
    ("verb", "fields", "words"),
    [
        ("pint", [], "there is no verb 'pint'"),
        ("pin", ["cam=c1"], "boot is missing"),
        ("pin", ["cam=c1", "boot=7f3a9c01b2d4e5f6", "seq=x"], "seq = 'x'"),
        ("reset", ["camera=c1"], "no field 'camera'"),
        ("reset", ["cam"], "'cam': must be NAME=VALUE"),
        ("reset", ["by=otto"], "'by=otto': must be NAME=VALUE"),
        ("reset", ["cam=c1", "cam=c2"], "'cam=c2': must be NAME=VALUE, each name once"),
    ],
)
def test_what_is_no_command_is_not_sent(verb: str, fields: list[str], words: str) -> None:
    """The field and its limit are named, before any broker is asked."""
    with pytest.raises(typer.BadParameter) as caught:
        command_payload(verb, fields, "t1", BY)

    assert words in str(caught.value)


def test_numbers_and_words_are_told_apart() -> None:
    """A part's id of digits alone stays a word."""
    part = json.loads(command_payload("part", ["part=123"], "t1", BY))
    shelve = json.loads(command_payload("shelve", ["alarm=*", "minutes=5"], "t2", BY))

    assert (part["part"], shelve["minutes"]) == ("123", 5)
