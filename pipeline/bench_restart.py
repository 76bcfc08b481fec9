"""How long a line judges nothing after its scorer was killed: windows come back from the disk.

On a real line with real solar cells the scorer is killed in mid-stream (SIGKILL) and the
time is taken until the broker has the next PASS or FAIL. Beside it, in the same repeat,
another process does only what cannot be left out: import, weights, windows
(``pipeline.bench_start``).
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.errors import LineError
from pipeline.bench_line import BenchLine, Outage
from pipeline.bench_rounds import shown
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, select_cells
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

RESTART_TIMES = 1.5
"""Of import, weights and windows, what a restart may take."""
WARM_SPARE = 24
"""Frames beyond a window until the judge has a threshold for sure."""
BEFORE, AFTER = 8, 32
"""Frames that are judged before the kill, and others of the phase: more than are in flight."""
DEADLINE_MS = 15_000
"""Frames that the killed scorer had get their NO_RESULT then; a start takes less."""
START_LIMIT_S = 300.0


class RestartBenchError(LineError):
    """The steps of a start could not be taken; with what the process said."""


@dataclass(frozen=True, slots=True)
class RestartBench:
    """What is measured."""

    repeats: int = 5
    window: int = 32
    seed: int = 0
    """Which cells, and their order."""


class Start(NamedTuple):
    """What each step of a start takes at least, in seconds."""

    import_s: float
    weights_s: float
    windows_s: float

    @property
    def total_s(self) -> float:
        """All steps."""
        return sum(self)


class Restart(NamedTuple):
    """One repeat."""

    outage: Outage
    start: Start

    @property
    def judged_s(self) -> float:
        """From the kill to the first PASS or FAIL that the broker has."""
        return (self.outage.judged_ns - self.outage.killed_ns) / 1e9

    @property
    def ratio(self) -> float:
        """What it took, by what it takes at least."""
        return self.judged_s / self.start.total_s


@dataclass(frozen=True, slots=True)
class RestartReport:
    """What was measured."""

    repeats: Sequence[Restart]
    window: int
    windows_bytes: int

    def table(self) -> list[list[str]]:
        """Return rows of cells: what, median, least, most."""
        starts = [one.start for one in self.repeats]
        rows = {
            "import, s": [one.import_s for one in starts],
            "weights, s": [one.weights_s for one in starts],
            "windows, s": [one.windows_s for one in starts],
            "kill to PASS or FAIL, s": [one.judged_s for one in self.repeats],
            "by import + weights + windows": [one.ratio for one in self.repeats],
            "frames without a judgement": [float(one.outage.unjudged) for one in self.repeats],
        }
        return [
            [name, f"{statistics.median(values):.2f}", f"{min(values):.2f}", f"{max(values):.2f}"]
            for name, values in rows.items()
        ]

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line."""
        starts = [one.start for one in self.repeats]
        ratio = _median(one.ratio for one in self.repeats)
        warming = sum(one.outage.warming for one in self.repeats)
        return {
            "judged_s": _median(one.judged_s for one in self.repeats),
            "import_s": _median(one.import_s for one in starts),
            "weights_s": _median(one.weights_s for one in starts),
            "windows_s": _median(one.windows_s for one in starts),
            "ratio": ratio,
            "unjudged": max(one.outage.unjudged for one in self.repeats),
            "warming": warming,
            "windows_bytes": self.windows_bytes,
            "repeats": len(self.repeats),
            "window": self.window,
            "held": ratio <= RESTART_TIMES and not warming,
        }


def run_restart_bench(
    console: Console, bench: RestartBench, folder: Path, stop: Callable[[], bool]
) -> RestartReport:
    """Fetch cells and weights, and measure with a line in an empty folder.

    Raises:
        WheelError: The data set cannot be fetched.
        BenchLineError: The line failed or was stopped, or judged nothing afterwards.
        RestartBenchError: A process that only starts has failed.
    """
    with console.status("preparing cells (90 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        warm = bench.window + WARM_SPARE
        frames = warm + bench.repeats * (BEFORE + AFTER)
        cells = select_cells(wheel, frames=frames, defect_share=0.0, seed=bench.seed)
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    return measure(console, bench, [cell.png for cell in cells], folder, stop)


def measure(
    console: Console,
    bench: RestartBench,
    pictures: Sequence[bytes],
    folder: Path,
    stop: Callable[[], bool],
    **sections: dict[str, Any],
) -> RestartReport:
    """Measure on these pictures.

    Args:
        console: Where progress is shown.
        bench: What is measured.
        pictures: PNG files: the warm-up, then ``BEFORE + AFTER`` for each repeat.
        folder: Empty, for the line.
        stop: Asked whether to give up.
        **sections: Of the line's config.

    Raises:
        BenchLineError: As ``run_restart_bench``.
        RestartBenchError: As ``run_restart_bench``.
    """
    folders = list(_written(pictures, bench.window + WARM_SPARE, folder))
    sections = {
        "window": {"size_frames": bench.window},
        "part": {"deadline_ms": DEADLINE_MS},
        **sections,
    }
    with BenchLine(folder, "embedded", stop, **sections) as line:
        line.run(folders[0], 0)
        repeats = [
            Restart(line.outage(images, BEFORE), _start(line.config_path))
            for images in shown(console, "repeats", folders[1:], bench.repeats)
        ]
        kept = line.config.windows_path.glob("*/*.safetensors")
        return RestartReport(repeats, bench.window, sum(one.stat().st_size for one in kept))


def _start(config: Path) -> Start:
    """Let another process do what every start does, while the line has nothing to do.

    Raises:
        RestartBenchError: It failed.
    """
    begin = time.monotonic_ns()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.bench_start", str(config)],
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
    if done.returncode:
        msg = f"pipeline.bench_start ended with code {done.returncode}: {done.stderr[-500:]}"
        raise RestartBenchError(msg)
    at_ns = json.loads(done.stdout.splitlines()[-1])
    imported, weights, windows = (at_ns[name] for name in ("imported", "weights", "windows"))
    return Start((imported - begin) / 1e9, (weights - imported) / 1e9, (windows - weights) / 1e9)


def _written(pictures: Sequence[bytes], warm: int, folder: Path) -> Iterator[Path]:
    """Write the pictures of the warm-up and of each repeat into folders of their own."""
    starts = [0, *range(warm, len(pictures), BEFORE + AFTER), len(pictures)]
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        place = folder / f"phase-{number:02d}"
        place.mkdir()
        for at in range(first, last):
            place.joinpath(f"{at:04d}.png").write_bytes(pictures[at])
        yield place


def _median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 4)
