"""The streams of one seed: a plan of sizes, belts in order, warmed lines, operating points.

Every stream begins with the same good parts, two windows of them, so that windows
are full and judges have seen enough before anything is counted. Recall is taken at
5 % false rejects: the on-arrival score that 5 % of the good parts reach in the
line's own undisturbed stream (``undisturbed``), for each line and seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.stress_figures import Outcome, Seen, figures
from pipeline.stress_line import SIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from edge.sources import Capture
    from pipeline.stress_figures import Figures
    from pipeline.stress_line import Lines, Reading, Rig, Side
    from pipeline.stress_parts import Belt

FALSE_REJECTS = 0.05


@dataclass(frozen=True, slots=True)
class StressPlan:
    """How long the streams are."""

    window: int = 32
    iid_good: int = 200
    iid_defective: int = 30
    bursts: tuple[int, ...] = (1, 4, 10, 19)
    """Parts in a row with the same defect."""
    defects: int = 12
    """Distinct defects that a seed's bursts are made of."""
    after: int = 6
    """Good parts after the longest burst."""
    shares: tuple[float, ...] = (0.1, 0.3, 0.6)
    """Of the parts that carry one defect."""
    share_parts: int = 100
    cold_share: float = 0.3
    """Of the window: the longest burst at the very beginning."""
    cold_defects: int = 4
    stopped: int = 500
    """Pictures of one part."""
    after_stop: int = 20
    ramp: int = 500
    """Parts over which the light changes."""
    ramp_seeds: int = 2
    """Seeds that have a ramp: it is the longest stream, and there are two ways to go."""
    light: float = 0.15
    """By how much it does."""
    step: float = 0.2
    """Factor of a sudden change of light."""
    step_parts: int = 80
    normals: int = 400
    """Good parts that the rate of rejects is told of."""
    judged: int = 6000
    """Drawn scores that go through the judge, a multiple of 1000."""
    poison_good: int = 140
    poison_defective: int = 60

    @property
    def warm_up(self) -> int:
        """Good parts before anything is counted."""
        return 2 * self.window


class Stream:
    """One stream through both lines, as far as it has come."""

    def __init__(self, lines: Lines) -> None:
        """Begin."""
        self._lines: Lines | None = lines
        self.seen: dict[Side, list[Seen]] = {side: [] for side in SIDES}
        """Every part so far, as each line saw it."""
        self.released: set[Side] = set()
        """Lines that an operator has told that what they keep aside is the new norm."""

    @property
    def lines(self) -> Lines:
        """Both lines.

        Raises:
            ValueError: The stream has ended.
        """
        if self._lines is None:
            msg = f"the stream has ended after {len(self.seen['plain'])} parts"
            raise ValueError(msg)
        return self._lines

    def end(self) -> None:
        """Let the lines go, 0.3 GB with the default plan; what they said stays."""
        self._lines = None

    def copy(self) -> Stream:
        """Return a stream that goes on from here by itself."""
        other = Stream(self.lines.copy())
        other.seen = {side: list(seen) for side, seen in self.seen.items()}
        other.released = set(self.released)
        return other

    def show(self, capture: Capture, *, defective: bool = False) -> dict[Side, Reading]:
        """Show the next part; return what each line says of it."""
        shown = self.lines.show(capture)
        for side, reading in shown.items():
            self.seen[side].append(Seen(defective, reading))
        return shown

    def release(self, sides: Iterable[Side]) -> None:
        """Let an operator say so to some of the lines."""
        self.released |= {side for side in sides if self.lines.release(side)}

    def readings(self, side: Side, first: int = 0) -> list[Reading]:
        """Return what a line said, from the part with this index on."""
        return [one.reading for one in self.seen[side][first:]]


class OperatingPoint(NamedTuple):
    """The undisturbed stream of a seed."""

    threshold: dict[Side, float]
    found: tuple[int, ...]
    """Numbers of the defective parts whose score reaches the plain line's threshold."""
    found_by_both: tuple[int, ...]
    """Those of them that the guarded line finds, too: later it cannot be blamed for others."""
    failed: tuple[int, ...]
    """Those that the plain line's own judge fails."""
    seen: dict[Side, list[Seen]]
    """What the lines said of it, after the warm-up."""
    outcome: Outcome


