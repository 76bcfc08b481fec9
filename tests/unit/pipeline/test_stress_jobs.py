"""Seeds side by side have the figures that they have one after the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from stress_rig import KILLS, NOBODY, TINY, drawn_means, show_drawn

from pipeline.lanes import Watch
from pipeline.stress import CALIBRATION, SCENARIOS, Stress, measure
from pipeline.stress_jobs import divide, run_jobs
from pipeline.stress_parts import StressError

pytestmark = pytest.mark.timeout(300)
"""Each process imports torch, which takes seconds, more on a busy machine."""

STRESS = Stress(seeds=3, plan=replace(TINY, judged=1000), memory_bytes=30_000_000)


def test_figures_are_those_of_one_process() -> None:
    """Two whole seeds and one divided by its streams: the same outcomes in the same order."""
    names, ticks = [], Counter[str]()
    watch = Watch(lambda _more: None, lambda: ticks.update("t"), names.append)

    at_once = run_jobs(divide(STRESS, 2), 2, watch, show_drawn)

    assert at_once == measure(STRESS, drawn_means(STRESS), NOBODY)
    assert ticks["t"] > 3 * TINY.iid_good
    assert {"burst, seed 0", "ramp, seed 1", "iid, seed 2"} <= set(names)


@pytest.mark.parametrize(("seeds", "processes"), [(5, 2), (1, 2), (4, 4), (2, 3), (3, 1)])
def test_every_stream_of_every_seed_is_in_one_part(seeds: int, processes: int) -> None:
    """What is divided is all there, once, and as many processes as there are have work."""
    parts = [job.stress for job in divide(replace(STRESS, seeds=seeds), processes)]

    shown = Counter(
        (seed, name)
        for part in parts
        for seed in range(part.first_seed, part.first_seed + part.seeds)
        for name in part.scenarios
    )
    assert shown == Counter((seed, name) for seed in range(seeds) for name in SCENARIOS)
    assert len(parts) >= processes
    assert sum(part.memory_bytes for part in parts[:processes]) <= STRESS.memory_bytes


def test_single_stream_is_not_divided() -> None:
    """There is nothing to divide it by."""
    parts = divide(replace(STRESS, seeds=1, scenarios=(CALIBRATION,)), 4)

    assert [part.stress.scenarios for part in parts] == [(CALIBRATION,)]


def test_process_that_is_killed_ends_the_run() -> None:
    """Figures of all seeds but one are no figures."""
    jobs = divide(replace(STRESS, seeds=2, first_seed=KILLS - 1), 2)

    with pytest.raises(StressError, match="stress, seed 9: its process ended with code -9"):
        run_jobs(jobs, 2, NOBODY, show_drawn)
