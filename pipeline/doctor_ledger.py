"""Checks of the ledger: whole, and writable; nothing is left in it.

What is written to see whether it can be is rolled back. A ledger that does not
exist yet is not made.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.doctor import SAME_USER, Check, Finding, fail, ok, skipped
from pipeline.doctor_disk import size, unwritable
from pipeline.doctor_running import what_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline.config import Config

INTACT, WRITE = "ledger.intact", "ledger.write"
BUSY_S = 1.0
"""A gate holds the write lock for milliseconds."""
SEARCH_S, QUICK_SEARCH_S = 20.0, 2.0
"""For the search of the whole file; about a gigabyte in ten seconds."""
STEPS = 10_000
"""Steps of SQLite's machine between two looks at the clock, well under a millisecond."""
MAKE = "create table doctor_was_here (it integer)"


def ledger_checks(
    config: Config, *, quick: bool = False, clock_s: Callable[[], float] = time.monotonic
) -> list[Check]:
    """Return the checks of the ledger, in the order in which they build upon each other."""
    # A long search reads the whole disk cache away from under a line that runs.
    search_s = QUICK_SEARCH_S if quick or what_runs(config).anything else SEARCH_S
    return [
        Check(INTACT, lambda: _intact(config.ledger.path, search_s, clock_s), search_s + 10.0),
        Check(WRITE, lambda: _write(config), needs=(INTACT,)),
    ]


def _intact(path: Path, search_s: float, clock_s: Callable[[], float]) -> Iterator[Finding]:
    if not path.is_file() or path.stat().st_size == 0:
        yield ok(INTACT, str(path), "will be made at the first start")
        return
    figure = f"{path}, {size(path.stat().st_size)}"
    until_s = clock_s() + search_s
    try:
        with closing(_connect(path)) as db:
            db.execute("select 1 from verdicts limit 1")
            db.set_progress_handler(lambda: clock_s() > until_s, STEPS)
            said = db.execute("pragma quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        yield _not_searched(path, figure, str(error), search_s)
        return
    except sqlite3.DatabaseError as error:
        yield _damaged(path, figure, str(error))
        return
    yield ok(INTACT, figure) if said == "ok" else _damaged(path, figure, str(said))


def _not_searched(path: Path, figure: str, why: str, search_s: float) -> Finding:
    """Return what stopped the search: its limit, or another kind of file."""
    if "interrupted" in why:
        return ok(INTACT, figure, f"no fault within the {search_s:g} s that it was searched")
    if "unable to open" in why:
        return fail(INTACT, figure, why, SAME_USER)
    if "no such table" in why:
        return fail(INTACT, figure, f"no ledger: {why}", "Give another file in ledger.path.")
    return _damaged(path, figure, why)


def _damaged(path: Path, figure: str, why: str) -> Finding:
    beside = path.with_name(f"{path.name}.damaged")
    return fail(
        INTACT, figure, why.replace("\n", " "),
        f"Stop the line, then run `mv {path} {beside} && sqlite3 {beside} .recover | "
        f"sqlite3 {path}`.",
    )  # fmt: skip


def _write(config: Config) -> Iterator[Finding]:
    path = config.ledger.path
    why = unwritable(path.parent)
    if not why and path.exists():
        why = _unwritable_ledger(path)
    if not why:
        yield ok(WRITE, str(path), what_runs(config).who)
        return
    if "locked" in why and (who := what_runs(config).who):
        yield skipped(WRITE, f"{who} and writes it")
        return
    remedy = f"Make {path} and its folder writable for this user, or give another ledger.path."
    if "locked" in why:
        remedy = f"Close the program that has {path} open (`fuser -v {path}` shows it)."
    yield fail(WRITE, str(path), why, remedy)


def _unwritable_ledger(path: Path) -> str:
    """Return why the ledger cannot be written; what is tried is rolled back."""
    try:
        with closing(_connect(path)) as db:
            # A read-only file takes even an immediate transaction, until something is written.
            db.execute("begin immediate")
            try:
                db.execute(MAKE)
            finally:
                db.execute("rollback")
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file as it is; unlike by default, it is not made where it is missing."""
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_S, isolation_level=None
    )
