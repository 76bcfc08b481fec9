"""``musc-edge send``: give the line a command, and wait for its answer."""

from __future__ import annotations

import contextlib
import getpass
import json
import queue
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from pydantic import ValidationError

from edge.errors import LineError
from pipeline.cli_output import JsonOption, log_to_stderr, print_summary
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from edge.commands import CommandResult
    from edge.mqtt import Incoming
    from pipeline.config import Config

AGAIN_S = 2.0
"""A command without an answer is sent again: it is done once, however often it comes."""


class NoAnswerError(LineError):
    """Nobody has answered a command; the message says for how long, and what the broker said."""


def send(
    verb: Annotated[str, typer.Argument(help="The command: pin, release, reset, ack...")],
    fields: Annotated[
        list[str] | None, typer.Argument(help="What it says, as NAME=VALUE: cam=c1 seq=17.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", help="Config file of the line.")] = Path(
        "config.toml"
    ),
    *,
    by: Annotated[str, typer.Option(help="Who orders it; without it the user's name.")] = "",
    wait_s: Annotated[float, typer.Option(min=0.1, help="How long to wait for the answer.")] = 10.0,
    json_line: JsonOption = False,
) -> None:
    """Give the line a command on its broker, and wait for the answer.

    As `musc-edge send pin cam=c1 boot=7f3a9c01b2d4e5f6 seq=18231`, or
    `musc-edge send release what=pins`; README lists the commands, `musc-edge
    schema cmd-pin` prints what one takes. Exit code 0 where it is done, 1 where
    it is refused or nobody answers, 2 where it is no command.
    """
    txn = uuid4().hex
    payload = command_payload(verb, fields or [], txn, by or getpass.getuser())
    settings = load_config(config)
    log_to_stderr("ERROR", "send")
    answer = ask(settings, verb, payload, txn, wait_s)
    print_summary(answer.model_dump(), as_json=json_line)
    if not answer.ok:
        raise typer.Exit(1)


def command_payload(verb: str, fields: list[str], txn: str, by: str) -> bytes:
    """Return the message of a command.

    Raises:
        typer.BadParameter: No such command, or a field that it has not or does not take.
    """
    from edge.commands import COMMANDS, CommandError, parse_command

    known = COMMANDS[verb].model_fields if verb in COMMANDS else {}
    body: dict[str, str | int] = {"txn": txn, "by": by}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name in body:
            msg = f"{field!r}: must be NAME=VALUE, each name once, txn and by left out"
            raise typer.BadParameter(msg)
        number = name in known and known[name].annotation is int
        body[name] = int(value) if number and value.isdecimal() else value
    payload = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
    try:
        parse_command(verb, payload)
    except CommandError as error:
        raise typer.BadParameter(error.detail) from error
    return payload


def ask(config: Config, verb: str, payload: bytes, txn: str, wait_s: float) -> CommandResult:
    """Send a command and return what became of it.

    Raises:
        BrokerError: The broker cannot be reached or refuses.
        NoAnswerError: No answer within ``wait_s``.
    """
    from edge.commands import CommandResult
    from edge.contract import Topics
    from edge.mqtt import BrokerSession
    from pipeline.broker_login import broker_settings

    answers: queue.SimpleQueue[CommandResult] = queue.SimpleQueue()

    def receive(message: Incoming) -> None:
        with contextlib.suppress(ValidationError):
            answer = CommandResult.model_validate_json(message.payload)
            if answer.txn == txn:
                answers.put(answer)

    line = config.line
    topics = Topics(config.mqtt.prefix, line.site, line.area, line.line, line.station)
    session = BrokerSession(broker_settings(config.mqtt, f"send-{txn[:8]}"))
    session.on_message = receive
    session.subscribe(topics.command("result"), qos=1)
    session.connect()
    until = time.monotonic() + wait_s
    try:
        while (left := until - time.monotonic()) > 0:
            session.publish(topics.command(verb), payload, qos=1)
            try:
                return answers.get(timeout=min(AGAIN_S, left))
            except queue.Empty:
                continue
        why = session.refusal or session.fault or "is the line running?"
    finally:
        session.close()
    msg = f"{verb}: no answer within {wait_s:g} s at {topics.command('result')}: {why}"
    raise NoAnswerError(msg)
