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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from edge.errors import LineError
from edge.frame import Announcement, FrameKey
from pipeline.results import (
    FrameResult,
    LineIdentity,
    PartVerdict,
    frame_columns,
    part_row,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from pipeline.inspection import Affine, PatchScores

BUSY_S = 0.5
"""How long the gate waits for another program that writes before it tries again."""
READ_BUSY_S = 10.0
GAP_SEARCH_FRAMES = 100_000
KEY = "camera = :camera and boot = :boot and seq = :seq"

migrations = Migrations("musc-edge-ledger")


class LedgerError(LineError):
    """The ledger cannot be opened or written; the message names the file."""


@migrations(name="001_initial")
def _initial(db: Database) -> None:
    frame_key = {"camera": str, "boot": str, "seq": int}
    db.table("verdicts").create(
        {
            **frame_key, "part_id": str, "origin": str, "recipe": str, "captured_at": str,
            "captured_ns": int, "decided_at": str, "verdict": str, "code": int, "reason": str,
            "detail": str, "score": float, "rescored": float, "refined_score": float,
            "p_value": float, "threshold": float, "warn": int, "window_n": int,
            "window_size": int, "admitted": int, "state": str, "latency_ms": int,
            "compute_ms": float, "model": str, "config_hash": str, "evidence": str,
        },
        pk=("camera", "boot", "seq"),
    ).create_index(["part_id"]).create_index(["captured_at"]).create_index(["verdict"]).create_index(
        ["camera", "seq"]
    )  # fmt: skip
    db.table("parts").create(
        {
            "boot": str, "part_seq": int, "part_id": str, "captured_at": str, "decided_at": str,
            "verdict": str, "code": int, "reason": str, "views": int, "seen": int,
            "worst_camera": str, "worst_boot": str, "worst_seq": int, "latency_ms": int,
            "config_hash": str,
        },
        pk=("boot", "part_seq"),
    ).create_index(["part_id"])  # fmt: skip
    db.table("heatmaps").create(
        {**frame_key, "rows": int, "columns": int, "scores": bytes, "affine": str, "level": float},
        pk=("camera", "boot", "seq"),
    )
    db.table("cameras").create({"camera": str, "counted_before": int}, pk="camera")
    db.table("events").create(
        {"id": int, "time": str, "kind": str, "camera": str, "detail": str}, pk="id"
    ).create_index(["time"])


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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = Database(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None))
            self._db.enable_wal()
            self._db.execute(f"pragma synchronous = {synchronous}")
            migrations.apply(self._db)
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
            self._db.execute("commit")
        except sqlite3.Error as error:
            self._db.rollback()
            msg = f"ledger {self._path}: {error}"
            raise LedgerError(msg) from error
        except BaseException:
            self._db.rollback()
            raise

    def _begin(self) -> None:
        # Immediate: a transaction that first reads and then writes is refused at once, without
        # the busy limit, when another program writes in between.
        try:
            self._db.execute("begin immediate")
        except sqlite3.OperationalError as error:
            kind = LedgerBusyError if "locked" in str(error) else LedgerError
            msg = f"ledger {self._path}: {error}"
            raise kind(msg) from error

    def has_frame(self, key: FrameKey) -> bool:
        """Tell whether the frame has a row, open or closed."""
        found = self._db.execute(f"select 1 from verdicts where {KEY}", _key(key))  # noqa: S608 - a constant
        return found.fetchone() is not None

    def open_frame(self, announcement: Announcement) -> None:
        """Open the row of an announced frame."""
        self._insert(
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
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        statement = f"update verdicts set {assignments} where {KEY} and verdict is null"  # noqa: S608 - our own column names
        self._db.execute(statement, columns | _key(result.key))
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
        self._db.execute(statement, new | _key(result.key))

    def revoke_part_pass(self, part: PartVerdict) -> None:
        """Turn a part's PASS that nobody has heard of into NO_RESULT."""
        self._db.execute(
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
        found = self._db.execute(
            "select 1 from verdicts where camera = ? and seq = ?", [camera, seq]
        )
        return found.fetchone() is not None

    def missing_frames(self, camera: str, count: int, limit: int) -> list[int]:
        """Return the first ``limit`` sequence numbers up to ``count`` that have no row.

        A camera that is new to this ledger begins here: its count is noted, and
        what it counted before belongs to another ledger. Only its last
        GAP_SEARCH_FRAMES are looked at.
        """
        self._db.execute(
            "insert or ignore into cameras (camera, counted_before) values (?, ?)", [camera, count]
        )
        before = self._db.execute(
            "select counted_before from cameras where camera = ?", [camera]
        ).fetchone()[0]
        begin = max(before + 1, count - GAP_SEARCH_FRAMES)
        rows = self._db.execute(
            "select seq from verdicts where camera = ? and seq between ? and ?",
            [camera, begin, count],
        )
        return sorted(set(range(begin, count + 1)) - {row[0] for row in rows})[:limit]

    def close_part(self, part: PartVerdict) -> None:
        """Write the one row of a part verdict."""
        self._insert("parts", part_row(part, self._identity))

    def set_evidence(self, key: FrameKey, relative_path: str) -> None:
        """Note where a frame's image lies, below the evidence folder."""
        statement = f"update verdicts set evidence = :evidence where {KEY}"  # noqa: S608 - a constant
        self._db.execute(statement, {"evidence": relative_path} | _key(key))

    def add_event(
        self, moment: datetime, kind: str, camera: str | None, detail: dict[str, Any]
    ) -> None:
        """Note something that happened to the line."""
        row = {"time": timestamp(moment), "kind": kind, "camera": camera}
        self._insert("events", row | {"detail": json.dumps(detail)})

    def rows_left_open(self) -> list[Announcement]:
        """Return the frames whose result an earlier gate did not write any more."""
        rows = self._db.query(
            "select camera, boot, seq, part_id, origin, captured_at, captured_ns "
            "from verdicts where verdict is null order by captured_ns"
        )
        return [Announcement.model_validate(row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _insert_heatmap(
        self, key: FrameKey, scores: PatchScores, affine: Affine, level: float | None
    ) -> None:
        rows, columns = scores.shape
        self._insert(
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

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        # Table.insert looks the schema up on every call, ten times the cost of the insert.
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        self._db.execute(f"insert into {table} ({names}) values ({values})", row)  # noqa: S608 - our own names


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


def _key(key: FrameKey) -> dict[str, Any]:
    return {"camera": key.camera, "boot": key.boot, "seq": key.seq}
