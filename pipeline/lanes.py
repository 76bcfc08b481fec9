"""Work shared by several processes, each with one job at a time.

Each lane is a process that works off one job after the other and says over a pipe how far
it is. A job whose process is killed has an answer of its own, and the others go on. Lanes
end with whoever started them.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnContext

END_S = 20.0
"""A lane that is not wanted any more may finish its frames in hand, and put its ledger away."""


class Job(Protocol):
    """What a lane is given; pickled on its way."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        ...


J = TypeVar("J", bound=Job)
J_contra = TypeVar("J_contra", bound=Job, contravariant=True)
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)


def _nothing(_what: str) -> None:
    """Tell nobody."""


class Watch(NamedTuple):
    """Who is told how far the work is."""

    expect: Callable[[int], None]
    """Told how many frames a job has more than was known."""
    tick: Callable[[], None]
    """Told of each frame that is done."""
    begin: Callable[[str], None] = _nothing
    """Told what is done from now on."""


class Work(Protocol[J_contra, D_co]):
    """What does a job; a function of a module, so that a lane finds it by its name."""

    def __call__(self, job: J_contra, watch: Watch, /) -> D_co:
        """Do a job."""
        ...


@dataclass(frozen=True, slots=True)
class Done(Generic[D]):
    """What came of a job, on its way back."""

    answer: D


def run_lanes(
    jobs: Sequence[J],
    processes: int,
    watch: Watch,
    work: Work[J, D],
    lost: Callable[[J, str], D],
) -> Iterator[D]:
    """Yield what comes of each job, in the order in which they end.

    Args:
        jobs: What is to be done; the first begin first.
        processes: So many at once, which share the cores; with 1 in this process.
        watch: Told how far they are.
        work: Does a job.
        lost: Returns what came of a job whose process is gone, given how it ended.
    """
    if processes == 1:
        yield from (work(job, watch) for job in jobs)
        return
    context, waiting = get_context("spawn"), deque(jobs)
    lanes: list[_Lane[J, D]] = []
    try:
        while waiting or lanes:
            while waiting and len(lanes) < processes:
                lanes.append(_Lane(context, work, lost, processes, waiting.popleft()))
            speaking = wait([lane.pipe for lane in lanes])
            for lane in [lane for lane in lanes if lane.pipe in speaking]:
                done = lane.hear(watch)
                if done is None:
                    continue
                yield done.answer
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


class _Lane(Generic[J, D]):
    """A process for one job at a time."""

    def __init__(
        self,
        context: SpawnContext,
        work: Work[J, D],
        lost: Callable[[J, str], D],
        processes: int,
        job: J,
    ) -> None:
        self.pipe, far = context.Pipe()
        self.is_there = True
        self._lost = lost
        self._process = context.Process(target=_work_off, args=(far, work, processes))
        self._process.start()
        far.close()
        self.give(job)

    def give(self, job: J) -> None:
        """Have a job done; that the process is gone is heard."""
        self._job = job
        with suppress(OSError):
            self.pipe.send(job)

    def hear(self, watch: Watch) -> Done[D] | None:
        """Take what the process says; return what came of its job, once it has."""
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self.is_there = False
            self._process.join(END_S)
            code = self._process.exitcode
            return Done(self._lost(self._job, f"its process ended with code {code}"))
        if isinstance(said, Done):
            return said
        if said is None:
            watch.tick()
        elif isinstance(said, str):
            watch.begin(said)
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


def _work_off(pipe: Connection, work: Work[Job, object], processes: int) -> None:
    """Do what is asked for, until nobody asks any more."""
    logging.basicConfig(
        level="WARNING",
        format="%(asctime)s %(levelname)-7s %(processName)s: %(message)s",
    )
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    watch = Watch(expect=pipe.send, tick=lambda: pipe.send(None), begin=pipe.send)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            job = pipe.recv()
            current_process().name = job.name
            pipe.send(Done(work(job, watch)))
