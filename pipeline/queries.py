"""Questions to the ledger: the latest results, and whether every frame has one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from edge.ingest import read_count
from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlite_utils import Database

SHOWN = (
    "camera", "seq", "part_id", "captured_at", "verdict", "reason", "score", "threshold",
    "window_n", "latency_ms",
)  # fmt: skip
"""What a table of results has; --json has everything."""


class AuditLine(TypedDict):
    """One camera's account."""

    camera: str
    counted: int
    """Triggers by ingest's durable counter since this ledger knows the camera."""
    rows: int
    results: dict[str, int]
    """PASS, FAIL, and NO_RESULT by reason; rows without a result as `open`."""
    balanced: bool
    """Whether each trigger has exactly one result."""


def latest(
    ledger: Path, *, limit: int, verdict: str | None = None, part: str | None = None
) -> list[dict[str, Any]]:
    """Return the last ``limit`` frames, oldest first.

    Raises:
        LedgerError: There is no such file.
    """
    wanted = {"verdict": verdict, "part_id": part}
    where = " and ".join(f"{column} = :{column}" for column, value in wanted.items() if value)
    rows = open_for_reading(ledger).query(
        f"select * from verdicts {'where ' + where if where else ''} "  # noqa: S608 - our own columns
        "order by captured_at desc, camera, seq desc limit :limit",
        {**wanted, "limit": limit},
    )
    return list(rows)[::-1]


def audit(ledger: Path, counters: Mapping[str, Path]) -> list[AuditLine]:
    """Compare each camera's durable count with its results in the ledger.

    Raises:
        LedgerError: There is no such file.
    """
    db = open_for_reading(ledger)
    lines: list[AuditLine] = []
    for camera, path in counters.items():
        rows = db.query("select verdict, reason from verdicts where camera = ?", [camera])
        results = Counter(_kind(row) for row in rows)
        counted, total = read_count(path) - _counted_before(db, camera), results.total()
        lines.append(
            AuditLine(
                camera=camera,
                counted=counted,
                rows=total,
                results=dict(sorted(results.items())),
                balanced=counted == total and "open" not in results,
            )
        )
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
    """Return a table cell: short numbers, the time without its date, nothing for NULL."""
    if value is None:
        return ""
    if column == "captured_at":
        return str(value)[11:23]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _counted_before(db: Database, camera: str) -> int:
    found = db.execute("select counted_before from cameras where camera = ?", [camera]).fetchone()
    return int(found[0]) if found else 0


def _kind(row: dict[str, Any]) -> str:
    if row["verdict"] is None:
        return "open"
    return f"NO_RESULT {row['reason']}" if row["verdict"] == "NO_RESULT" else str(row["verdict"])
