"""How many results a second the gate makes durable, beside sqlite3 written by hand.

Each pass is one transaction (``pipeline.bench_commits``) on a ledger of its own. For
each ``synchronous`` three contestants race: the gate's own code, statements written
by hand that make the same values, and such statements whose values lie ready
(``pipeline.bench_raw_commits``). At the end all ledgers must hold the same rows.

The folder's disk should be that of a ledger: FULL waits for it at every commit.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol, get_args

from edge.errors import LineError
from pipeline.bench_commits import GatePasses, Synchronous, make_batches
from pipeline.bench_raw_commits import RawPasses
from pipeline.bench_rounds import race, ratio_of, shown
from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from pipeline.bench_commits import Batch

GATE, RAW, READY = "gate", "raw", "ready"
TITLES = {GATE: "gate", RAW: "raw sqlite3", READY: "raw, values ready"}
TABLES = ("verdicts", "heatmaps", "parts", "outbox", "events")


class LedgerBenchError(LineError):
    """The contestants did not store the same; the message names ledger and table."""


class Contestant(Protocol):
    """Whoever does passes on a ledger."""

    commits_ns: list[int]

    def run(self, passes: int) -> None:
        """Do the next passes."""

    def close(self) -> None:
        """Close the ledger."""


@dataclass(frozen=True, slots=True)
class LedgerBench:
    """What is measured."""

    passes: int = 25
    """Transactions that a contestant does in a round."""
    results_a_pass: int = 1
    """Frames that are closed in one transaction, a part each."""
    repeats: int = 21
    """Counted rounds."""

    @property
    def results_a_round(self) -> int:
        """Results of one contestant in a round."""
        return self.passes * self.results_a_pass


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What came of it; by name of the contestant, as ``FULL gate``."""

    bench: LedgerBench
    times_ms: Mapping[str, Sequence[float]]
    """One for each counted round."""
    commits_ns: Mapping[str, Sequence[int]]
    """One for each pass of a counted round."""

    def table(self) -> list[list[str]]:
        """Return a row for each contestant: its rate, its commits, its time over the gate's."""
        rows = []
        for name, times in self.times_ms.items():
            synchronous, who = name.split()
            commits_ms = [ns / 1e6 for ns in self.commits_ns[name]]
            median, p99 = statistics.median(commits_ms), percentile(commits_ms, 99)
            ratio = ratio_of(times, self.times_ms[f"{synchronous} {GATE}"])
            figures = [f"{self._per_second(name):.0f}", f"{median:.3f}", f"{p99:.3f}"]
            rows.append([synchronous, TITLES[who], *figures, f"{ratio:.2f}"])
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line.

        A ratio is the gate's rate over that of the statements written by hand.
        """
        bench = self.bench
        return {
            "passes": bench.passes,
            "results_a_pass": bench.results_a_pass,
            "repeats": bench.repeats,
        } | {one.lower(): self._of(one) for one in get_args(Synchronous)}

    def _of(self, synchronous: str) -> dict[str, float]:
        gate, raw, ready = (f"{synchronous} {who}" for who in (GATE, RAW, READY))
        p99_ms, raw_p99_ms = (
            round(percentile([ns / 1e6 for ns in self.commits_ns[name]], 99), 3)
            for name in (gate, raw)
        )
        return {
            "results_per_s": round(self._per_second(gate), 1),
            "p99_ms": p99_ms,
            "ratio_to_raw": round(ratio_of(self.times_ms[raw], self.times_ms[gate]), 3),
            "ratio_to_ready_values": round(ratio_of(self.times_ms[ready], self.times_ms[gate]), 3),
            "raw_results_per_s": round(self._per_second(raw), 1),
            "raw_p99_ms": raw_p99_ms,
        }

    def _per_second(self, name: str) -> float:
        return 1000 * self.bench.results_a_round / statistics.median(self.times_ms[name])


def run_ledger_bench(console: Console, bench: LedgerBench, folder: Path) -> LedgerReport:
    """Race on ledgers in an empty folder.

    Raises:
        LedgerError: The folder is not writable, or its disk is full.
        LedgerBenchError: Not all ledgers hold the same rows at the end.
    """
    rounds = range(1 + bench.repeats)
    with console.status("making results"):
        batches = make_batches(len(rounds) * bench.passes, bench.results_a_pass)
    with ExitStack() as stack:
        field: dict[str, Contestant] = {
            name: stack.enter_context(closing(one)) for name, one in _field(folder, batches)
        }
        runners = {name: _runner(one, bench.passes) for name, one in field.items()}
        times_ms = race(runners, shown(console, "rounds", rounds, len(rounds)))
    check_same_rows([_path(folder, name) for name in field])
    return LedgerReport(
        bench, times_ms, {name: one.commits_ns[bench.passes :] for name, one in field.items()}
    )


def check_same_rows(paths: Sequence[Path]) -> None:
    """Compare ledgers row by row.

    Raises:
        LedgerBenchError: One holds other rows than the first; it is named with the table.
    """
    with ExitStack() as stack:
        first, *others = (stack.enter_context(closing(open_for_reading(path))) for path in paths)
        for table in TABLES:
            expected = list(first.table(table).rows)
            for path, db in zip(paths[1:], others, strict=True):
                if list(db.table(table).rows) != expected:
                    msg = f"{path.name}: other rows in {table} than {paths[0].name} has"
                    raise LedgerBenchError(msg)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that so many percent of all do not exceed."""
    return sorted(values)[ceil(len(values) * percent / 100) - 1]


def _field(folder: Path, batches: Sequence[Batch]) -> Iterator[tuple[str, Contestant]]:
    for synchronous in get_args(Synchronous):
        gate, raw, ready = (f"{synchronous} {who}" for who in (GATE, RAW, READY))
        yield gate, GatePasses(_path(folder, gate), synchronous, batches)
        yield raw, RawPasses(_path(folder, raw), synchronous, batches)
        yield ready, RawPasses(_path(folder, ready), synchronous, batches, ready=True)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-').lower()}.db"


def _runner(one: Contestant, passes: int) -> Callable[[int], object]:
    return lambda _number: one.run(passes)
