"""Commands from MQTT: bounded, read, done once, answered.

A command is done inside the transaction of one pass and answered after its
commit. Delivered again, it gets the answer that it had. Whatever is no command
gets an error answer and an event, until there are too many of them: a flood is
counted, noted once in a while, and costs the line nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edge.commands import CommandError, CommandResult, parse_command
from pipeline.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.commands import Command
    from edge.contract import Topics
    from edge.mqtt import Incoming
    from pipeline.ledger import Ledger
    from pipeline.line_memory import LineMemory
    from pipeline.results import Moment
    from pipeline.scorer_link import Answer

log = logging.getLogger(__name__)

WAITING_LIMIT = 256
AT_ONCE, PER_S = 100, 50.0
"""Commands that are taken; part messages of a fast belt are among them."""
NOTED_AT_ONCE, NOTED_PER_S = 20, 0.2
"""Refusals that are logged and become an event each; the others are counted in the next one."""


class Reply(NamedTuple):
    """What became of a command, before it is anybody's answer."""

    ok: bool
    code: str
    detail: str = ""


class Verbs(Protocol):
    """Whoever does what commands say."""

    def execute(self, command: Command, now: Moment) -> Reply | None:
        """Do it, in the open transaction; None where the answer comes later."""
        ...


class CommandDesk:
    """Takes commands from the broker's thread and has them done in the gate's."""

    def __init__(
        self,
        topics: Topics,
        ledger: Ledger,
        memory: LineMemory,
        wakeup: Callable[[], None],
        now_ns: int,
    ) -> None:
        """Begin with no command waiting."""
        self._topics = topics
        self._ledger = ledger
        self._memory = memory
        self._wakeup = wakeup
        self._lock = threading.Lock()
        self._waiting: deque[Incoming] = deque()
        self._dropped = 0
        self._taken = Allowance(AT_ONCE, PER_S, now_ns)
        self._noted = Allowance(NOTED_AT_ONCE, NOTED_PER_S, now_ns)
        self._not_noted = 0
        self._answered_later: dict[str, tuple[str, Command]] = {}

    def receive(self, incoming: Incoming) -> None:
        """Take a message; called in the broker's thread."""
        if self._topics.verb(incoming.topic) is None or not incoming.size:
            return  # our own results; and what deletes a retained message is no command
        with self._lock:
            if len(self._waiting) >= WAITING_LIMIT:
                self._dropped += 1
                return
            self._waiting.append(incoming)
        self._wakeup()

    def take(self, verbs: Verbs, now: Moment) -> list[CommandResult]:
        """Have the waiting commands done; return the answers. Must run in a transaction."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            dropped, self._dropped = self._dropped, 0
        results: list[CommandResult] = []
        for incoming in waiting:
            if self._taken.spend(now.monotonic_ns):
                result = self._one(incoming, verbs, now)
                results += [result] if result is not None else []
            else:
                dropped += 1
        if dropped:
            self._note("flood", f"{dropped} commands were not read", now, count=dropped)
        return results

    def finish(self, answer: Answer, now: Moment) -> CommandResult | None:
        """Return the answer of a command whose outcome came later; None if nobody waits."""
        verb, command = self._answered_later.pop(answer.txn, ("", None))
        if command is None:
            return None
        if answer.ok:
            detail = {"by": command.by, "txn": command.txn}
            self._ledger.add_event(now.utc, verb, getattr(command, "cam", None), detail)
        return self._answer(verb, command, Reply(answer.ok, answer.code, answer.detail), now)

    def _one(self, incoming: Incoming, verbs: Verbs, now: Moment) -> CommandResult | None:
        verb = self._topics.verb(incoming.topic) or ""
        try:
            command = _read(verb, incoming)
        except CommandError as error:
            self._note(error.code, f"cmd/{verb[:32]}: {error.detail}", now)
            return CommandResult(txn=error.txn, ok=False, code=error.code, detail=error.detail)
        if command.txn in self._answered_later:
            return None
        known = self._memory.answer(verb, command, now)
        if known is not None:
            return known
        reply = verbs.execute(command, now)
        if reply is None:
            self._answered_later[command.txn] = verb, command
            return None
        return self._answer(verb, command, reply, now)

    def _answer(self, verb: str, command: Command, reply: Reply, now: Moment) -> CommandResult:
        result = CommandResult(txn=command.txn, ok=reply.ok, code=reply.code, detail=reply.detail)
        self._memory.keep_answer(verb, command, result, now)
        if not reply.ok:
            self._note(reply.code, f"cmd/{verb} by {command.by}: {reply.detail}", now)
        return result

    def _note(self, code: str, detail: str, now: Moment, count: int = 1) -> None:
        if not self._noted.spend(now.monotonic_ns):
            self._not_noted += count
            return
        log.warning("command refused, %s: %s", code, detail)
        event: dict[str, object] = {"code": code, "detail": detail}
        if self._not_noted:
            event["others_not_noted"] = self._not_noted
            self._not_noted = 0
        self._ledger.add_event(now.utc, "command_refused", None, event)


def _read(verb: str, incoming: Incoming) -> Command:
    """Return the command of a message.

    Raises:
        CommandError: It is none, is too long, or was retained.
    """
    if incoming.size > len(incoming.payload):
        detail = f"the message has {incoming.size} bytes"
        raise CommandError(code="too_long", detail=detail, txn="")
    command = parse_command(verb, incoming.payload)
    if incoming.retained:
        # The broker would deliver it after every connect, for ever.
        detail = "a retained command is not done; delete it with an empty retained message"
        raise CommandError(code="retained", detail=detail, txn=command.txn)
    return command
