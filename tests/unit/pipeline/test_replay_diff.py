"""Two runs, part by part."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from pipeline.ledger_schema import insert_row, migrations
from pipeline.replay_diff import compare, part_results

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.replay_diff import RunDiff

Part = tuple[str, str, str, float | None]
"""Id, verdict, reason, score."""


def ledger(path: Path, *parts: Part) -> Path:
    """Write a ledger with these parts, each of one frame."""
    with closing(Database(path)) as db:
        migrations.apply(db)
        for seq, (part_id, verdict, why, score) in enumerate(parts, 1):
            key = {"camera": "c1", "boot": "0" * 16, "seq": seq}
            insert_row(db, "verdicts", {**key, "score": score, "threshold": 0.5})
            worst = {f"worst_{name}": value for name, value in key.items()}
            decided = {"part_id": part_id, "verdict": verdict, "reason": why}
            if why == "missing_view":
                worst = {}
            insert_row(db, "parts", {"boot": "0" * 16, "part_seq": seq, **decided, **worst})
        db.conn.commit()
    return path


def diff(folder: Path, old: list[Part], new: list[Part]) -> RunDiff:
    """Compare two runs."""
    return compare(
        part_results(ledger(folder / "old.db", *old)), part_results(ledger(folder / "new.db", *new))
    )


def test_parts_that_differ(tmp_path: Path) -> None:
    """A part with another verdict has its old and new one, scores and thresholds beside them."""
    old: list[Part] = [("A", "PASS", "score", 0.25), ("B", "PASS", "score", 0.4)]
    new: list[Part] = [("A", "PASS", "score", 0.3), ("B", "NO_RESULT", "late", None)]

    found = diff(tmp_path, old, new)

    assert found.rows() == [
        {
            "part": "B",
            "old": "PASS",
            "new": "NO_RESULT late",
            "old_score": 0.4,
            "new_score": None,
            "old_threshold": 0.5,
            "new_threshold": 0.5,
        }
    ]
    assert found.counts() == {"same": 1, "differ": 1, "only_old": 0, "only_new": 0}


def test_parts_of_one_run_alone(tmp_path: Path) -> None:
    """What only one of two runs has is named, and counted for itself."""
    found = diff(tmp_path, [("A", "PASS", "score", 0.25)], [("B", "FAIL", "score", 0.9)])

    assert (found.only_old, found.only_new) == (["A"], ["B"])
    assert [(row["part"], row["old"], row["new"]) for row in found.rows()] == [
        ("A", "is there", None),
        ("B", None, "is there"),
    ]


def test_repeated_ids_are_matched_in_order(tmp_path: Path) -> None:
    """A part id that comes again is another part, compared with the other run's second one."""
    once: list[Part] = [("A", "PASS", "score", 0.25), ("A", "FAIL", "score", 0.9)]

    found = diff(tmp_path, once, [*once, ("A", "PASS", "score", 0.3)])

    assert found.counts() == {"same": 2, "differ": 0, "only_old": 0, "only_new": 1}


def test_part_without_a_deciding_view(tmp_path: Path) -> None:
    """A part whose view was missing has no figures, and is compared all the same."""
    found = diff(
        tmp_path, [("A", "NO_RESULT", "missing_view", None)], [("A", "PASS", "score", 0.25)]
    )

    assert [(row["old"], row["old_threshold"]) for row in found.rows()] == [
        ("NO_RESULT missing_view", None)
    ]
