"""What the cheaper options cost: time and memory of each beside what its scores lose.

The frames are solar cells from the data set's wheel, seen by the default backbone with
its real weights. Streams of them, one a seed, are scored on arrival by the line's
window with every option at once, so that each frame is seen once; a race in turns
(``pipeline.bench_race``) then takes the times on the frames of the first stream.

Loss is told three ways: the rank correlation of a frame's patch scores with the exact
ones, which says whether a map still points to the same place; that of the frames'
scores, which says whether the same frames stand out; and the change of the AUROC,
with its 95 % interval (``pipeline.bench_agreement``). A change whose interval covers 0
cannot be told from chance with these cells, for better or worse.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edge.errors import LineError
from musc.anomaly_map import frame_scores
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.bench_agreement import Interval, ScoredStream, auroc_intervals, rank_correlation
from pipeline.bench_msm import DEFECT_SHARE, look
from pipeline.bench_options import (
    EXACT,
    Option,
    OptionContestant,
    OptionScores,
    cheaper_options,
)
from pipeline.bench_race import start_contestants
from pipeline.bench_rounds import race, ratio_of, shown
from pipeline.config_method import CALIBRATION_PEERS
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, Cell, select_cells
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from musc.vision_transformer import Backbone
    from pipeline.bench_race import SeenFrame

COLUMNS = (
    "kept", "push ms", "time", "memory", "rank in frame", "rank of frames", "AUROC", "change",
    "95 % from", "to",
)  # fmt: skip
"""Of the table; time and memory are shares of the exact way's."""


class LossBenchError(LineError):
    """The bench cannot be run as asked; the message names the option and its limit."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class LossBench:
    """What is measured."""

    window: int = 32
    """Frames in a window; the newest is compared with all others."""
    frames: int = 200
    """Frames of a stream; the race uses the first stream's first."""
    seeds: int = 3
    """Streams: other cells, in another order."""
    repeats: int = 15
    """Counted rounds of the race."""

    @property
    def peers(self) -> int:
        """Peers that a frame must have to be scored."""
        return min(CALIBRATION_PEERS, self.window - 1)

    def check(self) -> None:
        """Refuse streams that are too short for the race.

        Raises:
            LossBenchError: Fewer frames than fill a window and feed each round.
        """
        needed = self.window + 1 + self.repeats
        if self.frames < needed:
            msg = (
                f"--frames {self.frames}: --window {self.window} and --repeats {self.repeats} "
                f"take {needed} frames with the one that warms up"
            )
            raise LossBenchError(msg)


@dataclass(frozen=True, slots=True)
class Loss:
    """What one option costs and loses."""

    push_ms: float
    """Median time of a push that scores the newest frame and an older one anew."""
    time_ratio: float
    """Of the exact way's, round by round; below 1 where the option is faster."""
    memory_bytes: int
    """Of a full window."""
    memory_ratio: float
    patch_rank: float
    """Mean over the frames of the rank correlation of their patches with the exact ones."""
    frame_rank: float
    """Rank correlation of the frames' scores, mean over the streams."""
    auroc: Interval
    auroc_change: Interval

    def row(self, name: str) -> list[str]:
        """Return the figures under ``COLUMNS``."""
        change = self.auroc_change
        return [
            name,
            f"{self.push_ms:.1f}",
            f"{self.time_ratio:.2f}",
            f"{self.memory_ratio:.2f}",
            f"{self.patch_rank:.3f}",
            f"{self.frame_rank:.3f}",
            f"{self.auroc.value:.4f}",
            *(f"{figure:+.4f}" for figure in (change.value, change.low, change.high)),
        ]

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line."""
        return {
            "push_ms": round(self.push_ms, 2),
            "time_ratio": round(self.time_ratio, 3),
            "memory_bytes": self.memory_bytes,
            "memory_ratio": round(self.memory_ratio, 3),
            "patch_rank": round(self.patch_rank, 4),
            "frame_rank": round(self.frame_rank, 4),
            "auroc": _rounded(self.auroc),
            "auroc_change": _rounded(self.auroc_change),
            "change_excludes_0": self.auroc_change.excludes_0,
        }


@dataclass(frozen=True, slots=True)
class LossReport:
    """What came of it."""

    bench: LossBench
    losses: Mapping[str, Loss]
    """By the option's name, the exact way first."""
    shape: tuple[int, ...]
    """Stages, patches and channels of a frame."""
    exact_by_seed: Sequence[float]
    """The exact way's AUROC on each stream."""
    device: torch.device

    def table(self) -> list[list[str]]:
        """Return a row for each option."""
        return [loss.row(name) for name, loss in self.losses.items()]

    def summary(self) -> dict[str, Any]:
        """Return settings and figures."""
        return {
            "window": self.bench.window,
            "frames": self.bench.frames,
            "seeds": self.bench.seeds,
            "repeats": self.bench.repeats,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "shape": list(self.shape),
            "exact_auroc_by_seed": [round(area, 4) for area in self.exact_by_seed],
            "options": {name: loss.summary() for name, loss in self.losses.items()},
        }


