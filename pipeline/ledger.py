"""The ledger: every frame, part and event of a line, in SQLite, for years.

One process writes, the gate; everybody may read while it does (WAL). A frame's
row is opened by its announcement and closed by its result, so a row without a
verdict is a promise not kept yet, never a loss. Opens in Datasette as it is.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlite_utils import Database

from edge.errors import LineError
from edge.frame import Announcement, FrameKey
from pipeline.alarm_conditions import UNJUDGED
from pipeline.ledger_schema import insert_row, migrations
from pipeline.results import (
    FrameResult,
    LineIdentity,
    PartVerdict,
    frame_columns,
    moment_of,
    part_row,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edge.contract import Verdict, Why
    from pipeline.inspection import Affine, PatchScores, RefinedScore

BUSY_S = 0.5
"""How long the gate waits for another program that writes before it tries again."""
READ_BUSY_S = 10.0
GAP_SEARCH_FRAMES = 100_000
RECENT_PARTS = 100_000
"""What a restart reads at most: a second."""
KEY = "camera = :camera and boot = :boot and seq = :seq"


class LedgerError(LineError):
    """The ledger cannot be opened or written; the message names the file."""


class LedgerBusyError(LedgerError):
    """Another program holds the write lock; the same call may succeed later."""


class Ledger:
    """The writing side; readers open the file with :func:`open_for_reading`."""

    def __init__(
        self, path: Path, synchronous: Literal["FULL", "NORMAL"], identity: LineIdentity
    ) -> None:
        """Open or create the file and bring it to the current schema.

        Raises:
            LedgerError: The path is not writable or the file is not a ledger.
        """
        self._path = path
        self._identity = identity
        self.db: Database
        """The open database; whoever writes does it inside :meth:`transaction`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = Database(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None))
            self.db.enable_wal()
            self.db.execute(f"pragma synchronous = {synchronous}")
            migrations.apply(self.db)
        except (OSError, sqlite3.Error) as error:
            msg = f"ledger {path}: {error}"
            raise LedgerError(msg) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside at once, or nothing.

        Raises:
            LedgerBusyError: Another program is writing; nothing inside was run.
            LedgerError: The disk is full, or the database is damaged.
        """
        self._begin()
        try:
            yield
            self.db.execute("commit")
        except sqlite3.Error as error:
            self.db.rollback()
            msg = f"ledger {self._path}: {error}"
            raise LedgerError(msg) from error
        except BaseException:
            self.db.rollback()
            raise

    def _begin(self) -> None:
        # Immediate: a transaction that first reads and then writes is refused at once, without
        # the busy limit, when another program writes in between.
        try:
            self.db.execute("begin immediate")
        except sqlite3.OperationalError as error:
            kind = LedgerBusyError if "locked" in str(error) else LedgerError
            msg = f"ledger {self._path}: {error}"
            raise kind(msg) from error

    def has_frame(self, key: FrameKey) -> bool:
        """Tell whether the frame has a row, open or closed."""
        found = self.db.execute(f"select 1 from verdicts where {KEY}", _key(key))  # noqa: S608 - a constant
        return found.fetchone() is not None

    def open_frame(self, announcement: Announcement) -> None:
        """Open the row of an announced frame."""
        insert_row(
            self.db,
            "verdicts",
            {
                **_key(announcement.key),
                "part_id": announcement.part_id,
                "origin": announcement.origin,
                "captured_at": timestamp(announcement.captured_at),
                "captured_ns": announcement.captured_ns,
            },
        )

    def close_frame(self, result: FrameResult) -> None:
        """Write the result into the open row of its frame, and its heatmap."""
        columns = frame_columns(result, self._identity)
        key = _key(result.key)
        self.db.execute(_closing(tuple(columns)), (*columns.values(), *key.values()))
        seen = result.inspection
        if seen is not None and seen.patch_scores is not None and seen.affine is not None:
            self._insert_heatmap(result.key, seen.patch_scores, seen.affine, seen.map_level)

    def revoke_pass(self, result: FrameResult) -> None:
        """Turn a PASS that nobody has heard of into the result it was corrected to."""
        statement = (
            "update verdicts set verdict = :verdict, code = 0, reason = :why, detail = :detail "  # noqa: S608 - a constant
            f"where {KEY} and verdict = 'PASS'"
        )
        new = {"verdict": result.verdict, "why": result.why, "detail": result.detail}
        self.db.execute(statement, new | _key(result.key))

    def revoke_part_pass(self, part: PartVerdict) -> None:
        """Turn a part's PASS that nobody has heard of into NO_RESULT."""
        self.db.execute(
            "update parts set verdict = :verdict, code = 0, reason = :why "
            "where boot = :boot and part_seq = :part_seq and verdict = 'PASS'",
            {
                "verdict": part.verdict,
                "why": part.why,
                "boot": self._identity.gate_boot,
                "part_seq": part.part_seq,
            },
        )

    def has_number(self, camera: str, seq: int) -> bool:
        """Tell whether a camera's number has a row, under whatever boot."""
        found = self.db.execute(
            "select 1 from verdicts where camera = ? and seq = ?", [camera, seq]
        )
        return found.fetchone() is not None

    def missing_frames(self, camera: str, count: int, limit: int) -> list[int]:
        """Return the first ``limit`` sequence numbers up to ``count`` that have no row.

        A camera that is new to this ledger begins here: its count is noted, and
        what it counted before belongs to another ledger. Only its last
        GAP_SEARCH_FRAMES are looked at.
        """
        self.db.execute(
            "insert or ignore into cameras (camera, counted_before) values (?, ?)", [camera, count]
        )
        before = self.db.execute(
            "select counted_before from cameras where camera = ?", [camera]
        ).fetchone()[0]
        begin = max(before + 1, count - GAP_SEARCH_FRAMES)
        rows = self.db.execute(
            "select seq from verdicts where camera = ? and seq between ? and ?",
            [camera, begin, count],
        )
        return sorted(set(range(begin, count + 1)) - {row[0] for row in rows})[:limit]

    def close_part(self, part: PartVerdict) -> None:
        """Write the one row of a part verdict; its frames are owed no other."""
        insert_row(self.db, "parts", part_row(part, self._identity))
        if part.views > 1:  # a part of one view is closed with its frame and never owed
            self.owe_part(part.frames, owed=False)

    def owe_part(self, keys: Iterable[FrameKey], *, owed: bool = True) -> None:
        """Note closed frames whose part waits for other views, or waits no more."""
        statement = f"update verdicts set part_owed = :owed where {KEY} and part_owed != :owed"  # noqa: S608 - a constant
        for key in keys:
            self.db.execute(statement, {"owed": int(owed)} | _key(key))

    def parts_short_of_views(self, limit: int) -> Iterator[tuple[str, set[str]]]:
        """Yield the parts among the last ``limit`` that lacked views, and which cameras came."""
        short = self.db.execute(
            "select part_id, decided_at from parts where seen < views order by rowid desc limit ?",
            [limit],
        ).fetchall()
        for part_id, decided_at in short:
            cameras = self.db.execute(
                "select distinct camera from verdicts where part_id = ? and decided_at <= ?",
                [part_id, decided_at],
            )
            yield part_id, {row[0] for row in cameras}

    def frames_owed_a_part(self) -> list[FrameResult]:
        """Return the closed frames whose part an earlier gate did not close any more."""
        rows = self.db.query("select * from verdicts where part_owed = 1 order by captured_ns")
        return [_result(row) for row in rows]

    def set_evidence(self, key: FrameKey, relative_path: str) -> None:
        """Note where a frame's image lies, below the evidence folder."""
        statement = f"update verdicts set evidence = :evidence where {KEY}"  # noqa: S608 - a constant
        self.db.execute(statement, {"evidence": relative_path} | _key(key))

    def refine(self, camera: str, refined: RefinedScore) -> None:
        """Note the score that a frame has now that later ones have come."""
        self.db.execute(
            f"update verdicts set refined_score = :score where {KEY}",  # noqa: S608 - a constant
            {"camera": camera, **refined.model_dump()},
        )

    def add_event(
        self, moment: datetime, kind: str, camera: str | None, detail: dict[str, Any]
    ) -> None:
        """Note something that happened to the line."""
        row = {"time": timestamp(moment), "kind": kind, "camera": camera}
        insert_row(self.db, "events", row | {"detail": json.dumps(detail)})

    def rows_left_open(self) -> list[Announcement]:
        """Return the frames whose result an earlier gate did not write any more."""
        rows = self.db.query(
            "select camera, boot, seq, part_id, origin, captured_at, captured_ns "
            "from verdicts where verdict is null order by captured_ns"
        )
        return [Announcement.model_validate(row) for row in rows]

    def recent_parts(self, judged: int, since: datetime) -> list[tuple[Verdict, Why, datetime]]:
        """Return the latest part verdicts, oldest first, with the time of their decision.

        As many as hold ``judged`` ones that are not from a window that warmed up,
        and all since ``since``.
        """
        recent: list[tuple[Verdict, Why, datetime]] = []
        rows = self.db.execute(
            "select verdict, reason, decided_at from parts order by rowid desc limit ?",
            [RECENT_PARTS],
        )
        for verdict, why, decided_at in rows:
            decided = moment_of(decided_at)
            if judged <= 0 and decided < since:
                break
            judged -= why not in UNJUDGED
            recent.append((verdict, why, decided))
        rows.close()
        return recent[::-1]

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def _insert_heatmap(
        self, key: FrameKey, scores: PatchScores, affine: Affine, level: float | None
    ) -> None:
        rows, columns = scores.shape
        insert_row(
            self.db,
            "heatmaps",
            {
                **_key(key),
                "rows": rows,
                "columns": columns,
                "scores": zlib.compress(scores.astype("<f2").tobytes()),
                "affine": json.dumps(affine),
                "level": level,
            },
        )