class SeedBench:
    """Makes and measures the streams of one seed."""

    def __init__(self, rig: Rig, belt: Belt, plan: StressPlan, seed: int) -> None:
        """Begin with nothing shown."""
        self._rig = rig
        self.belt = belt
        self.plan = plan
        self.seed = seed
        self._undisturbed: OperatingPoint | None = None
        self._warmed: Stream | None = None

    @property
    def target(self) -> float:
        """Share of parts that the judges are asked to reject."""
        return self._rig.configs["plain"].judge.rejects_per_1000 / 1000

    def fresh(self) -> Stream:
        """Return a stream that has not begun."""
        return Stream(self._rig.lines(self.seed))

    def warmed(self) -> Stream:
        """Return a stream after its warm-up; its next good part is ``plan.warm_up``.

        All of a seed begin alike, so only the first is shown these parts; the others are
        its copies.
        """
        if self._warmed is None:
            self._warmed = self.fresh()
            for number in range(self.plan.warm_up):
                self._warmed.show(self.belt.good(number))
        return self._warmed.copy()

    def forget_warm_up(self) -> None:
        """Let go of the windows that streams are copied from: 0.3 GB with the default plan."""
        self._warmed = None

    def shuffled(self, good: int, defective: int, name: int) -> list[bool]:
        """Return for each part in turn whether it is defective, in the order of this stream."""
        order = [False] * good + [True] * defective
        np.random.default_rng([self.seed, name, good, defective]).shuffle(order)
        return order

    def mixed(self, good: int, defective: int, name: int) -> Stream:
        """Return a warmed stream, then good parts among different defective ones."""
        stream = self.warmed()
        goods, bads = self.plan.warm_up, 0
        for is_defective in self.shuffled(good, defective, name):
            if is_defective:
                stream.show(self.belt.defective(bads), defective=True)
                bads += 1
            else:
                stream.show(self.belt.good(goods))
                goods += 1
        return stream

    def measure(
        self,
        scenario: str,
        params: Mapping[str, float | str],
        side_figures: Callable[[Side], Figures],
        *faults: str,
    ) -> Outcome:
        """Return the outcome of a stream, each line by itself."""
        by_side = {side: side_figures(side) for side in SIDES}
        return Outcome(scenario, params, by_side, faults)

    def base(self, seen: Sequence[Seen], side: Side) -> Figures:
        """Return what every stream has, at the line's operating point."""
        return figures(seen, self.undisturbed.threshold[side])

    @property
    def undisturbed(self) -> OperatingPoint:
        """What the undisturbed stream has shown; it is shown when it is first asked for."""
        if self._undisturbed is None:
            self._undisturbed = self._measure_undisturbed()
        return self._undisturbed

    def _measure_undisturbed(self) -> OperatingPoint:
        """Show different parts in random order, and take the operating points."""
        plan = self.plan
        stream = self.mixed(plan.iid_good, plan.iid_defective, name=0)
        counted = {side: stream.seen[side][plan.warm_up :] for side in SIDES}
        threshold = {side: _operating_point(counted[side]) for side in SIDES}
        bad = [one.reading for one in counted["plain"] if one.defective]
        found = tuple(i for i, one in enumerate(bad) if one.reaches(threshold["plain"]))
        guarded = [one.reading for one in counted["guarded"] if one.defective]
        both = tuple(i for i in found if guarded[i].reaches(threshold["guarded"]))
        failed = tuple(i for i, one in enumerate(bad) if one.verdict == "FAIL")
        params = {"good": plan.iid_good, "defective": plan.iid_defective}
        outcome = self.measure(
            "iid",
            params,
            lambda side: {
                **figures(counted[side], threshold[side]),
                "threshold": threshold[side],
            },
        )
        return OperatingPoint(threshold, found, both, failed, counted, outcome)


def first_parts(seen: Sequence[Seen], good: int, defective: int) -> list[Seen]:
    """Return the first parts of each kind: in mixed streams of a seed they are the same parts."""
    left = {False: good, True: defective}
    parts = []
    for one in seen:
        if left[one.defective]:
            left[one.defective] -= 1
            parts.append(one)
    return parts


def _operating_point(seen: Sequence[Seen]) -> float:
    """Return the score that 5 % of the good parts reach.

    Raises:
        ValueError: No good part has a score.
    """
    scores = [
        one.reading.score for one in seen if not one.defective and one.reading.score is not None
    ]
    if not scores:
        msg = f"none of {len(seen)} parts is good and has a score"
        raise ValueError(msg)
    return float(np.quantile(scores, 1 - FALSE_REJECTS))