def run_loss_bench(console: Console, bench: LossBench) -> LossReport:
    """Fetch cells and weights, and measure.

    Raises:
        LossBenchError: Streams that are too short, or longer than the data set.
        WheelError: The data set cannot be fetched.
        WeightsError: The weights cannot be fetched.
    """
    bench.check()
    with console.status("preparing cells and weights (180 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        backbone, _ = load_backbone(BackboneChoice("dinov2-vits14"))
        try:
            streams = [
                select_cells(wheel, frames=bench.frames, defect_share=DEFECT_SHARE, seed=seed)
                for seed in range(bench.seeds)
            ]
        except ValueError as error:
            msg = f"--frames {bench.frames}: {error}"
            raise LossBenchError(msg) from error
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    return measure(console, bench, backbone, streams)


def measure(
    console: Console, bench: LossBench, backbone: Backbone, streams: Sequence[Sequence[Cell]]
) -> LossReport:
    """Score all streams with all options, then race on the first frames of the first.

    Args:
        console: Where progress is shown.
        bench: What is measured.
        backbone: Frames to patch tokens.
        streams: One for each seed, each with as many cells as ``bench`` has frames, and with
            good and defective ones among those that are scored.
    """
    options = cheaper_options(backbone.channels, backbone.stages)
    arrivals = [_Arrivals(bench, backbone, options) for _ in streams]
    for number, (cells, one) in enumerate(zip(streams, arrivals, strict=True), 1):
        seen = shown(console, f"frames of stream {number}", look(backbone, cells), len(cells))
        for cell, frame in zip(cells, seen, strict=True):
            one.take(cell.name, frame)
        one.check(bench.frames)
    first = list(look(backbone, streams[0][: bench.window + 1 + bench.repeats]))
    times_ms, held = _raced(console, bench, backbone, options, first)
    losses = _losses(arrivals, times_ms, held)
    by_seed = [auroc_intervals([one.stream], EXACT, draws=1)[0][EXACT].value for one in arrivals]
    return LossReport(bench, losses, tuple(first[0].tokens.shape), by_seed, backbone.device)


def _losses(
    arrivals: Sequence[_Arrivals],
    times_ms: Mapping[str, Sequence[float]],
    held_bytes: Mapping[str, int],
) -> dict[str, Loss]:
    """Cost and loss of each option."""
    streams = [one.stream for one in arrivals]
    areas, changes = auroc_intervals(streams, EXACT)
    return {
        name: Loss(
            push_ms=statistics.median(times),
            time_ratio=ratio_of(times, times_ms[EXACT]),
            memory_bytes=held_bytes[name],
            memory_ratio=held_bytes[name] / held_bytes[EXACT],
            patch_rank=statistics.fmean(r for one in arrivals for r in one.patch_ranks[name]),
            frame_rank=statistics.fmean(
                rank_correlation(one.scores[name], one.scores[EXACT]) for one in streams
            ),
            auroc=areas[name],
            auroc_change=changes[name],
        )
        for name, times in times_ms.items()
    }


class _Arrivals:
    """One stream, scored on arrival with every option."""

    def __init__(self, bench: LossBench, backbone: Backbone, options: Mapping[str, Option]) -> None:
        self._peers = bench.peers
        self._image_size = backbone.image_size
        self._windows = OptionScores(options, bench.window, backbone.stages, backbone.device)
        self._taken = 0
        self._names: list[str] = []
        self._labels: list[int] = []
        self._scores: dict[str, list[float]] = {name: [] for name in options}
        self.patch_ranks: dict[str, list[float]] = {name: [] for name in options}

    def take(self, name: str, frame: SeenFrame) -> None:
        """Let a frame in; score it where it has the peers that a score needs."""
        self._windows.take(frame)
        self._taken += 1
        if self._taken <= self._peers:
            return
        self._names.append(name)
        self._labels.append(frame.label)
        patches = self._windows.scores()
        for option, scores in patches.items():
            self._scores[option].append(float(frame_scores(scores[None], self._image_size)[0]))
            self.patch_ranks[option].append(rank_correlation(scores, patches[EXACT]))

    @property
    def stream(self) -> ScoredStream:
        """What was scored."""
        return ScoredStream(self._names, self._labels, self._scores)

    def check(self, frames: int) -> None:
        """Refuse a stream that has no AUROC.

        Raises:
            LossBenchError: The scored frames are all good or all defective.
        """
        if len(set(self._labels)) < 2:  # noqa: PLR2004 - good and defective
            msg = f"--frames {frames}: good and defective ones are wanted among those scored"
            raise LossBenchError(msg)


def _raced(
    console: Console,
    bench: LossBench,
    backbone: Backbone,
    options: Mapping[str, Option],
    frames: Sequence[SeenFrame],
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Times of a push, and bytes of a full window, by option."""
    contestants = {
        name: OptionContestant(option, bench.window, backbone.stages, backbone.device)
        for name, option in options.items()
    }
    runners = start_contestants(contestants, frames, bench.window)
    rounds = range(1 + bench.repeats)
    times_ms = race(runners, shown(console, "rounds", rounds, len(rounds)))
    return times_ms, {name: one.held_bytes for name, one in contestants.items()}


def _rounded(interval: Interval) -> list[float]:
    return [round(figure, 4) for figure in (interval.value, interval.low, interval.high)]
