"""The what-if bench holds fast answers to slow ones, and says where they differ."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from factories import FakeBackbone
from replay_rig import MODEL, fake_scorer, write_parts
from rich.console import Console

from pipeline import bench_what_if, shared_runs
from pipeline.bench_what_if import (
    RULES,
    WhatIfBench,
    WhatIfBenchError,
    WhatIfReport,
    measure_rules,
    measure_sizes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config_alarm import Alarm
    from pipeline.what_if import Parts

BENCH = WhatIfBench(frames=40, repeats=1)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty parts, and three small windows to ask for."""
    fake_scorer(monkeypatch)
    monkeypatch.setattr(shared_runs, "load_backbone", lambda _choice: (FakeBackbone(), MODEL))
    monkeypatch.setattr(bench_what_if, "SIZES", (9, 10, 12))
    return write_parts(tmp_path / "images", 40, (22, 31))


def quiet() -> Console:
    """Return a console that nobody sees."""
    return Console(file=io.StringIO())


def test_every_size_is_replayed_and_shared(images: Path) -> None:
    """Both kinds of admission and all sizes have a time, and their results are equal."""
    report = measure_sizes(quiet(), BENCH, images)

    names = [f"{admission} {size}" for admission in ("all", "guarded") for size in (9, 10, 12)]
    assert list(report.by_size) == names
    assert report.sizes_replayed_s == pytest.approx(sum(report.by_size.values()))
    assert len(report.sizes_s) == BENCH.repeats


def test_results_that_differ_end_the_bench(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared run with another hash than its replay is named."""
    hashes = iter(range(100))
    monkeypatch.setattr(bench_what_if, "run_hash", lambda _ledger: str(next(hashes)))

    with pytest.raises(WhatIfBenchError, match="other results than replays: all 9, all 10"):
        measure_sizes(quiet(), BENCH, images)


def test_alarms_that_differ_end_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """All thresholds at once must call as often as part by part."""
    monkeypatch.setattr(bench_what_if, "PARTS", 400)
    monkeypatch.setattr(bench_what_if, "THRESHOLDS", 3)
    times, replayed_s = measure_rules(BENCH)
    assert (len(times), replayed_s > 0) == (9, True)

    def never(_rule: Alarm, _threshold: float, parts: Parts) -> list[bool]:
        return [False] * len(parts.scores)

    monkeypatch.setattr(bench_what_if, "held_naive", never)
    with pytest.raises(WhatIfBenchError, match="other alarms"):
        measure_rules(BENCH)


def test_bars_are_fifty_and_ten_times() -> None:
    """Both must hold; medians count."""

    def report(rules_s: float, sizes_s: float) -> WhatIfReport:
        return WhatIfReport([rules_s, 9.0, rules_s], 50.0, 80.0, [sizes_s], 100.0, {}, 40)

    assert report(1.0, 10.0).summary()["held"]
    assert not report(1.01, 10.0).summary()["held"]
    assert not report(1.0, 10.1).summary()["held"]
    assert report(1.0, 10.0).table()[0][0].startswith(f"100 thresholds x {len(RULES)} rules")
