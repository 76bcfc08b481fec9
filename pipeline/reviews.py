"""Reviews: what a part really was, stated by a person after its verdict.

A part may be reviewed again; every statement is kept and the latest counts.
The gate writes those that come on MQTT inside its own transaction; the command
line writes beside the gate, in one short transaction.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from pipeline.ledger import LedgerBusyError, LedgerError
from pipeline.ledger_schema import insert_row
from pipeline.results import timestamp

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from edge.commands import ReviewLabel

BUSY_S = 10.0
"""How long a review waits for the gate, which holds the ledger for milliseconds."""


def insert_review(
    db: Database, part: str, label: ReviewLabel, by: str, note: str, at: datetime
) -> None:
    """Write a review in the open transaction.

    Args:
        db: The ledger, open for writing.
        part: Id of a part that has its verdict.
        label: What it really was.
        by: Who says so.
        note: Why, or nothing.
        at: When, with a time zone.

    Raises:
        LedgerError: The part has no verdict; the message names it.
    """
    if db.execute("select 1 from parts where part_id = ? limit 1", [part]).fetchone() is None:
        msg = f"part {part}: no verdict in the ledger"
        raise LedgerError(msg)
    row = {"part_id": part, "label": label, "by": by, "at": timestamp(at), "note": note}
    insert_row(db, "reviews", row)


def add_review(
    path: Path,
    part: str,
    label: ReviewLabel,
    by: str,
    note: str,
    at: datetime,
    *,
    busy_s: float = BUSY_S,
) -> None:
    """Write a review into a ledger that a gate may be writing at the same time.

    Args:
        path: The ledger; it must exist.
        part: Id of a part that has its verdict.
        label: What it really was.
        by: Who says so.
        note: Why, or nothing.
        at: When, with a time zone.
        busy_s: How long to wait for whoever is writing.

    Raises:
        LedgerBusyError: Another program was writing all that time.
        LedgerError: No such file, not a ledger with reviews, or the part has
            no verdict.
    """
    if not path.is_file():
        msg = f"ledger {path}: no such file"
        raise LedgerError(msg)
    try:
        with closing(_open(path, busy_s)) as db:
            db.execute("begin immediate")
            insert_review(db, part, label, by, note, at)
            db.execute("commit")
    except sqlite3.Error as error:
        busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        msg = f"ledger {path}: {error}"
        raise (LedgerBusyError if busy else LedgerError)(msg) from error


def _open(path: Path, busy_s: float) -> Database:
    # mode=rw: a file that is gone by now is an error, not a new ledger without tables.
    uri = f"{path.resolve().as_uri()}?mode=rw"
    return Database(sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None))