def read_heatmap(row: dict[str, Any]) -> PatchScores:
    """Return the patch scores, float32 of shape (rows, columns), of a ``heatmaps`` row."""
    flat = np.frombuffer(zlib.decompress(row["scores"]), "<f2")
    return flat.reshape(row["rows"], row["columns"]).astype(np.float32)


def open_for_reading(path: Path) -> Database:
    """Return a database that cannot write, while the gate does.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    if not path.is_file():
        msg = f"ledger {path}: no such file"
        raise LedgerError(msg)
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=READ_BUSY_S
    )
    try:
        connection.execute("select 1 from verdicts limit 1")
    except sqlite3.DatabaseError as error:
        connection.close()
        msg = f"ledger {path}: {error}"
        raise LedgerError(msg) from error
    return Database(connection)


@lru_cache(maxsize=8)
def _closing(names: tuple[str, ...]) -> str:
    """Return the statement that closes an open row; its key comes after the columns."""
    assignments = ", ".join(f"{name} = ?" for name in names)
    return (
        f"update verdicts set {assignments} "  # noqa: S608 - our own column names
        "where camera = ? and boot = ? and seq = ? and verdict is null"
    )


def _key(key: FrameKey) -> dict[str, Any]:
    return {"camera": key.camera, "boot": key.boot, "seq": key.seq}


def _result(row: dict[str, Any]) -> FrameResult:
    """Rebuild the result of a closed row; what the scorer saw stays in the row."""
    return FrameResult(
        announcement=Announcement.model_validate(
            {name: row[name] for name in Announcement.model_fields}
        ),
        verdict=row["verdict"],
        why=row["reason"],
        detail=row["detail"],
        state=row["state"],
        recipe=row["recipe"],
        decided_at=moment_of(row["decided_at"]),
        latency_ms=row["latency_ms"],
    )
