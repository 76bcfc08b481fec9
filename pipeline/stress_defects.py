"""Streams of defects: in bursts, on a share of all parts, from the first part on, all different.

A worn tool puts the same defect on part after part, and each new copy finds the
earlier ones in the window. Plain mutual scoring then takes the defect for the norm.

An inspection knows nothing of later parts, so the first b copies of a long burst
are a burst of b copies: one stream serves all lengths.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pipeline.stress_bench import first_parts
from pipeline.stress_figures import (
    REGIME_CHANGE,
    SAME_DEFECT,
    Outcome,
    first_with,
    separation,
    share,
)
from pipeline.stress_line import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.stress_bench import SeedBench, Stream
    from pipeline.stress_figures import Figures
    from pipeline.stress_line import Side

NOTICEABLE = 0.15
"""Share of a window's parts with the same defect at which an event is due."""


def iid(bench: SeedBench) -> list[Outcome]:
    """Different parts in random order, one in ten defective: the line undisturbed."""
    return [bench.undisturbed.outcome]


def poisoning(bench: SeedBench) -> list[Outcome]:
    """Random different defects on 30 % of the parts.

    What that costs is told by the parts that the undisturbed stream has, too: of other
    parts the AUROC would differ by chance.
    """
    plan = bench.plan
    stream = bench.mixed(plan.poison_good, plan.poison_defective, name=1)
    params = {"good": plan.poison_good, "defective": plan.poison_defective}
    counted = {side: stream.seen[side][plan.warm_up :] for side in SIDES}
    same = min(plan.iid_good, plan.poison_good), min(plan.iid_defective, plan.poison_defective)

    def figures_of(side: Side) -> Figures:
        poisoned = separation(first_parts(counted[side], *same))
        undisturbed = separation(first_parts(bench.undisturbed.seen[side], *same))
        loss = None
        if poisoned is not None and undisturbed is not None:
            loss = undisturbed - poisoned
        return {
            **bench.base(counted[side], side),
            "auroc_same_parts": poisoned,
            "auroc_undisturbed": undisturbed,
            "auroc_loss": loss,
        }

    return [bench.measure("poisoning", params, figures_of)]


def burst(bench: SeedBench) -> list[Outcome]:
    """The same defect on b parts in a row, for each of a dozen defects.

    They are those that plain mutual scoring rejects at its operating point when they
    come alone; a seed with fewer says so as a fault. What has chosen them is not counted:
    each part of a burst, the first one too, is a copy, so that all are alike.
    """
    streams = list(_bursts(bench))
    plan = bench.plan
    missing = plan.defects - len(streams)
    fault = (
        f"seed {bench.seed}: {len(streams)} of {plan.defects} defects that plain mutual scoring "
        "rejects when they come alone"
    )
    faults = (fault,) if missing else ()
    return [_burst(bench, streams, length, faults) for length in plan.bursts]


def _burst(
    bench: SeedBench, streams: Sequence[Stream], length: int, faults: tuple[str, ...]
) -> Outcome:
    by_side = {side: _burst_figures(bench, streams, length, side) for side in SIDES}
    return Outcome("burst", {"b": length, "defects": bench.plan.defects}, by_side, faults)


def found_alone(bench: SeedBench) -> Iterator[int]:
    """Each defect, by its number, that plain mutual scoring rejects when it comes alone."""
    found = bench.undisturbed.found
    others = [number for number in range(bench.belt.defects) if number not in found]
    for number in (*found, *others):
        shown = bench.warmed().show(bench.belt.defective(number), defective=True)
        if shown["plain"].reaches(bench.undisturbed.threshold["plain"]):
            yield number


def _bursts(bench: SeedBench) -> Iterator[Stream]:
    """Streams of the longest burst of each defect, and a few good parts after it."""
    plan = bench.plan
    for number in islice(found_alone(bench), plan.defects):
        stream = bench.warmed()
        for again in range(1, max(plan.bursts) + 1):
            stream.show(bench.belt.copy(number, again), defective=True)
        for good in range(plan.after):
            stream.show(bench.belt.good(plan.warm_up + good))
        stream.end()
        yield stream


def _burst_figures(bench: SeedBench, streams: Sequence[Stream], length: int, side: Side) -> Figures:
    """Copies of all bursts against good parts: those just before, and after the longest."""
    plan = bench.plan
    threshold = bench.undisturbed.threshold[side]
    copies, good = [], []
    for stream in streams:
        seen = stream.seen[side]
        copies += seen[plan.warm_up : plan.warm_up + length]
        good += seen[plan.window : plan.warm_up]
        if length == max(plan.bursts):
            good += seen[plan.warm_up + length :]
    last = [stream.seen[side][plan.warm_up + length - 1].reading for stream in streams]
    return {
        **bench.base([*copies, *good], side),
        "recall_last": share(one.reaches(threshold) for one in last),
        "bursts": len(streams),
        **_events(streams, side),
    }


