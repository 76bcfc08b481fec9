"""Small streams under stress: drawn parts of 28 px, a backbone whose tokens are their pixels."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from factories import FakeBackbone

from edge.sources import Capture
from musc.pair_memory import PairMemory
from pipeline.lanes import Watch
from pipeline.remembered import RememberedBackbone
from pipeline.stress import Means, Stress, means, measure
from pipeline.stress_bench import SeedBench, StressPlan
from pipeline.stress_jobs import StressDone, StressJob
from pipeline.stress_line import SIDES, Rig, side_config
from pipeline.stress_parts import Belt

if TYPE_CHECKING:
    from collections.abc import Callable

TINY = StressPlan(
    window=16,
    iid_good=40,
    iid_defective=6,
    bursts=(1, 3, 8),
    defects=3,
    after=2,
    shares=(0.1, 0.5),
    share_parts=20,
    cold_defects=2,
    stopped=40,
    after_stop=6,
    ramp=20,
    step_parts=20,
    normals=60,
    judged=1000,
    poison_good=14,
    poison_defective=6,
)


@dataclass(frozen=True, slots=True)
class DrawnParts:
    """Sixteen blocks that are alike on all good parts; one block is another on a defective one."""

    good: tuple[str, ...] = tuple(f"good/{i}" for i in range(60))
    defective: tuple[str, ...] = tuple(f"bad/{i}" for i in range(8))

    def load(self, name: str) -> Capture:
        """Draw the part of that name."""
        kind, number = name.split("/")
        rng = np.random.default_rng([kind == "bad", int(number)])
        picture = np.random.default_rng(7).uniform(80, 170, (28, 28))
        if kind == "bad":
            picture[7:14, 14:21] = rng.uniform(0, 255, (7, 7))
        picture += rng.normal(0, 4, picture.shape)
        return Capture(np.clip(picture, 0, 255).astype(np.uint8), origin=name)

    def copy(self, defective: str, onto: str, rng: np.random.Generator) -> Capture:
        """Put the block of a defective part on a good one, with a little noise."""
        marred, good = self.load(defective).pixels, self.load(onto).pixels
        assert marred is not None
        assert good is not None
        picture = good.astype(np.float64)
        picture[7:14, 14:21] = marred[7:14, 14:21] + rng.normal(0, 1, (7, 7))
        return Capture(np.clip(picture, 0, 255).astype(np.uint8), origin=f"{defective} on {onto}")


NOBODY = Watch(lambda _more: None, lambda: None)
"""Is told how far a run is."""


def drawn_means(stress: Stress) -> Means:
    """Drawn parts, and pixels for tokens."""
    return means(lambda _seed: DrawnParts(), FakeBackbone(), "a89d1abb", stress.memory_bytes)


def show_drawn(job: StressJob, watch: Watch) -> StressDone:
    """Run a part on drawn parts, as a process does; seed 9 kills it."""
    if job.stress.first_seed == KILLS:
        os.kill(os.getpid(), signal.SIGKILL)
    return StressDone(job.number, measure(job.stress, drawn_means(job.stress), watch))


KILLS = 9


def tiny_rig(plan: StressPlan = TINY, tick: Callable[[], None] = lambda: None) -> Rig:
    """Both lines of a plan's window, on pixels."""
    configs = {side: side_config(side, plan.window) for side in SIDES}
    backbone = RememberedBackbone(FakeBackbone(), 10_000_000)
    return Rig(backbone, "a89d1abb", PairMemory(10_000_000, 10_000_000), configs, tick)


def tiny_bench(plan: StressPlan = TINY, seed: int = 0) -> SeedBench:
    """The streams of a seed, on drawn parts."""
    return SeedBench(tiny_rig(plan), Belt(DrawnParts(), seed, 3 * plan.window), plan, seed)
