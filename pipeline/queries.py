"""Questions to the ledger: results, events, alarms, reviews, and whether every frame has a result.

Every answer is the last rows, the oldest of them first, as the ledger has them.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypedDict

from edge.clock import Clock, SystemClock
from edge.counter import read_count
from edge.frame import Announcement
from pipeline.ledger import LedgerError, open_for_reading
from pipeline.results import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlite_utils import Database

SHOWN = (
    "camera", "seq", "part_id", "captured_at", "verdict", "reason", "score", "threshold",
    "window_n", "latency_ms",
)  # fmt: skip
"""What a table of results has; --json has everything."""
EVENTS_SHOWN = ("time", "kind", "camera", "detail")
ALARMS_SHOWN = ("time", "name", "before", "after", "by", "note", "detail")
REVIEWS_SHOWN = ("at", "part_id", "label", "by", "note")
LAST_FRAMES = "captured_at desc, camera, seq desc"
MOMENTS = {"time", "at"}
"""Columns of rows that may be years apart: a table has their date too."""


ATTEMPTS, RETRY_S = 20, 0.05
"""How long the last counted frames may take to be in the ledger."""
OPEN_IN_TIME = "open (in time)"
OPEN_GRACE_NS = 1_000_000_000
"""From the deadline to the row that says so."""


class AuditLine(TypedDict):
    """One camera's account."""

    camera: str
    counted: int
    """Triggers by ingest's durable counter since this ledger knows the camera."""
    rows: int
    results: dict[str, int]
    """PASS, FAIL, and NO_RESULT by reason; rows without a result as `open`, or `open (in time)`."""
    balanced: bool
    """Whether each trigger has exactly one result."""


def latest(
    ledger: Path, *, limit: int, verdict: str | None = None, part: str | None = None
) -> list[dict[str, Any]]:
    """Return the last ``limit`` frames, oldest first.

    Raises:
        LedgerError: There is no such file.
    """
    wanted = {"verdict =": verdict, "part_id =": part}
    return _last(ledger, "verdicts", wanted, LAST_FRAMES, limit)


def latest_images(
    ledger: Path, *, limit: int, verdict: str | None = None, part: str | None = None
) -> Iterator[tuple[Announcement, str | None]]:
    """Yield the last ``limit`` frames, the last first, each with its image.

    An image is its path below the evidence folder, None where none was kept.

    Raises:
        LedgerError: There is no such file.
    """
    columns = [*Announcement.model_fields, "evidence"]
    wanted = {"verdict =": verdict, "part_id =": part}
    query, values = _selection(columns, "verdicts", wanted, LAST_FRAMES, limit)
    with closing(open_for_reading(ledger)) as db:
        for row in db.query(query, values):
            image = row.pop("evidence")
            yield Announcement.model_validate(row), image


