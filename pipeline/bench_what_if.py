"""How fast 'what if' is answered, beside replays that would answer it, with the same answers.

Two questions. Other thresholds and alarm rules, of thousands of drawn scores: all at once
(``what_if``), and by a line's own conditions, part by part. Other window sizes, of real
cells: by runs that share what was computed (``shared_runs``), and by replays that share
nothing; results are held to each other by their hash.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from edge.errors import LineError
from pipeline.bench_rounds import shown
from pipeline.config_alarm import Alarm
from pipeline.replay import open_source, run_replay
from pipeline.replay_ledger import new_ledger
from pipeline.run_identity import run_hash
from pipeline.shared_runs import SharedRuns
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, select_cells
from pipeline.stress_calibration import draw_scores
from pipeline.tune_space import varied
from pipeline.what_if import Parts, held_naive, what_if
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from pipeline.config import Config

SIZES = (16, 24, 32, 48, 64)
"""Windows that are asked for; the last is the widest."""
THRESHOLDS, PARTS = 100, 10_000
RULES: list[Alarm] = TypeAdapter(list[Alarm]).validate_python(
    [
        {"name": "few", "kind": "n_of_m", "count": 3, "of_parts": 20},
        {"name": "many", "kind": "n_of_m", "count": 20, "of_parts": 200, "clear_count": 5},
        {"name": "row", "kind": "consecutive", "count": 3},
        {"name": "rate", "kind": "rate", "count": 10, "period_s": 60},
        {"name": "lost", "kind": "n_of_m", "count": 5, "of_parts": 50, "counts": "not_pass"},
    ]
)
DEFECT_SHARE = 0.1
MEMORY_BYTES = 4_000_000_000
THRESHOLDS_TIMES, SIZES_TIMES = 50.0, 10.0
"""How many times as fast as replays the answers must be."""


class WhatIfBenchError(LineError):
    """Two ways gave two answers; the message has them."""


@dataclass(frozen=True, slots=True)
class WhatIfBench:
    """What is measured."""

    frames: int = 400
    repeats: int = 3
    """Of the shared runs; replays are made once."""
    seed: int = 0


class WhatIfReport(NamedTuple):
    """Seconds of each way, for all questions of a kind together."""

    rules_s: Sequence[float]
    rules_replayed_s: float
    first_s: float
    """All sizes, from nothing: each frame seen once, and each pair compared once."""
    sizes_s: Sequence[float]
    """All sizes again, from what is known then."""
    sizes_replayed_s: float
    by_size: dict[str, float]
    """Seconds of the replay of each admission and size."""
    frames: int

    def table(self) -> list[list[str]]:
        """Return rows of cells: what, seconds at once, of replays, how many times as fast."""
        rules, sizes = statistics.median(self.rules_s), statistics.median(self.sizes_s)
        questions = f"{THRESHOLDS} thresholds x {len(RULES)} rules, {PARTS} parts"
        windows = f"windows {', '.join(map(str, SIZES))}, guarded and not, {self.frames} frames"
        return [
            _row(questions, rules, self.rules_replayed_s),
            _row(windows, sizes, self.sizes_replayed_s),
            _row("the same from nothing", self.first_s, self.sizes_replayed_s),
        ]

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line."""
        rules, sizes = statistics.median(self.rules_s), statistics.median(self.sizes_s)
        rules_times, sizes_times = self.rules_replayed_s / rules, self.sizes_replayed_s / sizes
        return {
            "rules_s": round(rules, 4),
            "rules_replayed_s": round(self.rules_replayed_s, 3),
            "rules_times": round(rules_times, 1),
            "first_s": round(self.first_s, 2),
            "sizes_s": round(sizes, 2),
            "sizes_replayed_s": round(self.sizes_replayed_s, 2),
            "sizes_times": round(sizes_times, 2),
            "first_times": round(self.sizes_replayed_s / self.first_s, 2),
            "by_size_s": {name: round(value, 2) for name, value in self.by_size.items()},
            "frames": self.frames,
            "equal": True,
            "held": rules_times >= THRESHOLDS_TIMES and sizes_times >= SIZES_TIMES,
        }


