"""When the cause of an alarm is there: one condition for each kind of alarm.

A condition begins at one limit and ends at another; between the two, and while
too little is known, it stays as it is. So what a restart took over from the
ledger stands until the opposite is seen. Nothing here knows of acknowledgment.

Parts that the line was not ready to judge (:data:`UNJUDGED`) are no parts here:
they take no place among the latest ones and end no row. All others are, also
those of ``gate_restart``: they were on the belt and went without a result.
Frames that fill a gap of the sequence never become parts.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.config_alarm import (
    CameraLostAlarm,
    ConsecutiveAlarm,
    DiskLowAlarm,
    NOfMAlarm,
    NoResultRatioAlarm,
    RateAlarm,
    RegimeChangeAlarm,
    ScorerDownAlarm,
)

if TYPE_CHECKING:
    from edge.contract import Verdict, Why
    from pipeline.config_alarm import Alarm

    Seen = dict[str, int | list[str]]

UNJUDGED: Final[frozenset[Why]] = frozenset({"warming", "disabled"})
"""Reasons of a NO_RESULT that no alarm counts: the line did not mean to judge."""
COUNTED: Final[dict[str, frozenset[Verdict]]] = {
    "fail": frozenset({"FAIL"}),
    "not_pass": frozenset({"FAIL", "NO_RESULT"}),
    "no_result": frozenset({"NO_RESULT"}),
}
"""Verdicts that count, by what the config calls them."""
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LineSight:
    """What is seen of the line now."""

    cameras_lost: frozenset[str] | None
    """Cameras that are not there; None while some are not heard of yet."""
    scorer_down: bool | None
    """No scorer where there should be one; None while none is expected yet."""
    free_bytes: int | None
    """Free space on the fullest disk in use; None where it could not be read."""
    regime_change: bool
    """The parts are not those of the window any more."""


class Condition:
    """The cause of an alarm: there or not, and what was seen of it."""

    def __init__(self, *, holds: bool) -> None:
        """Begin with what is known from before."""
        self.holds = holds
        """Whether the cause is there."""

    def part(self, verdict: Verdict, why: Why, now_ns: int) -> None:
        """Take note of a part verdict, given at this monotonic time."""

    def recalled(self) -> None:
        """Take note that all parts from before that matter have been given."""

    def look(self, sight: LineSight, now_ns: int) -> None:
        """Take note of the line as it is at this monotonic time."""

    def seen(self) -> Seen:
        """Return the figures or names behind ``holds``."""
        return {}


class _Counting(Condition):
    """A condition on the parts that were judged."""

    def __init__(self, counted: str, *, holds: bool) -> None:
        super().__init__(holds=holds)
        self.counted = counted
        """Which verdicts count, by the name that the config has for them."""
        self._counted = COUNTED[counted]

    def _counts(self, verdict: Verdict, why: Why) -> bool | None:
        """Tell whether a part counts; None where it is no part to an alarm."""
        if verdict == "NO_RESULT" and why in UNJUDGED:
            return None
        return verdict in self._counted


class OfLatest(_Counting):
    """So many of the latest parts."""

    def __init__(
        self, counted: str, size: int, raise_at: int, clear_at: int, *, early: bool, holds: bool
    ) -> None:
        """Begin at ``raise_at`` of the latest ``size`` parts, end at ``clear_at``.

        It ends only once ``size`` parts are known, and begins before that only
        with ``early``.
        """
        super().__init__(counted, holds=holds)
        self.size, self.early = size, early
        self.raise_at, self.clear_at = raise_at, clear_at
        self._latest: deque[bool] = deque(maxlen=size)
        self._count = 0

    def part(self, verdict: Verdict, why: Why, _now_ns: int) -> None:
        """Take a part in, and the oldest out."""
        counts = self._counts(verdict, why)
        if counts is None:
            return
        if len(self._latest) == self._latest.maxlen:
            self._count -= self._latest[0]
        self._latest.append(counts)
        self._count += counts
        full = len(self._latest) == self._latest.maxlen
        if self._count >= self.raise_at and (full or self.early):
            self.holds = True
        elif self._count <= self.clear_at and full:
            self.holds = False

    def seen(self) -> Seen:
        """Return how many of how many parts."""
        return {"parts": self._count, "of_parts": len(self._latest)}


class InARow(_Counting):
    """So many parts in a row."""

    def __init__(self, counted: str, raise_at: int, *, holds: bool) -> None:
        """Begin at ``raise_at`` parts in a row, end with one that does not count."""
        super().__init__(counted, holds=holds)
        self.raise_at = raise_at
        self._row = 0

    def part(self, verdict: Verdict, why: Why, _now_ns: int) -> None:
        """Lengthen the row or end it."""
        counts = self._counts(verdict, why)
        if counts is None:
            return
        self._row = self._row + 1 if counts else 0
        if self._row >= self.raise_at:
            self.holds = True
        elif not counts:
            self.holds = False

    def seen(self) -> Seen:
        """Return how many parts in a row."""
        return {"parts_in_a_row": self._row}


class WithinPeriod(_Counting):
    """So many parts within a period."""

    def __init__(
        self, counted: str, period_s: float, raise_at: int, clear_at: int, *, holds: bool
    ) -> None:
        """Begin at ``raise_at`` parts less than ``period_s`` old, end at ``clear_at``.

        It ends only once a whole period is known.
        """
        super().__init__(counted, holds=holds)
        self.period_ns = round(period_s * NS_PER_S)
        self.raise_at, self.clear_at = raise_at, clear_at
        # Older ones than it takes to begin change nothing: memory stays bounded.
        self._times_ns: deque[int] = deque(maxlen=raise_at)
        self._known_since_ns: float | None = None

    def part(self, verdict: Verdict, why: Why, now_ns: int) -> None:
        """Keep when a part came that counts."""
        if self._counts(verdict, why):
            self._times_ns.append(now_ns)
        self._decide(now_ns)

    def recalled(self) -> None:
        """Know that no other parts came before."""
        self._known_since_ns = -math.inf

    def look(self, _sight: LineSight, now_ns: int) -> None:
        """Take note of the time: parts grow old also while none come."""
        self._decide(now_ns)

    def seen(self) -> Seen:
        """Return how many parts; ``raise_at`` stands for that many or more."""
        return {"parts": len(self._times_ns)}

    def _decide(self, now_ns: int) -> None:
        if self._known_since_ns is None:
            self._known_since_ns = now_ns
        begins_ns = now_ns - self.period_ns
        while self._times_ns and self._times_ns[0] <= begins_ns:
            self._times_ns.popleft()
        if len(self._times_ns) >= self.raise_at:
            self.holds = True
        elif len(self._times_ns) <= self.clear_at and self._known_since_ns <= begins_ns:
            self.holds = False


class CameraLost(Condition):
    """Any camera is not there, or repeats its picture."""

    _lost: frozenset[str] = frozenset()

    def look(self, sight: LineSight, _now_ns: int) -> None:
        """Hold while any camera is lost."""
        if sight.cameras_lost is not None:
            self._lost = sight.cameras_lost
            self.holds = bool(self._lost)

    def seen(self) -> Seen:
        """Return which cameras."""
        return {"cameras": sorted(self._lost)}


class ScorerDown(Condition):
    """The scorer is not there."""

    def look(self, sight: LineSight, _now_ns: int) -> None:
        """Hold while the scorer is down."""
        if sight.scorer_down is not None:
            self.holds = sight.scorer_down


class RegimeChange(Condition):
    """The parts are not those of the window any more."""

    def look(self, sight: LineSight, _now_ns: int) -> None:
        """Hold while the regime differs."""
        self.holds = sight.regime_change


class DiskLow(Condition):
    """Too little free space; it ends at a tenth more."""

    def __init__(self, min_free_bytes: int, *, holds: bool) -> None:
        """Begin below ``min_free_bytes``."""
        super().__init__(holds=holds)
        self._min_free_bytes = min_free_bytes
        self._free_bytes: int | None = None

    def look(self, sight: LineSight, _now_ns: int) -> None:
        """Compare the free space; where it is unknown, nothing changes."""
        self._free_bytes = sight.free_bytes
        if self._free_bytes is None:
            return
        if self._free_bytes < self._min_free_bytes:
            self.holds = True
        elif self._free_bytes * 10 >= self._min_free_bytes * 11:
            self.holds = False

    def seen(self) -> Seen:
        """Return the free space, where it is known."""
        return {} if self._free_bytes is None else {"free_bytes": self._free_bytes}


class Delayed:
    """An answer that follows a condition only once it has lasted."""

    def __init__(self, on_delay_s: float, off_delay_s: float, *, active: bool) -> None:
        """Begin with what is known from before; a delay that ran then starts anew."""
        self.active = active
        """Whether the cause has been there, uninterrupted, for long enough."""
        self._delay_ns = {True: round(on_delay_s * NS_PER_S), False: round(off_delay_s * NS_PER_S)}
        self._differs_since_ns: int | None = None

    def follow(self, condition: Condition, now_ns: int) -> None:
        """Compare with the condition as it is at this monotonic time."""
        if condition.holds == self.active:
            self._differs_since_ns = None
            return
        if self._differs_since_ns is None:
            self._differs_since_ns = now_ns
        if now_ns - self._differs_since_ns >= self._delay_ns[condition.holds]:
            self.active = condition.holds
            self._differs_since_ns = None


def make_condition(settings: Alarm, *, holds: bool) -> Condition:
    """Return the condition of an alarm, with what is known from before."""
    condition: Condition
    match settings:
        case NOfMAlarm(counts=counts, count=count, of_parts=size):
            clear_at = _clear_count(settings)
            condition = OfLatest(counts, size, count, clear_at, early=True, holds=holds)
        case ConsecutiveAlarm(counts=counts, count=count):
            condition = InARow(counts, count, holds=holds)
        case RateAlarm(counts=counts, count=count, period_s=period_s):
            clear_at = _clear_count(settings)
            condition = WithinPeriod(counts, period_s, count, clear_at, holds=holds)
        case NoResultRatioAlarm():
            condition = _no_result_ratio(settings, holds=holds)
        case CameraLostAlarm():
            condition = CameraLost(holds=holds)
        case ScorerDownAlarm():
            condition = ScorerDown(holds=holds)
        case DiskLowAlarm(min_free_bytes=min_free_bytes):
            condition = DiskLow(min_free_bytes, holds=holds)
        case RegimeChangeAlarm():
            condition = RegimeChange(holds=holds)
    return condition


def looks_back(settings: Alarm) -> tuple[int, float]:
    """Return over how many judged parts, or how many seconds, an alarm's condition reaches."""
    match settings:
        case NOfMAlarm(of_parts=parts) | NoResultRatioAlarm(of_parts=parts):
            return parts, 0.0
        case ConsecutiveAlarm(count=parts):
            return parts, 0.0
        case RateAlarm(period_s=period_s):
            return 0, period_s
    return 0, 0.0


def _clear_count(settings: NOfMAlarm | RateAlarm) -> int:
    return settings.count - 1 if settings.clear_count is None else settings.clear_count


def _no_result_ratio(settings: NoResultRatioAlarm, *, holds: bool) -> OfLatest:
    """Return the condition with its two shares as whole parts, free of rounding.

    A quotient of whole numbers is the float nearest to it, and so is the share
    in the config: 7 of 100 reach 0.07, while 0.07 * 100 is more than 7.
    """
    size = settings.of_parts
    clear_ratio = settings.ratio / 2 if settings.clear_ratio is None else settings.clear_ratio
    raise_at = next(parts for parts in range(size + 1) if parts / size >= settings.ratio)
    clear_at = next(parts for parts in range(size, -1, -1) if parts / size <= clear_ratio)
    return OfLatest("no_result", size, raise_at, clear_at, early=False, holds=holds)