def _events(streams: Sequence[Stream], side: Side) -> Figures:
    """Count the streams in which a person was called, by the kind of event."""
    return {
        kind: sum(first_with(kind, stream.readings(side)) is not None for stream in streams)
        for kind in (SAME_DEFECT, REGIME_CHANGE)
    }


def shares(bench: SeedBench) -> list[Outcome]:
    """One defect on 10, 30 and 60 % of the parts, without an end.

    It is one that the plain line's own judge fails when it comes among different parts,
    so that a line that does not fail its copies has lost it.
    """
    number = next(iter((*bench.undisturbed.failed, *bench.undisturbed.found)), None)
    if number is None:
        fault = f"seed {bench.seed}: {_NO_DEFECT}"
        return [
            Outcome("share", _share_params(bench, part), {side: {} for side in SIDES}, (fault,))
            for part in bench.plan.shares
        ]
    return [_share(bench, number, part) for part in bench.plan.shares]


_NO_DEFECT = "no defect that plain mutual scoring rejects when it comes alone"


def _share(bench: SeedBench, number: int, part: float) -> Outcome:
    plan = bench.plan
    carriers = round(part * plan.share_parts)
    order = bench.shuffled(plan.share_parts - carriers, carriers, name=2)
    stream = bench.warmed()
    copies = good = 0
    for carries in order:
        if carries:
            stream.show(bench.belt.copy(number, copies), defective=True)
        else:
            stream.show(bench.belt.good(plan.warm_up + good))
        copies, good = copies + carries, good + (not carries)
    due = _due(order, plan.window)

    def figures_of(side: Side) -> Figures:
        readings = stream.readings(side, plan.warm_up)
        came = first_with(SAME_DEFECT, readings)
        return {
            **bench.base(stream.seen[side][plan.warm_up :], side),
            **_events([stream], side),
            "event_after": None if came is None or due is None else float(came - due),
        }

    return bench.measure("share", _share_params(bench, part), figures_of)


def _share_params(bench: SeedBench, part: float) -> dict[str, float]:
    return {"share": part, "parts": bench.plan.share_parts}


def _due(order: Sequence[bool], window: int) -> int | None:
    """Return the first part at which enough of a window's parts carry the defect; or None."""
    for end in range(1, len(order) + 1):
        if sum(order[max(0, end - window) : end]) >= NOTICEABLE * window:
            return end - 1
    return None


def cold_start(bench: SeedBench) -> list[Outcome]:
    """A burst that begins with the very first part, of up to 0.3 windows.

    Its defects are such as both lines find when they come alone.
    """
    plan = bench.plan
    longest = max(2, round(plan.cold_share * plan.window))
    chosen = bench.undisturbed.found_by_both[: plan.cold_defects]
    return [_cold_start(bench, chosen, b) for b in sorted({max(2, longest // 2), longest})]


def _cold_start(bench: SeedBench, chosen: Sequence[int], length: int) -> Outcome:
    streams = []
    for number in chosen:
        stream = bench.fresh()
        for again in range(length):
            stream.show(bench.belt.copy(number, again), defective=True)
        for good in range(bench.plan.window):
            stream.show(bench.belt.good(good))
        stream.end()
        streams.append(stream)

    def figures_of(side: Side) -> Figures:
        half = length + bench.plan.window // 2
        seen = [
            one
            for stream in streams
            for one in (*stream.seen[side][:length], *stream.seen[side][half:])
        ]
        early = [one for stream in streams for one in stream.readings(side) if one.state != "READY"]
        return {
            **bench.base(seen, side),
            "passed_before_ready": sum(one.verdict == "PASS" for one in early),
            "refined_recall": _refined_recall(bench, streams, length, side),
        }

    faults = () if chosen else (f"seed {bench.seed}: {_NO_DEFECT}",)
    return bench.measure("cold_start", {"b": length}, figures_of, *faults)


def _refined_recall(
    bench: SeedBench, streams: Sequence[Stream], length: int, side: Side
) -> float | None:
    """Share of the burst that a second look finds; None where the line takes none.

    A line looks again when half a window has voted since, so within the good parts here.
    """
    threshold = bench.undisturbed.threshold[side]
    found: list[bool] = []
    for stream in streams:
        latest: dict[int, float] = {}
        for reading in stream.readings(side):
            latest |= reading.refined
        if latest:
            found += [latest.get(number, 0.0) >= threshold for number in range(1, length + 1)]
    return share(found)
