"""Several sources replayed at once, each with the results that it has alone.

Each lane is a process that replays one source after the other and says over a pipe how far
it is. A source that cannot be replayed, or whose process is killed, is a result of its own,
and the others go on. Lanes end with whoever started them.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import current_process, get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from edge.errors import LineError
from pipeline.config_file import load_config
from pipeline.feature_files import FeatureFiles
from pipeline.replay import Pace, new_inspector, open_source, run_replay
from pipeline.replay_ledger import new_ledger
from pipeline.replay_report import match_labels, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext
    from pathlib import Path

    from pipeline.feature_files import FeatureCounts
    from pipeline.replay_report import RunReport

END_S = 20.0
"""A lane that is not wanted any more may finish its frames in hand, and put its ledger away."""


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """One source, and how it is replayed; see ``musc-edge replay``."""

    source: Path
    ledger: Path | None = None
    labels: Path | None = None
    config: Path | None = None
    force: bool = False
    late: bool | None = None
    speed: float | None = None
    features: Path | None = None


@dataclass(frozen=True, slots=True)
class JobDone:
    """What came of a source: its numbers, or why there are none."""

    source: Path
    report: RunReport | None
    error: str = ""
    warnings: tuple[str, ...] = ()
    features: FeatureCounts | None = None


class Watch(NamedTuple):
    """Who is told how far the replays are."""

    expect: Callable[[int], None]
    """Told of each source how many frames it has."""
    tick: Callable[[], None]
    """Told of each frame that is done."""


class Work(Protocol):
    """What replays a source; a function of a module, so that a lane finds it by its name."""

    def __call__(self, job: ReplayJob, watch: Watch, /) -> JobDone:
        """Replay a source."""
        ...


def run_job(job: ReplayJob, watch: Watch) -> JobDone:
    """Replay one source; what is wrong with it is in the answer."""
    files = FeatureFiles(job.features) if job.features is not None else None
    counts = files.counts if files is not None else None
    try:
        settings = load_config(job.config) if job.config is not None else None
        source = open_source(job.source, settings, late=job.late)
        known = match_labels(job.labels, source.names()) if job.labels is not None else {}
        watch.expect(len(source))
        with new_ledger(job.ledger, force=job.force) as path:
            inspector_of = partial(new_inspector, files=files)
            run_replay(source, path, Pace(job.speed), watch.tick, inspector_of)
            numbers = report(path, source.config.judge.score, known)
    except LineError as error:
        return JobDone(job.source, None, str(error), features=counts)
    return JobDone(job.source, numbers, warnings=tuple(source.warnings), features=counts)


def run_jobs(
    jobs: Sequence[ReplayJob],
    processes: int,
    watch: Watch,
    work: Work = run_job,
) -> Iterator[JobDone]:
    """Yield what comes of each source, in the order in which they end.

    Args:
        jobs: One a source.
        processes: So many at once, which share the cores; with 1 in this process.
        watch: Told how far they are.
        work: What replays a source.
    """
    if processes == 1:
        yield from (work(job, watch) for job in jobs)
        return
    context, waiting = get_context("spawn"), deque(jobs)
    lanes: list[_Lane] = []
    try:
        while waiting or lanes:
            while waiting and len(lanes) < processes:
                lanes.append(_Lane(context, work, processes, waiting.popleft()))
            speaking = wait([lane.pipe for lane in lanes])
            for lane in [lane for lane in lanes if lane.pipe in speaking]:
                done = lane.hear(watch)
                if done is None:
                    continue
                yield done
                if lane.is_there and waiting:
                    lane.give(waiting.popleft())
                else:
                    lanes.remove(lane)
                    lane.close()
    finally:
        for lane in lanes:
            lane.pipe.close()  # of all first, so that they end at once
        for lane in lanes:
            lane.close()


class _Lane:
    """A process for one source at a time."""

    def __init__(self, context: SpawnContext, work: Work, processes: int, job: ReplayJob) -> None:
        self.pipe, far = context.Pipe()
        self.is_there = True
        self._process = context.Process(target=_work_off, args=(far, work, processes))
        self._process.start()
        far.close()
        self.give(job)

    def give(self, job: ReplayJob) -> None:
        """Have a source replayed; that the process is gone is heard."""
        self._source = job.source
        with suppress(OSError):
            self.pipe.send(job)

    def hear(self, watch: Watch) -> JobDone | None:
        """Take what the process says; return what came of its source, once it has."""
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self.is_there = False
            self._process.join(END_S)
            code = self._process.exitcode
            return JobDone(self._source, None, f"its process ended with code {code}")
        if isinstance(said, JobDone):
            return said
        if said is None:
            watch.tick()
        else:
            watch.expect(said)
        return None

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work_off(pipe: Connection, work: Work, processes: int) -> None:
    """Replay what is asked for, until nobody asks any more."""
    logging.basicConfig(
        level="WARNING",
        format="%(asctime)s %(levelname)-7s replay %(processName)s: %(message)s",
    )
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    watch = Watch(expect=pipe.send, tick=lambda: pipe.send(None))
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            job = pipe.recv()
            current_process().name = str(job.source)
            pipe.send(work(job, watch))
