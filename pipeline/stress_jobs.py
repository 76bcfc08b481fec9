"""The streams of a stress run in several processes: seeds side by side, with the same figures.

Each process has its own backbone, one thread and its share of the memory. Seeds that are
left over when all processes have the same number of them are divided by their streams; each
of these begins with the seed's undisturbed stream, so that part of it is shown twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from edge.errors import LineError
from pipeline.counting_view import CountingView
from pipeline.lanes import Watch, run_lanes
from pipeline.stress import SCENARIOS, Stress, in_order, load_means, measure
from pipeline.stress_figures import collect
from pipeline.stress_parts import StressError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.lanes import Work
    from pipeline.stress import Means
    from pipeline.stress_figures import Collected, Outcome


@dataclass(frozen=True, slots=True)
class StressJob:
    """A part of a run."""

    number: int
    """Its place among the parts."""
    stress: Stress

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"stress, seed {self.stress.first_seed}"


@dataclass(frozen=True, slots=True)
class StressDone:
    """What came of a part: its outcomes, or why there are none."""

    number: int
    outcomes: list[Outcome]
    error: str = ""


def run_stress(console: Console, stress: Stress, processes: int) -> list[Collected]:
    """Show all streams of all seeds to both lines, and return their figures.

    Raises:
        LineError: Parts or weights that cannot be had, settings that do not fit, or a
            process that was killed.
    """
    with console.status("preparing parts and weights (180 MB once, then from the cache)"):
        _loaded(stress)
    jobs = divide(stress, processes)
    with CountingView(console, sum(job.stress.parts for job in jobs)) as view:
        watch = Watch(view.expect, view.tick, view.begin)
        return collect(run_jobs(jobs, processes, watch))


def divide(stress: Stress, processes: int) -> list[StressJob]:
    """Return the parts of a run, each for one process; the longest come first."""
    if processes == 1:
        return [StressJob(0, stress)]
    own = replace(stress, memory_bytes=stress.memory_bytes // processes, seeds=1)
    left_over = stress.seeds % processes
    whole = [replace(own, first_seed=stress.first_seed + k) for k in range(stress.seeds)]
    parts = whole[: stress.seeds - left_over]
    for one in whole[stress.seeds - left_over :]:
        parts += [replace(one, scenarios=names) for names in _shares(stress, processes)]
    return [StressJob(number, part) for number, part in enumerate(parts)]


def run_job(job: StressJob, watch: Watch) -> StressDone:
    """Run a part; what is wrong with it is in the answer."""
    try:
        return StressDone(job.number, measure(job.stress, _loaded(job.stress), watch))
    except LineError as error:
        return StressDone(job.number, [], str(error))


def run_jobs(
    jobs: list[StressJob],
    processes: int,
    watch: Watch,
    work: Work[StressJob, StressDone] = run_job,
) -> list[Outcome]:
    """Return the outcomes of all parts, by stream and seed.

    Args:
        jobs: The parts.
        processes: As ``run_lanes``.
        watch: Told how far they are.
        work: Runs a part.

    Raises:
        StressError: A part failed, or its process was killed.
    """
    found: dict[int, list[Outcome]] = {}
    for done in run_lanes(jobs, processes, watch, work, _lost):
        if done.error:
            raise StressError(done.error)
        found[done.number] = done.outcomes
    return in_order([outcome for number in sorted(found) for outcome in found[number]])


def _lost(job: StressJob, how: str) -> StressDone:
    return StressDone(job.number, [], f"{job.name}: {how}")


def _loaded(stress: Stress) -> Means:
    """Return the means of all parts that this process runs."""
    return _load(replace(stress, scenarios=(), first_seed=0, seeds=0))


_load = lru_cache(maxsize=1)(load_means)


def _shares(stress: Stress, count: int) -> list[tuple[str, ...]]:
    """Divide streams among so many, about equally long; none has nothing."""
    shares: list[list[str]] = [[] for _ in range(count)]
    parts = {name: SCENARIOS[name].parts(stress.plan) for name in stress.scenarios}
    for name in sorted(parts, key=lambda one: -parts[one]):
        min(shares, key=lambda share: sum(parts[one] for one in share)).append(name)
    return [tuple(name for name in SCENARIOS if name in share) for share in shares if share]