def run_what_if_bench(console: Console, bench: WhatIfBench, folder: Path) -> WhatIfReport:
    """Fetch cells, and measure; their files lie in an empty folder meanwhile.

    Raises:
        WheelError: The data set cannot be fetched.
        WeightsError: The weights cannot be fetched.
        WhatIfBenchError: The answers differ.
    """
    with console.status("preparing cells (90 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        cells = select_cells(wheel, frames=bench.frames, defect_share=DEFECT_SHARE, seed=bench.seed)
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    images = folder / "images"
    images.mkdir()
    for number, cell in enumerate(cells):
        images.joinpath(f"{number:04d}.png").write_bytes(cell.png)
    rules_s, rules_replayed_s = measure_rules(bench)
    return measure_sizes(console, bench, images)._replace(
        rules_s=rules_s, rules_replayed_s=rules_replayed_s
    )


def measure_rules(bench: WhatIfBench) -> tuple[list[float], float]:
    """Ask for all thresholds and rules at once, and part by part.

    Raises:
        WhatIfBenchError: The answers differ.
    """
    scores, _ = draw_scores("lognormal", PARTS, 0.02, bench.seed)
    scores[:: PARTS // 100] = np.nan
    parts = Parts(scores, np.arange(PARTS) * 1_000_000_000)
    thresholds = np.nanquantile(scores, np.linspace(0.8, 0.999, THRESHOLDS)).tolist()
    begin = time.perf_counter()
    naive = [
        [sum(held_naive(rule, threshold, parts)) for rule in RULES] for threshold in thresholds
    ]
    replayed_s = time.perf_counter() - begin
    times = []
    for _ in range(max(9, bench.repeats)):
        begin = time.perf_counter()
        answer = what_if(parts, thresholds, RULES)
        times.append(time.perf_counter() - begin)
        if answer.alarmed.tolist() != naive:
            msg = "all thresholds at once give other alarms than part by part"
            raise WhatIfBenchError(msg)
    return times, replayed_s


def measure_sizes(console: Console, bench: WhatIfBench, images: Path) -> WhatIfReport:
    """Replay a folder with every window size, from nothing and from what is known.

    Raises:
        WhatIfBenchError: The results differ.
    """
    base = open_source(images, None).config
    configs = {
        f"{admission} {size}": varied(
            base, {"window.size_frames": size, "window.admission": admission}
        )
        for admission in ("all", "guarded")
        for size in SIZES
    }
    by_size, hashes = {}, {}
    for name, config in shown(console, "replays", configs.items(), len(configs)):
        by_size[name], hashes[name] = _timed(images, config)
    runs = SharedRuns(MEMORY_BYTES)
    # The widest first: narrower windows compare few frames that it has not.
    first_s = sum(_timed(images, config, runs)[0] for config in reversed(configs.values()))
    times = []
    for _ in shown(console, "repeats", range(bench.repeats), bench.repeats):
        each = {name: _timed(images, config, runs) for name, config in configs.items()}
        times.append(sum(seconds for seconds, _ in each.values()))
        other = [name for name, (_, found) in each.items() if found != hashes[name]]
        if other:
            msg = f"shared runs give other results than replays: {', '.join(other)}"
            raise WhatIfBenchError(msg)
    return WhatIfReport([], 0.0, first_s, times, sum(by_size.values()), by_size, bench.frames)


def _timed(images: Path, config: Config, runs: SharedRuns | None = None) -> tuple[float, str]:
    inspector_of: Callable[..., Any] | None = runs.inspector if runs is not None else None
    with new_ledger(None, force=False) as ledger:
        begin = time.perf_counter()
        run_replay(open_source(images, config), ledger, inspector_of=inspector_of)
        return time.perf_counter() - begin, run_hash(ledger)


def _row(what: str, at_once: float, replayed: float) -> list[str]:
    return [what, f"{at_once:.3f}", f"{replayed:.3f}", f"{replayed / at_once:.1f}"]
