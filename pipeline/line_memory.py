"""What a gate must remember across its own restart, beside the results.

Alarms that nobody has acknowledged, the recipe in force, and the answers to
commands: a command that is delivered twice is answered twice, not done twice.
All in the ledger's database; all methods that write run in its transaction.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from edge.commands import CommandResult
from pipeline.alarm import AlarmBook, AlarmRecord
from pipeline.ledger_schema import insert_row
from pipeline.results import moment_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlite_utils import Database

    from edge.commands import Command
    from pipeline.alarm import Transition
    from pipeline.config_alarm import Alarm
    from pipeline.ledger import Ledger
    from pipeline.results import Moment

REPEAT_S = 600
"""How long the same txn is the same command: brokers repeat within seconds or after an outage."""
LATEST_OF_EACH = (
    "select * from alarms where id in (select max(id) from alarms group by name) order by name"
)


class LineMemory:
    """The tables ``alarms``, ``commands`` and ``recipe``."""

    def __init__(self, db: Database) -> None:
        """Work on the ledger's open database."""
        self._db = db

    def alarms(self) -> dict[str, AlarmRecord]:
        """Return what is known of each alarm, by name."""
        return {
            row["name"]: AlarmRecord(
                state=row["after"],
                since=moment_of(row["time"]),
                shelved_until=moment_of(row["shelved_until"]) if row["shelved_until"] else None,
                before=row["before"],
                kind=row["kind"],
            )
            for row in self._db.query(LATEST_OF_EACH)
        }

    def alarm_book(self, alarms: Sequence[Alarm], ledger: Ledger, now: Moment) -> AlarmBook:
        """Return the alarms as they were, with the parts that their conditions count."""
        book = AlarmBook(alarms, self.alarms())
        book.seed(
            (verdict, why, now.monotonic_ns - int((now.utc - decided).total_seconds() * 1e9))
            for verdict, why, decided in ledger.recent_parts(
                book.seed_parts, now.utc - timedelta(seconds=book.seed_s)
            )
        )
        return book

    def keep_transition(self, transition: Transition) -> None:
        """Keep one step of an alarm."""
        until = transition.shelved_until
        row = {
            "time": timestamp(transition.at),
            "name": transition.name,
            "kind": transition.kind,
            "before": transition.before,
            "after": transition.after,
            "by": transition.by,
            "note": transition.note,
            "detail": json.dumps(transition.detail),
            "shelved_until": timestamp(until) if until else None,
        }
        insert_row(self._db, "alarms", row)

    def answer(self, verb: str, command: Command, now: Moment) -> CommandResult | None:
        """Return the answer that this command has had; None if it is new.

        The number of another command of the last minutes is refused: whoever
        counts from one again must not be told that something was done.
        """
        row = self._db.execute(
            "select time, verb, by, body, ok, code, detail from commands where txn = ? "
            "order by id desc limit 1",
            [command.txn],
        ).fetchone()
        if row is None or abs((now.utc - moment_of(row[0])).total_seconds()) > REPEAT_S:
            return None
        if row[1:4] == (verb, command.by, _body(command)):
            return CommandResult(txn=command.txn, ok=bool(row[4]), code=row[5], detail=row[6])
        detail = f"{command.txn} was another command's txn at {row[0][11:19]} UTC"
        return CommandResult(txn=command.txn, ok=False, code="txn_used", detail=detail)

    def keep_answer(self, verb: str, command: Command, result: CommandResult, now: Moment) -> None:
        """Keep a command with its answer."""
        row = {
            "txn": command.txn,
            "time": timestamp(now.utc),
            "verb": verb,
            "by": command.by,
            "body": _body(command),
            "ok": int(result.ok),
            "code": result.code,
            "detail": result.detail,
        }
        insert_row(self._db, "commands", row)

    def recipe(self, configured: str) -> str:
        """Return the recipe in force: the last command's, until the config says another one."""
        row = self._db.execute("select configured, in_force from recipe where id = 1").fetchone()
        return str(row[1]) if row is not None and row[0] == configured else configured

    def keep_recipe(self, configured: str, in_force: str) -> None:
        """Keep the recipe that a command has put in force."""
        row = {"id": 1, "configured": configured, "in_force": in_force}
        insert_row(self._db, "recipe", row, verb="insert or replace")


def _body(command: Command) -> str:
    return command.model_dump_json(exclude={"txn", "by"}, exclude_none=True)
