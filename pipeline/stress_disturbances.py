"""Streams without defects: a belt that stops, light that drifts, light that jumps.

A free-running camera fills the window with pictures of one part; a lamp ages or is
replaced. No part is defective, so whatever is rejected is lost for nothing, and a
line must be as it was once the disturbance is over.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from edge.sources.repeats import Repeats
from pipeline.stress_calibration import (
    DEFECT_SHARES,
    FAMILIES,
    TARGETS,
    calibration,
    realised_rejects,
)
from pipeline.stress_figures import REGIME_CHANGE, SAME_DEFECT, first_with, mean_score, share
from pipeline.stress_pictures import lit, noisy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.sources import Capture
    from pipeline.stress_bench import SeedBench, Stream
    from pipeline.stress_calibration import Family
    from pipeline.stress_figures import Figures, Outcome
    from pipeline.stress_line import Reading, Side

SENSOR_NOISE = 0.006
"""Of a stopped belt's pictures: 1.5 grey levels of 255."""
STALE_FRAMES = 3
"""Equal pictures at which a camera is STALE, as by default."""
NOMINAL = 8
"""Parts in a row that pass: the line is as it was."""
CALLS = {REGIME_CHANGE, SAME_DEFECT}
"""Events that an operator answers: the parts are good, so they are released."""
BELT_STOPPED = "belt_stopped"


def stopped_belt(bench: SeedBench) -> list[Outcome]:
    """Hundreds of pictures of one part, equal or with the sensor's noise; then new parts."""
    return [_stopped(bench, noise) for noise in (0.0, SENSOR_NOISE)]


def _stopped(bench: SeedBench, noise: float) -> Outcome:
    plan = bench.plan
    stream = bench.warmed()
    camera = Repeats(STALE_FRAMES)
    stale = 0
    for capture in _standing(bench, noise):
        stream.show(capture)
        if capture.pixels is not None:
            stale += len(camera.see(capture.pixels))
    for number in range(plan.after_stop):
        stream.show(bench.belt.good(plan.warm_up + 1 + number))

    def figures_of(side: Side) -> Figures:
        readings = stream.readings(side)
        standing = readings[plan.warm_up : plan.warm_up + plan.stopped]
        before = mean_score(readings[plan.window : plan.warm_up])
        after = mean_score(readings[-plan.after_stop :])
        came = first_with(BELT_STOPPED, standing)
        return {
            **bench.base(stream.seen[side][-plan.after_stop :], side),
            "not_finite": sum(one.why == "not_finite" for one in readings),
            "camera_stale": stale,
            BELT_STOPPED: int(came is not None),
            "event_after": None if came is None else float(came),
            "standing_that_vote": share(one.voted for one in standing),
            "score_before": before,
            "score_standing": mean_score(standing[-plan.window :]),
            "score_after": after,
            "score_ratio": after / before if after is not None and before else None,
        }

    params = {"pictures": plan.stopped, "noise": noise}
    return bench.measure("stopped_belt", params, figures_of)


def _standing(bench: SeedBench, noise: float) -> Iterator[Capture]:
    """Pictures of one part. Noise comes again only when its like has left the window twice over."""
    plan = bench.plan
    part = bench.belt.good(plan.warm_up)
    for number in range(plan.stopped):
        rng = np.random.default_rng([bench.seed, 3, number % (2 * plan.window + 1)])
        yield noisy(part, rng, noise) if noise else part


def ramp(bench: SeedBench) -> list[Outcome]:
    """Light that changes by 15 %, evenly over hundreds of parts: up in seed 0, down in seed 1."""
    plan = bench.plan
    if bench.seed >= plan.ramp_seeds:
        return []
    change = plan.light if bench.seed % 2 == 0 else -plan.light
    gains = [1 + change * (i + 1) / plan.ramp for i in range(plan.ramp)]
    stream = _under(bench, gains)

    def figures_of(side: Side) -> Figures:
        readings = stream.readings(side, plan.warm_up)
        return {
            **bench.base(stream.seen[side][plan.warm_up :], side),
            REGIME_CHANGE: sum(REGIME_CHANGE in one.events for one in readings),
            SAME_DEFECT: sum(SAME_DEFECT in one.events for one in readings),
            "score_ratio": _ratio(readings, plan.window),
        }

    params = {"light": plan.light, "parts": plan.ramp, "judge_target": bench.target}
    return [bench.measure("ramp", params, figures_of)]


