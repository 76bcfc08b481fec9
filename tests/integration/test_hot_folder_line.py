"""A line whose camera is a folder that slow programs write to, in every bad habit there is."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from lines import write_config
from picture_writers import Writers, encoded
from staged_line import staged_line

from edge.ingest import UNACKNOWLEDGED_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)

PICTURES = 500
FEWER = 200
BEFORE = 20
"""Pictures that are there when the line starts."""
KILLED_AT = (40, 100)
"""Frames counted when the ingest is killed."""


@pytest.fixture
def hot_folder(tmp_path: Path) -> Path:
    """The folder that the line watches."""
    path = tmp_path / "hot"
    path.mkdir()
    return path


@pytest.fixture
def config(tmp_path: Path, hot_folder: Path) -> Path:
    """The config of a line whose only camera is the folder."""
    camera = {"id": "c1", "kind": "folder", "path": str(hot_folder), "watch": True}
    return write_config(tmp_path, None, camera=[camera])


def part_of(name: str) -> str:
    """Return the part that a file's name makes."""
    return name.partition(".")[0]


def test_every_slow_file_has_one_result(tmp_path: Path, config: Path, hot_folder: Path) -> None:
    """500 pictures written in pieces, 500 frames, none corrupt, each part once."""
    files = dict(encoded(number) for number in range(PICTURES))
    for name in list(files)[:BEFORE]:
        (hot_folder / name).write_bytes(files[name])

    with staged_line(config, STAND_IN_DELAY_MS="1") as line:
        line.until(line.is_up, "the whole line")
        began_s = time.monotonic()
        writers = Writers(hot_folder, range(BEFORE, PICTURES))
        try:
            line.until(lambda: writers.are_done and line.counted() >= PICTURES, "all pictures")
            line.until(lambda: len(line.rows("parts")) >= PICTURES, "all verdicts")
        finally:
            writers.stop()
        took_s = time.monotonic() - began_s

    print(f"\n{PICTURES} pictures in {took_s:.1f} s: {dict(line.results())}")  # noqa: T201
    rows, audit = line.rows(), line.audit()
    assert audit["balanced"], audit
    assert audit["counted"] == len(rows) == PICTURES
    assert set(line.results()) <= {"PASS", "FAIL", "warming"}, line.results()
    parts = Counter(row["part_id"] for row in rows)
    assert parts == Counter(map(part_of, files))
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == PICTURES
    assert not [path for path in hot_folder.iterdir() if path.is_file()]
    assert {path.name: path.read_bytes() for path in (hot_folder / "done").iterdir()} == files


def test_killed_ingest_misses_no_file(config: Path, hot_folder: Path) -> None:
    """An ingest that is killed while files arrive misses none; the last few are read again."""
    names = [encoded(number)[0] for number in range(FEWER)]

    with staged_line(config, STAND_IN_DELAY_MS="1") as line:
        line.until(line.is_up, "the whole line")
        writers = Writers(hot_folder, range(FEWER))
        try:
            for at in KILLED_AT:
                line.until(lambda at=at: line.counted() >= at, f"{at} frames")  # type: ignore[misc]
                pid = line.pid_of("ingest c1")
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                line.until(lambda pid=pid: line.pid_of("ingest c1") not in {None, pid}, "another")  # type: ignore[misc]
            expected = set(map(part_of, names))
            line.until(lambda: writers.are_done, "all pictures")
            line.until(lambda: expected <= {r["part_id"] for r in line.rows()}, "all parts")
            line.until(lambda: line.audit()["balanced"], "a balanced account")
        finally:
            writers.stop()

    rows = line.rows()
    read_twice = [part for part, count in Counter(r["part_id"] for r in rows).items() if count > 1]
    print(f"\n{len(rows)} results, read twice: {read_twice}, {dict(line.results())}")  # noqa: T201
    assert {row["part_id"] for row in rows if not row["part_id"].startswith("c1-")} == expected
    assert len(read_twice) <= len(KILLED_AT) * UNACKNOWLEDGED_LIMIT
    assert "corrupt" not in line.results()
    assert not [path for path in hot_folder.iterdir() if path.is_file()]
