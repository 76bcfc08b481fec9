"""What a run of the pipeline bench came to: how much of a frame's time was not compute.

Pure: the times of frames in, figures out. Every share is taken against the scorer's
compute of the same repeat, because both saw the same load of the machine then.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.bench_line import FrameTimes

OVERHEAD_P50_SHARE, OVERHEAD_P99_SHARE, FPS_SHARE = 0.05, 0.2, 0.9
"""What the pipeline may cost at most at half load, and must reach at least at full load."""


class OwnCompute(NamedTuple):
    """What a frame costs without a pipeline, in the bench's own process."""

    backbone_ms: float
    """Pixels that are prepared to patch tokens."""
    msm_ms: float
    """Patch tokens to the scores of the frame against the line's window."""
    plain_msm_ms: float
    """The same in a window of voters only, without the guard."""

    @property
    def total_ms(self) -> float:
        """Backbone and mutual scoring as the line has it."""
        return self.backbone_ms + self.msm_ms

    @property
    def plain_ms(self) -> float:
        """Backbone and plain mutual scoring."""
        return self.backbone_ms + self.plain_msm_ms


@dataclass(frozen=True, slots=True)
class Repeat:
    """One phase of each kind, one after the other."""

    own: Sequence[OwnCompute]
    full: Sequence[FrameTimes]
    """At least two frames that came as fast as the scorer took them."""
    half: Sequence[FrameTimes]
    """Frames at half that rate."""

    @property
    def own_ms(self) -> float:
        """Median of backbone and mutual scoring together, without a pipeline."""
        return statistics.median(one.total_ms for one in self.own)

    @property
    def plain_ms(self) -> float:
        """Median of backbone and plain mutual scoring together."""
        return statistics.median(one.plain_ms for one in self.own)

    @property
    def fps(self) -> float:
        """Confirmed frames a second at full load."""
        first, last = self.full[0].confirmed_ns, self.full[-1].confirmed_ns
        return (len(self.full) - 1) * 1e9 / (last - first)

    @property
    def overheads(self) -> list[float]:
        """Overhead of each frame at half load, as a share of the scorer's compute there."""
        compute_ms = statistics.median(frame.compute_ms for frame in self.half)
        return [frame.overhead_ms / compute_ms for frame in self.half]

    @property
    def strict_overheads(self) -> list[float]:
        """The same with all of the line's time that ``own_ms`` does not explain, by that."""
        return [frame.latency_ms / self.own_ms - 1 for frame in self.half]


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """What was measured."""

    repeats: Sequence[Repeat]
    broker: Literal["embedded", "mosquitto"]
    window: int

    def table(self) -> list[list[str]]:
        """Return rows of cells: what, median, 99th percentile, of how many."""
        half = [frame for one in self.repeats for frame in one.half]
        own = [one for repeat in self.repeats for one in repeat.own]
        rows = {
            "backbone alone, ms": [one.backbone_ms for one in own],
            "mutual scoring alone, ms": [one.msm_ms for one in own],
            "plain mutual scoring alone, ms": [one.plain_msm_ms for one in own],
            "scorer's compute in the line, ms": [frame.compute_ms for frame in half],
            "capture to confirmed publish, ms": [frame.latency_ms for frame in half],
            "overhead, ms": [frame.overhead_ms for frame in half],
            "overhead, share of compute": self._overheads,
        }
        table = [
            [name, f"{_p50(values):.3f}", f"{_p99(values):.3f}", str(len(values))]
            for name, values in rows.items()
        ]
        rates = [repeat.fps for repeat in self.repeats]
        table.append(["frames/s at full load", f"{_p50(rates):.2f}", "", str(len(rates))])
        shares = {"": self.fps_share, "plain ": self.plain_fps_share}
        table += [
            [f"of 1 / (backbone + {kind}mutual scoring)", f"{share:.3f}", "", str(len(rates))]
            for kind, share in shares.items()
        ]
        return table

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line."""
        half = [frame for one in self.repeats for frame in one.half]
        own = [one for repeat in self.repeats for one in repeat.own]
        strict = [share for repeat in self.repeats for share in repeat.strict_overheads]
        p50, p99 = _p50(self._overheads), _p99(self._overheads)
        return {
            "compute_ms": _rounded(_p50([frame.compute_ms for frame in half])),
            "backbone_ms": _rounded(_p50([one.backbone_ms for one in own])),
            "msm_ms": _rounded(_p50([one.msm_ms for one in own])),
            "plain_msm_ms": _rounded(_p50([one.plain_msm_ms for one in own])),
            "latency_p50_ms": _rounded(_p50([frame.latency_ms for frame in half])),
            "latency_p99_ms": _rounded(_p99([frame.latency_ms for frame in half])),
            "overhead_p50_ms": _rounded(_p50([frame.overhead_ms for frame in half])),
            "overhead_p99_ms": _rounded(_p99([frame.overhead_ms for frame in half])),
            "overhead_p50_share": _rounded(p50),
            "overhead_p99_share": _rounded(p99),
            "strict_overhead_p50_share": _rounded(_p50(strict)),
            "strict_overhead_p99_share": _rounded(_p99(strict)),
            "fps": _rounded(_p50([repeat.fps for repeat in self.repeats])),
            "fps_share": _rounded(self.fps_share),
            "plain_fps_share": _rounded(self.plain_fps_share),
            "half_frames": len(half),
            "full_frames": sum(len(repeat.full) for repeat in self.repeats),
            "repeats": len(self.repeats),
            "window": self.window,
            "broker": self.broker,
            "held": p50 <= OVERHEAD_P50_SHARE
            and p99 <= OVERHEAD_P99_SHARE
            and self.fps_share >= FPS_SHARE,
        }

    @property
    def fps_share(self) -> float:
        """Median over the repeats of the rate, as a share of what compute alone allows."""
        return statistics.median(one.fps * one.own_ms / 1000 for one in self.repeats)

    @property
    def plain_fps_share(self) -> float:
        """The same of what plain mutual scoring would allow: the guard's price is in it, too."""
        return statistics.median(one.fps * one.plain_ms / 1000 for one in self.repeats)

    @property
    def _overheads(self) -> list[float]:
        return [share for repeat in self.repeats for share in repeat.overheads]


def _p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def _p99(values: Sequence[float]) -> float:
    """Return a value that was measured (nearest rank)."""
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


def _rounded(value: float) -> float:
    return round(value, 4)
