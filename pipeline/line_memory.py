"""What a gate must remember across its own restart, beside the results.

Alarms that nobody has acknowledged, the recipe in force, and the answers to
commands: a command that is delivered twice is answered twice, not done twice.
All in the ledger's database; all methods that write run in its transaction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge.commands import CommandResult
from pipeline.alarm import AlarmRecord
from pipeline.ledger_schema import insert_row
from pipeline.results import moment_of, timestamp

if TYPE_CHECKING:
    from sqlite_utils import Database

    from edge.commands import Command
    from pipeline.alarm import Transition
    from pipeline.results import Moment

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

    def answer(self, txn: str) -> CommandResult | None:
        """Return the answer that a command of this transaction has had; None if it is new."""
        row = self._db.execute(
            "select ok, code, detail from commands where txn = ?", [txn]
        ).fetchone()
        if row is None:
            return None
        return CommandResult(txn=txn, ok=bool(row[0]), code=row[1], detail=row[2])

    def keep_answer(self, verb: str, command: Command, result: CommandResult, now: Moment) -> None:
        """Keep a command with its answer."""
        row = {
            "txn": command.txn,
            "time": timestamp(now.utc),
            "verb": verb,
            "by": command.by,
            "body": command.model_dump_json(exclude={"txn", "by"}, exclude_none=True),
            "ok": int(result.ok),
            "code": result.code,
            "detail": result.detail,
        }
        insert_row(self._db, "commands", row, verb="insert or replace")

    def recipe(self, configured: str) -> str:
        """Return the recipe in force: the last command's, until the config says another one."""
        row = self._db.execute("select configured, in_force from recipe where id = 1").fetchone()
        return str(row[1]) if row is not None and row[0] == configured else configured

    def keep_recipe(self, configured: str, in_force: str) -> None:
        """Keep the recipe that a command has put in force."""
        row = {"id": 1, "configured": configured, "in_force": in_force}
        insert_row(self._db, "recipe", row, verb="insert or replace")
