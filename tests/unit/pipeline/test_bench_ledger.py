"""The bench of the ledger: who races, that all store the same, and what the last line says."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from pipeline.bench_commits import GatePasses, Synchronous, make_batches
from pipeline.bench_ledger import (
    LedgerBench,
    LedgerBenchError,
    LedgerReport,
    check_same_rows,
    percentile,
    run_ledger_bench,
)
from pipeline.bench_raw_commits import RawPasses
from pipeline.cli_bench import bench_app
from pipeline.ledger import open_for_reading, read_heatmap
from pipeline.outbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path

OF_EACH = {
    "results_per_s", "p99_ms", "ratio_to_raw", "ratio_to_ready_values", "raw_results_per_s",
    "raw_p99_ms",
}  # fmt: skip


def rows_of(path: Path, table: str) -> list[dict[str, Any]]:
    """Return all rows of a table."""
    with closing(open_for_reading(path)) as db:
        return list(db.table(table).rows)


@pytest.mark.parametrize("results_a_pass", [1, 3])
def test_all_store_the_same(tmp_path: Path, results_a_pass: int) -> None:
    """The gate's code and the statements written by hand leave equal rows, none missing."""
    batches = make_batches(5, results_a_pass)
    paths = [tmp_path / name for name in ("gate.db", "raw.db", "ready.db")]
    with (
        closing(GatePasses(paths[0], "NORMAL", batches)) as gate,
        closing(RawPasses(paths[1], "NORMAL", batches)) as raw,
        closing(RawPasses(paths[2], "NORMAL", batches, ready=True)) as ready,
    ):
        for one in (gate, raw, ready):
            one.run(2)
            one.run(3)

    check_same_rows(paths)

    verdicts = rows_of(paths[0], "verdicts")
    assert [row["seq"] for row in verdicts] == list(range(1, 5 * results_a_pass + 1))
    assert all(row["verdict"] in {"PASS", "FAIL"} for row in verdicts)
    assert len(rows_of(paths[0], "parts")) == len(verdicts)
    assert read_heatmap(rows_of(paths[0], "heatmaps")[-1]).shape == (32, 32)
    # What the last pass said is confirmed, and deleted in the next one only.
    assert len(rows_of(paths[0], "outbox")) == 2 * results_a_pass


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("verdicts", "update verdicts set score = score + 1 where seq = 2"),
        ("parts", "delete from parts where part_seq = 1"),
        ("outbox", "update outbox set payload = x'00'"),
    ],
)
def test_other_rows_are_an_error(tmp_path: Path, table: str, change: str) -> None:
    """A ledger that holds anything else is named, and the table."""
    batches = make_batches(2, 1)
    paths = [tmp_path / "one.db", tmp_path / "other.db"]
    for path in paths:
        with closing(RawPasses(path, "NORMAL", batches, ready=True)) as raw:
            raw.run(2)
    with closing(sqlite3.connect(paths[1])) as db, db:
        db.execute(change)

    with pytest.raises(LedgerBenchError, match=rf"other.db: other rows in {table} than one.db"):
        check_same_rows(paths)


def test_pass_is_one_transaction(tmp_path: Path) -> None:
    """What stops a pass in its middle leaves nothing of it in the ledger."""
    path = tmp_path / "gate.db"
    with closing(GatePasses(path, "NORMAL", make_batches(3, 1))) as gate:
        gate.run(1)
        gate._journal._outbox = _BrokenOutbox()  # type: ignore[assignment]
        with pytest.raises(RuntimeError, match="broken"):
            gate.run(1)

    assert [row["verdict"] for row in rows_of(path, "verdicts")] == ["PASS", None]
    assert len(rows_of(path, "parts")) == 1


class _BrokenOutbox(Outbox):
    """An outbox that cannot keep anything."""

    def __init__(self) -> None:
        """Need no database."""

    def put(self, *_: Any) -> int:
        """Keep nothing."""
        msg = "broken"
        raise RuntimeError(msg)


def test_commits_are_those_of_counted_rounds(tmp_path: Path) -> None:
    """The first round warms up: neither its time nor its commits are counted."""
    bench = LedgerBench(passes=3, results_a_pass=2, repeats=2)

    report = run_ledger_bench(Console(file=io.StringIO()), bench, tmp_path)

    assert len(report.times_ms) == 6
    assert {len(times) for times in report.times_ms.values()} == {2}
    assert {len(commits) for commits in report.commits_ns.values()} == {2 * 3}


def test_summary_compares_with_the_raw_side() -> None:
    """A ratio is the gate's rate over the raw one's of the same round, their median."""
    bench = LedgerBench(passes=10, results_a_pass=2, repeats=3)
    times = {
        "gate": [100.0, 200.0, 400.0],
        "raw": [80.0, 100.0, 300.0],
        "ready": [50.0, 20.0, 40.0],
    }
    report = LedgerReport(
        bench,
        {f"{one} {who}": ms for one in get_args(Synchronous) for who, ms in times.items()},
        {
            f"{one} {who}": [1_000_000, 3_000_000, 2_000_000]
            for one in get_args(Synchronous)
            for who in times
        },
    )

    said = report.summary()

    assert said["full"] == said["normal"]
    assert said["full"] == {
        "results_per_s": 100.0,
        "p99_ms": 3.0,
        "ratio_to_raw": 0.75,
        "ratio_to_ready_values": 0.1,
        "raw_results_per_s": 200.0,
        "raw_p99_ms": 3.0,
    }
    assert report.table()[1] == ["FULL", "raw sqlite3", "200", "2.000", "3.000", "0.75"]


@given(values=st.lists(st.integers(0, 10**9), min_size=1, max_size=300))
def test_percentile_is_the_nearest_rank(values: list[int]) -> None:
    """It is a value that came, and so large a share of all does not exceed it."""
    found = percentile(values, 99)

    assert found in values
    assert sum(value <= found for value in values) >= math.ceil(0.99 * len(values))
    assert sum(value < found for value in values) < math.ceil(0.99 * len(values))


def test_command_ends_with_one_json_object(tmp_path: Path) -> None:
    """The last line holds the figures of both settings; nothing is left in the folder."""
    arguments = ["ledger", "--passes", "2", "--repeats", "2", "--folder", str(tmp_path)]

    done = CliRunner().invoke(bench_app, arguments)

    assert done.exit_code == 0, done.output
    said = json.loads(done.output.splitlines()[-1])
    assert said.keys() == {"passes", "results_a_pass", "repeats", "full", "normal"}
    assert said["full"].keys() == said["normal"].keys() == OF_EACH
    assert all(figure > 0 for name in ("full", "normal") for figure in said[name].values())
    assert list(tmp_path.iterdir()) == []
