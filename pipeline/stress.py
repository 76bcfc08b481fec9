"""Streams under stress: where plain mutual scoring on a belt goes blind, and what the line does.

Every stream is shown to two inspectors that differ in admission only. All seeds of a
stream make one line of figures; a stream whose figures are not what they should be
has its faults beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.remembered import RememberedBackbone
from pipeline.shared_runs import divided
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS
from pipeline.stress_bench import SeedBench, StressPlan
from pipeline.stress_defects import burst, cold_start, iid, poisoning, shares
from pipeline.stress_disturbances import judged_for_long, normals, ramp, step, stopped_belt
from pipeline.stress_line import SIDES, Rig, side_config
from pipeline.stress_parts import (
    Belt,
    StressError,
    Supply,
    SyntheticSupply,
    folder_supply,
    solar_cells,
)
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from musc.backbone import Backbone
    from musc.pair_memory import PairMemory
    from pipeline.lanes import Watch
    from pipeline.stress_figures import Collected, Outcome

BACKBONE = "dinov2-vits14"
CALIBRATION = "calibration"
"""The stream without pictures."""
PLAN = StressPlan()
"""How long the streams are."""
_AS_THEY_CAME = ("iid", "poisoning", "normals")
"""Streams of pictures that nothing was done to."""
LEAST_WINDOWS = 3
"""Windows that the good parts must fill, so that no picture is compared with itself."""


class Scenario(NamedTuple):
    """A kind of stream."""

    run: Callable[[SeedBench], list[Outcome]]
    parts: Callable[[StressPlan], int]
    """About how many parts a seed shows."""


SCENARIOS: Mapping[str, Scenario] = {
    "iid": Scenario(iid, lambda _plan: 0),
    "burst": Scenario(
        burst,
        lambda plan: plan.defects * (max(plan.bursts) + plan.after),
    ),
    "share": Scenario(shares, lambda plan: len(plan.shares) * plan.share_parts),
    "stopped_belt": Scenario(stopped_belt, lambda plan: 2 * (plan.stopped + plan.after_stop)),
    "cold_start": Scenario(cold_start, lambda plan: 3 * plan.cold_defects * plan.window),
    "ramp": Scenario(ramp, lambda plan: plan.ramp // 2),
    "step": Scenario(step, lambda plan: plan.step_parts),
    "poisoning": Scenario(poisoning, lambda plan: plan.poison_good + plan.poison_defective),
    "normals": Scenario(normals, lambda plan: plan.normals),
    CALIBRATION: Scenario(judged_for_long, lambda _plan: 0),
}


@dataclass(frozen=True, slots=True)
class Stress:
    """What is run."""

    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    seeds: int = 5
    plan: StressPlan = PLAN
    memory_bytes: int = 4_000_000_000
    """For what was computed before; with less it takes longer, and says the same."""
    folder: Path | None = None
    """Labelled parts, instead of solar cells."""
    synthetic: bool = False
    first_seed: int = 0

    @property
    def parts(self) -> int:
        """About how many parts are shown."""
        plan = self.plan
        a_seed = 2 * plan.warm_up + plan.iid_good + plan.iid_defective
        a_seed += sum(SCENARIOS[name].parts(plan) for name in self.scenarios)
        return self.seeds * a_seed


class Means(NamedTuple):
    """What streams are made with; several runs may share it."""

    supply: Callable[[int], Supply]
    """The parts of a seed."""
    backbone: RememberedBackbone
    """Asked once for each picture, as far as memory goes."""
    model: str
    """Its digest."""
    pairs: PairMemory


def means(
    supply: Callable[[int], Supply], backbone: Backbone, model: str, memory_bytes: int
) -> Means:
    """Return means that remember nothing yet."""
    features, pairs = divided(memory_bytes)
    return Means(supply, RememberedBackbone(backbone, features), model, pairs)


def load_means(stress: Stress) -> Means:
    """Return means with real parts and weights.

    Raises:
        LineError: They cannot be had.
    """
    supply = _supply(stress)
    return means(supply, *load_backbone(BackboneChoice(BACKBONE)), stress.memory_bytes)


def measure(stress: Stress, made_with: Means, watch: Watch) -> list[Outcome]:
    """Show the streams of each seed in turn.

    Args:
        stress: What is run.
        made_with: Parts, backbone and memory.
        watch: Is told how far it is.

    Raises:
        StressError: Parts or settings that do not fit.
    """
    plan = stress.plan
    try:
        rig = Rig(
            made_with.backbone,
            made_with.model,
            made_with.pairs,
            {side: side_config(side, plan.window) for side in SIDES},
            watch.tick,
        )
    except ValidationError as error:
        msg = "; ".join(str(one["msg"]) for one in error.errors())
        raise StressError(msg) from error
    least = LEAST_WINDOWS * plan.window
    benches = [
        SeedBench(rig, Belt(made_with.supply(seed), seed, least), plan, seed)
        for seed in range(stress.first_seed, stress.first_seed + stress.seeds)
    ]
    outcomes: list[Outcome] = []

    def show(bench: SeedBench, *, as_they_came: bool) -> None:
        for name in stress.scenarios:
            if (name in _AS_THEY_CAME) == as_they_came:
                watch.begin(f"{name}, seed {bench.seed}")
                outcomes.extend(SCENARIOS[name].run(bench))
        bench.forget_warm_up()

    # Seeds draw from the same pictures, and a seed's streams compare the same pairs: what is
    # wanted again soon is still remembered.
    for bench in benches if set(stress.scenarios) != {CALIBRATION} else ():
        watch.begin(f"undisturbed, seed {bench.seed}")
        _ = bench.undisturbed
        show(bench, as_they_came=True)
    for bench in benches:
        show(bench, as_they_came=False)
    return in_order(outcomes)


def in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes by stream; those of one stream stay as they are."""
    return sorted(outcomes, key=lambda one: list(SCENARIOS).index(one.scenario))


def _supply(stress: Stress) -> Callable[[int], Supply]:
    """Return where the parts of a seed come from; photographs are the same for all."""
    if stress.synthetic:
        return SyntheticSupply
    if stress.folder is not None:
        photographs = folder_supply(stress.folder)
    else:
        photographs = solar_cells(fetch_wheel(SOLAR_CELLS, user_cache() / "wheels"))
    return lambda _seed: photographs


def attribution(stress: Stress) -> str:
    """Return what must be said of the pictures."""
    return "" if stress.folder is not None or stress.synthetic else ATTRIBUTION


COLUMNS = (
    "stream",
    "of",
    "line",
    "recall",
    "of the last",
    "false rejects",
    "AUROC",
    "judge's recall",
    "judge's false rejects",
    "passed",
    "parts",
)
"""Of the table."""
_FIGURES = (
    "recall",
    "recall_last",
    "false_reject_rate",
    "auroc",
    "judge_recall",
    "judge_false_rejects",
    "passed",
    "n",
)


def table(collected: Sequence[Collected]) -> list[list[str]]:
    """Return a row for each stream and line."""
    rows = []
    for one in collected:
        whole = one.summary()
        params = ", ".join(f"{name} {value}" for name, value in one.params.items())
        rows += [
            [one.scenario, params, side, *(_cell(whole[side].get(name)) for name in _FIGURES)]
            for side in SIDES
        ]
    return rows


def _cell(value: Any) -> str:  # noqa: ANN401 - a figure of JSON
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