def events(
    ledger: Path, *, limit: int, kind: str | None = None, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Return the last ``limit`` events, oldest first, each with its detail as an object.

    Args:
        ledger: The file.
        limit: Rows at most.
        kind: Only events of this kind.
        since: Only events at or after this moment, which has a time zone.

    Raises:
        LedgerError: There is no such file.
    """
    wanted = {"kind =": kind, "time >=": timestamp(since) if since else None}
    return _with_details(_last(ledger, "events", wanted, "id desc", limit))


def alarms(ledger: Path, *, limit: int, name: str | None = None) -> list[dict[str, Any]]:
    """Return the last ``limit`` steps of all alarms or of one, oldest first, details as objects.

    Raises:
        LedgerError: There is no such file, or it is from before there were alarms.
    """
    return _with_details(_last(ledger, "alarms", {"name =": name}, "id desc", limit))


def reviews(ledger: Path, *, limit: int, part: str | None = None) -> list[dict[str, Any]]:
    """Return the last ``limit`` reviews, oldest first; a part's latest is the one that counts.

    Raises:
        LedgerError: There is no such file, or it is from before there were reviews.
    """
    return _last(ledger, "reviews", {"part_id =": part}, "id desc", limit)


def audit(
    ledger: Path,
    counters: Mapping[str, Path],
    deadline_ms: int,
    clock: Clock | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[AuditLine]:
    """Compare each camera's durable count with its results in the ledger.

    On a running line some frames are always open, until their deadline, and the
    last ones counted take a moment to reach the ledger.

    Raises:
        LedgerError: There is no such file.
    """
    clock = clock or SystemClock()
    lines: list[AuditLine] = []
    with closing(open_for_reading(ledger)) as db:
        for camera, path in counters.items():
            count = read_count(path)
            for attempt in range(ATTEMPTS):
                due_ns = clock.monotonic_ns() - deadline_ms * 1_000_000
                line = _audit_line(db, camera, count, due_ns)
                if line["balanced"] or attempt + 1 == ATTEMPTS:
                    break
                sleep(RETRY_S)
            lines.append(line)
    return lines


def audit_text(lines: list[AuditLine]) -> str:
    """Return an audit as one sentence a camera."""
    return "\n".join(
        f"{line['camera']}: {line['counted']} counted = "
        + (" + ".join(f"{count} {kind}" for kind, count in line["results"].items()) or "nothing")
        + ("" if line["balanced"] else "  NOT BALANCED")
        for line in lines
    )


def cell(column: str, value: object) -> str:
    """Return a table cell: short numbers and times, nothing for NULL.

    A capture's time is without its date, an event's without its microseconds.
    """
    if value is None:
        return ""
    if column in MOMENTS:
        return f"{str(value)[:10]} {str(value)[11:19]}"
    if isinstance(value, dict):
        value = ", ".join(f"{name}={inner}" for name, inner in value.items())
    if isinstance(value, str):
        # A refused command is an event, and its words must not steer the terminal.
        value = "".join(char if char.isprintable() else "?" for char in value)
    if column == "captured_at":
        return str(value)[11:23]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _last(
    ledger: Path, table: str, wanted: Mapping[str, str | None], order: str, limit: int
) -> list[dict[str, Any]]:
    """Return the last rows by ``order`` that meet each comparison whose value is known."""
    query, values = _selection(["*"], table, wanted, order, limit)
    with closing(open_for_reading(ledger)) as db:
        try:
            return list(db.query(query, values))[::-1]
        except sqlite3.Error as error:
            msg = f"ledger {ledger}: {error}"
            raise LedgerError(msg) from error


def _selection(
    columns: Sequence[str], table: str, wanted: Mapping[str, str | None], order: str, limit: int
) -> tuple[str, list[str | int]]:
    """Return the query of the last rows, and its values."""
    known = {comparison: value for comparison, value in wanted.items() if value is not None}
    where = " and ".join(f"{comparison} ?" for comparison in known) or "true"
    query = f"select {', '.join(columns)} from {table} where {where} order by {order} limit ?"  # noqa: S608 - our own columns
    return query, [*known.values(), limit]


def _with_details(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"detail": json.loads(row["detail"] or "{}")} for row in rows]


def _audit_line(db: Database, camera: str, count: int, due_ns: int) -> AuditLine:
    """Account for a camera's frames up to ``count``; captured after ``due_ns`` they may be open."""
    rows = db.query(
        "select verdict, reason, captured_ns from verdicts where camera = ? and seq <= ?",
        [camera, count],
    )
    results = Counter(_kind(row, due_ns) for row in rows)
    counted, total = count - _counted_before(db, camera), results.total()
    return AuditLine(
        camera=camera,
        counted=counted,
        rows=total,
        results=dict(sorted(results.items())),
        balanced=counted == total and "open" not in results,
    )


def _counted_before(db: Database, camera: str) -> int:
    found = db.execute("select counted_before from cameras where camera = ?", [camera]).fetchone()
    return int(found[0]) if found else 0


def _kind(row: dict[str, Any], due_ns: int) -> str:
    if row["verdict"] is None:
        return OPEN_IN_TIME if row["captured_ns"] + OPEN_GRACE_NS > due_ns else "open"
    return f"NO_RESULT {row['reason']}" if row["verdict"] == "NO_RESULT" else str(row["verdict"])
