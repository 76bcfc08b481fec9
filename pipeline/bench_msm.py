"""How long one push takes: the newest of real frames scored against its window.

The frames are solar cells from the data set's wheel, seen by the default backbone
with its real weights. The windows of all contestants are the line's, and take part
in one race (``pipeline.bench_race``). What a locality does to the scores is told
by the AUROC of the cells' labels against their raw scores on arrival.

What a push is compared with (``pipeline.bench_rivals``) takes part in the same race:
the plain incremental update, which takes a product for each degree, and batch MuSc
recomputed on the whole window, which takes so long that it runs in few rounds only.
Each push scores the newest frame and one older frame anew.

The peak is the best square float32 product of the same run on the same device: no
push can be faster than its products at that rate, one for each stage and peer.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from edge.errors import LineError
from musc.anomaly_map import frame_scores
from musc.metrics import auroc
from musc.preprocess import to_batch
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.bench_growth import exponent, fitting, growth_times, roofline_ms
from pipeline.bench_race import (
    Contestant,
    SeenFrame,
    SlidingContestant,
    square_product,
    square_product_flop,
    start_contestants,
)
from pipeline.bench_rivals import PlainContestant, RecomputingContestant, largest_difference
from pipeline.bench_rounds import race, ratio_of, shown
from pipeline.config_method import CALIBRATION_PEERS, MuscSettings
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, Cell, select_cells
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from musc.vision_transformer import Backbone

FREE, LOCAL, PLAIN, PRODUCT = "push", "push_local", "plain", "product"
RECOMPUTED = "recompute"
"""Names in the race; a contestant's name is the key of its time in the summary."""

DEFECT_SHARE = 0.1
BATCH = 8


