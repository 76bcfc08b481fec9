"""The ledger's tables, as migrations: what each version of the program added.

A migration that was released is never edited; the next one changes what it made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlite_utils.migrations import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database

migrations = Migrations("musc-edge-ledger")


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


@migrations(name="002_store_and_forward")
def _store_and_forward(db: Database) -> None:
    verdicts = db.table("verdicts")
    verdicts.add_column("part_owed", int, not_null_default=0)
    db.execute("create index verdicts_part_owed on verdicts (part_owed) where part_owed = 1")
    # Autoincrement: a number that is used again would look like one that was sent already.
    db.execute(
        "create table outbox (id integer primary key autoincrement, topic text not null, "
        "payload blob not null, captured_at text not null, created_at text not null)"
    )
    db.execute("create index outbox_captured_at on outbox (captured_at)")


@migrations(name="003_alarms_and_commands")
def _alarms_and_commands(db: Database) -> None:
    db.table("alarms").create(
        {
            "id": int, "time": str, "name": str, "kind": str, "before": str, "after": str,
            "by": str, "note": str, "detail": str, "shelved_until": str,
        },
        pk="id",
    ).create_index(["name"])  # fmt: skip
    db.table("commands").create(
        {
            "id": int, "txn": str, "time": str, "verb": str, "by": str, "body": str, "ok": int,
            "code": str, "detail": str,
        },
        pk="id",
    ).create_index(["txn"])  # fmt: skip
    db.table("reviews").create(
        {"id": int, "part_id": str, "label": str, "by": str, "at": str, "note": str}, pk="id"
    ).create_index(["part_id"])
    db.table("recipe").create({"id": int, "configured": str, "in_force": str}, pk="id")


@migrations(name="004_admission")
def _admission(db: Database) -> None:
    db.table("verdicts").add_column("admission", str)


def insert_row(db: Database, table: str, row: dict[str, Any], verb: str = "insert") -> int:
    """Insert a row and return its rowid.

    ``Table.insert`` looks the schema up on every call, ten times the cost of the insert.
    """
    # By place: sqlite3 looks every named value up, which doubles the cost of a wide row.
    cursor = db.execute(_insertion(table, tuple(row), verb), tuple(row.values()))
    return cursor.lastrowid or 0


@lru_cache(maxsize=64)
def _insertion(table: str, names: tuple[str, ...], verb: str) -> str:
    columns = ", ".join(f"[{name}]" for name in names)
    return f"{verb} into {table} ({columns}) values ({', '.join('?' * len(names))})"