def step(bench: SeedBench) -> list[Outcome]:
    """Light that changes from one part to the next, and stays."""
    plan = bench.plan
    answered = plan.step_parts // 2
    stream = _under(bench, [plan.step] * plan.step_parts, answered)

    def figures_of(side: Side) -> Figures:
        readings = stream.readings(side, plan.warm_up)
        came = first_with(REGIME_CHANGE, readings)
        called = [i for i, one in enumerate(readings) if CALLS & {*one.events}]
        nominal = _nominal_from(readings[answered if side in stream.released else 0 :])
        return {
            **bench.base(stream.seen[side][plan.warm_up :], side),
            REGIME_CHANGE: int(came is not None),
            SAME_DEFECT: int(first_with(SAME_DEFECT, readings) is not None),
            "event_after": float(called[0]) if called else None,
            "released": int(side in stream.released),
            "nominal": int(nominal is not None),
            "nominal_after": None if nominal is None else float(nominal),
            "passed_at_once": share(one.verdict == "PASS" for one in readings[:NOMINAL]),
        }

    return [bench.measure("step", {"gain": plan.step, "parts": plan.step_parts}, figures_of)]


def normals(bench: SeedBench) -> list[Outcome]:
    """Good parts only, and what a judge rejects of them at several tolerated rates.

    The stream is that of the line's own target; the scores go through other judges afterwards.
    """
    plan = bench.plan
    stream = bench.warmed()
    for number in range(plan.normals):
        stream.show(bench.belt.good(plan.warm_up + number))

    def outcome(target: float) -> Outcome:
        def figures_of(side: Side) -> Figures:
            # Those of the first window have fewer peers, and cannot be compared with the others.
            readings = stream.readings(side, plan.window)
            scores = [one.score for one in readings if one.score is not None]
            rejects = realised_rejects(scores, target, plan.warm_up - plan.window)
            counted = stream.seen[side][plan.warm_up :]
            return {**bench.base(counted, side), "rejects": rejects.count, "of": rejects.of}

        return bench.measure("normals", {"rejects_per_1000": target}, figures_of)

    return [outcome(target) for target in TARGETS]


def judged_for_long(bench: SeedBench) -> list[Outcome]:
    """Thousands of drawn scores: does the share of rejects among good parts stay what it was?

    No picture is shown. The plain line's threshold here is the obvious one, from the
    scores that it accepted; the guarded line's is the judge's.
    """
    return [_judged(bench, family, defects) for defects in DEFECT_SHARES for family in FAMILIES]


def _judged(bench: SeedBench, family: Family, defects: float) -> Outcome:
    one = calibration(
        family=family,
        count=bench.plan.judged,
        rejects_per_1000=1000 * bench.target,
        defect_share=defects,
        seed=bench.seed,
    )
    names = ("family", "count", "rejects_per_1000", "defect_share")

    def figures_of(side: Side) -> Figures:
        each = [rejects / 1000 for rejects in one[f"{side}_false_rejects"]]
        return {
            "recall": one[f"{side}_recall"],
            "false_reject_rate": fmean(each),
            "auroc": None,
            "n": one["count"],
            "first_thousand": each[0],
            "last_thousand": each[-1],
            "least_thousand": min(each),
            "most_thousand": max(each),
        }

    fault = f"seed {bench.seed}: {family}, {one['guarded_false_rejects']} false rejects per 1000"
    faults = () if one["held"] else (fault,)
    return bench.measure("calibration", {name: one[name] for name in names}, figures_of, *faults)


def _under(bench: SeedBench, gains: Sequence[float], answered: int | None = None) -> Stream:
    """Show good parts under changing light; an operator answers what a line has told."""
    stream = bench.warmed()
    changed: set[Side] = set()
    for number, gain in enumerate(gains):
        if number == answered:
            stream.release(changed)
        shown = stream.show(lit(bench.belt.good(bench.plan.warm_up + number), gain))
        changed |= {side for side, one in shown.items() if CALLS & {*one.events}}
    return stream


def _nominal_from(readings: Sequence[Reading]) -> int | None:
    """Return how many parts came before the first run of parts that all pass; None without one."""
    passes = [one.verdict == "PASS" for one in readings]
    starts = range(len(passes) - NOMINAL + 1)
    return next((i for i in starts if all(passes[i : i + NOMINAL])), None)


def _ratio(readings: Sequence[Reading], window: int) -> float | None:
    """Return the mean score of the last window over that of the first."""
    first, last = mean_score(readings[:window]), mean_score(readings[-window:])
    return last / first if first and last is not None else None