class MsmBenchError(LineError):
    """The bench cannot be run as asked; the message names the option and its limit."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class MsmBench:
    """What is measured."""

    window: int = 32
    """Frames in a window; the newest is compared with all others."""
    locality: int | None = None
    """Patches that two patches may be apart for the second contestant; none if None."""
    repeats: int = 9
    """Counted rounds."""
    frames: int = 200
    """Frames of the stream whose AUROC is taken; the race uses the first of them."""
    seed: int = 0
    recomputed: int = 1
    """Counted rounds, the first ones, in which the whole window is recomputed too."""

    def check(self) -> None:
        """Refuse a stream that is too short for the race.

        Raises:
            MsmBenchError: Fewer frames than fill a window and feed each round.
        """
        needed = self.window + 1 + self.repeats
        if self.frames < needed:
            msg = (
                f"--frames {self.frames}: --window {self.window} and --repeats {self.repeats} "
                f"take {needed} frames with the one that warms up"
            )
            raise MsmBenchError(msg)


@dataclass(frozen=True, slots=True)
class MsmReport:
    """What came of it."""

    bench: MsmBench
    times_ms: Mapping[str, Sequence[float]]
    """By name, one for each counted round; ``PRODUCT`` among them."""
    aurocs: Mapping[str, float | None]
    """By the same names; None where the scored frames are all good or all defective."""
    shape: tuple[int, int, int]
    """Stages, patches and channels of a frame."""
    max_abs_diff: float
    """Largest difference of a squared distance between the line's window and the plain one."""
    growth_ms: Mapping[int, float]
    """Median time of a push by the window's size."""
    device: torch.device

    @property
    def gemm_gflops(self) -> float:
        """Best rate of the square product, in 1e9 operations a second."""
        return square_product_flop(self.device) / min(self.times_ms[PRODUCT]) / 1e6

    @property
    def push_gflop(self) -> float:
        """Products of one unrestricted push, in 1e9 operations."""
        return roofline_ms(self.bench.window, self.shape, 1e3)

    def table(self) -> list[list[str]]:
        """Return a row for each contestant: its times, their share of the first, its AUROC."""
        rows = []
        for name, times in self.times_ms.items():
            if name == PRODUCT or not times:
                continue
            auroc_of = self.aurocs.get(name)
            median = statistics.median(times)
            share = median / statistics.median(self.times_ms[FREE])
            figures = [f"{ms:.1f}" for ms in (median, min(times), max(times))]
            said = "-" if auroc_of is None else f"{auroc_of:.4f}"
            rows.append([self._title(name), *figures, f"{share:.2f}", said])
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line.

        ``ratio_vs_unrestricted`` is the local median over the unrestricted one,
        below 1 where the locality is faster; ``speedup`` is its inverse.
        ``roofline_fraction`` is the time of a push's products at the peak over the push's.
        """
        known: dict[str, Any] = {
            "window": self.bench.window,
            "locality": self.bench.locality,
            "repeats": self.bench.repeats,
            "frames": self.bench.frames,
            "seed": self.bench.seed,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "gemm_gflops": round(self.gemm_gflops, 1),
            "push_gflop": round(self.push_gflop, 2),
            **self._rivals(),
        }
        for name, auroc_of in self.aurocs.items():
            known[f"{name}_ms"] = round(statistics.median(self.times_ms[name]), 2)
            known[name.replace("push", "auroc")] = _rounded(auroc_of)
        return known | (self._compared() if LOCAL in self.aurocs else {})

    def _rivals(self) -> dict[str, Any]:
        """Compare the push with the slower ways, the machine's peak and other windows."""
        push = self.times_ms[FREE]
        recomputed = self.times_ms[RECOMPUTED]
        ideal_ms = roofline_ms(self.bench.window, self.shape, self.gemm_gflops)
        growth = exponent(self.growth_ms)
        return {
            "plain_ms": round(statistics.median(self.times_ms[PLAIN]), 2),
            "recompute_ms": round(statistics.median(recomputed), 1) if recomputed else None,
            "recompute_rounds": len(recomputed),
            "ratio_vs_plain": round(ratio_of(self.times_ms[PLAIN], push), 2),
            "ratio_vs_recompute": round(ratio_of(recomputed, push[: len(recomputed)]), 1)
            if recomputed
            else None,
            "max_abs_diff": self.max_abs_diff,
            "roofline_fraction": round(ideal_ms / statistics.median(push), 3),
            "growth_ms": {str(size): round(ms, 2) for size, ms in self.growth_ms.items()},
            "growth_exponent": None if growth is None else round(growth, 3),
        }

    def _compared(self) -> dict[str, float | None]:
        free, local = (statistics.median(self.times_ms[name]) for name in (FREE, LOCAL))
        before, after = self.aurocs[FREE], self.aurocs[LOCAL]
        change = None if before is None or after is None else after - before
        return {
            "speedup": round(free / local, 3),
            "ratio_vs_unrestricted": round(local / free, 3),
            "auroc_change": _rounded(change),
        }

    def _title(self, name: str) -> str:
        return {
            FREE: "all patches",
            LOCAL: f"locality {self.bench.locality}",
            PLAIN: "all, a product a degree",
            RECOMPUTED: "all, window recomputed",
        }[name]


def run_msm_bench(console: Console, bench: MsmBench) -> MsmReport:
    """Fetch cells and weights, and measure.

    Raises:
        MsmBenchError: A stream that is too short, or longer than the data set.
        WheelError: The data set cannot be fetched.
        WeightsError: The weights cannot be fetched.
    """
    bench.check()
    with console.status("preparing cells and weights (180 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        backbone, _ = load_backbone(BackboneChoice("dinov2-vits14"))
        try:
            cells = select_cells(
                wheel, frames=bench.frames, defect_share=DEFECT_SHARE, seed=bench.seed
            )
        except ValueError as error:
            msg = f"--frames {bench.frames}: {error}"
            raise MsmBenchError(msg) from error
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    return measure(console, bench, backbone, cells)


def measure(
    console: Console, bench: MsmBench, backbone: Backbone, cells: Sequence[Cell]
) -> MsmReport:
    """Take the AUROC over all cells, then race with the first of them.

    Args:
        console: Where progress is shown.
        bench: What is measured.
        backbone: Frames to patch tokens.
        cells: At least as many as ``bench`` has frames.
    """
    kept = 1 + bench.repeats + max(bench.window, *fitting(bench.frames, bench.repeats), 0)
    first: list[SeenFrame] = []
    arrivals = {name: Arrivals(bench.window, one) for name, one in _field(bench, backbone).items()}
    for frame in shown(console, "frames seen and scored", look(backbone, cells), len(cells)):
        if len(first) < kept:
            first.append(frame)
        for stream in arrivals.values():
            stream.take(frame, backbone.image_size)
    aurocs = {name: stream.auroc() for name, stream in arrivals.items()}
    del arrivals
    times_ms, difference = _raced(console, bench, first, backbone.device, _field(bench, backbone))
    growth_ms = growth_times(console, first, bench.repeats, backbone.device)
    stages, patches, channels = first[0].tokens.shape
    shape = (stages, patches, channels)
    return MsmReport(bench, times_ms, aurocs, shape, difference, growth_ms, backbone.device)


def _raced(
    console: Console,
    bench: MsmBench,
    frames: Sequence[SeenFrame],
    device: torch.device,
    field: Mapping[str, SlidingContestant],
) -> tuple[dict[str, list[float]], float]:
    """Times of all contestants, and how far the plain way's squared distances are off."""
    musc = MuscSettings()
    plain = PlainContestant(bench.window, musc.degrees, musc.keep_lowest, device)
    slow = RecomputingContestant(bench.window, musc.degrees, musc.keep_lowest, device)
    everyone: dict[str, Contestant] = {**field, PLAIN: plain, RECOMPUTED: slow}
    runners = start_contestants(everyone, frames, bench.window)
    recompute = runners[RECOMPUTED]
    runners[RECOMPUTED] = lambda number: recompute(number) if _is_recomputed(bench, number) else ()
    runners[PRODUCT] = square_product(device)
    rounds = range(1 + bench.repeats)
    times_ms = race(runners, shown(console, "rounds", rounds, len(rounds)))
    del times_ms[RECOMPUTED][bench.recomputed :]
    return times_ms, largest_difference(field[FREE], plain, bench.window)


def _is_recomputed(bench: MsmBench, number: int) -> bool:
    """Whether the whole window is recomputed in a round; round 0 is not counted."""
    return 1 <= number <= bench.recomputed


class Arrivals:
    """One contestant on a stream, and the raw score of each frame on arrival."""

    def __init__(self, window: int, contestant: Contestant) -> None:
        """Score a frame once it has the peers that a score needs, or a full window."""
        self._contestant = contestant
        self._peers = min(CALIBRATION_PEERS, window - 1)
        self._taken = 0
        self._labels: list[int] = []
        self._scores: list[float] = []

    def take(self, frame: SeenFrame, image_size: int) -> None:
        """Let a frame in and keep its score."""
        self._contestant.take(frame)
        self._taken += 1
        if self._taken > self._peers:
            patches = self._contestant.score()
            self._labels.append(frame.label)
            self._scores.append(float(frame_scores(patches[None], image_size)[0]))

    def auroc(self) -> float | None:
        """Return the AUROC; None where the frames are all good or all defective."""
        if len(set(self._labels)) < 2:  # noqa: PLR2004 - good and defective
            return None
        return auroc(self._labels, self._scores)


def look(backbone: Backbone, cells: Sequence[Cell]) -> Iterator[SeenFrame]:
    """Show the cells to the backbone, a few at a time."""
    for start in range(0, len(cells), BATCH):
        some = cells[start : start + BATCH]
        pixels: list[Any] = [
            cv2.imdecode(np.frombuffer(cell.png, np.uint8), cv2.IMREAD_GRAYSCALE) for cell in some
        ]
        batch = to_batch(
            pixels,
            image_size=backbone.image_size,
            mean=backbone.mean,
            std=backbone.std,
            pixel_format="mono",
            device=backbone.device,
        )
        seen = backbone.extract(batch)
        for cell, tokens, feature in zip(some, seen.tokens, seen.image_features, strict=True):
            yield SeenFrame(tokens, feature, cell.label)


def _field(bench: MsmBench, backbone: Backbone) -> dict[str, SlidingContestant]:
    """Who takes part, with empty windows."""
    localities = {FREE: None} | ({} if bench.locality is None else {LOCAL: bench.locality})
    musc = MuscSettings()
    return {
        name: SlidingContestant(
            bench.window,
            musc.degrees,
            musc.keep_lowest,
            locality=locality,
            device=backbone.device,
        )
        for name, locality in localities.items()
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
