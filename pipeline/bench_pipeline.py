"""What the line costs beside the scorer's own compute: latency and rate of real frames.

The frames are solar cells, in files without compression, as a camera's pixels are. They
go the whole way: ingest, ZeroMQ, the scorer with its real weights and window, gate,
SQLite synced to disk, and a broker that confirms each verdict (``pipeline.bench_line``).
Three kinds of phases take turns on the same frames: the backbone and mutual scoring
alone, in this process, while the line has nothing to do; the line at full load; and the
line with frames at half the rate that it had there.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import LineError
from musc.preprocess import to_batch
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.bench_line import BenchLine, Broker
from pipeline.bench_overhead import OwnCompute, PipelineReport, Repeat
from pipeline.bench_race import SeenFrame, SlidingContestant
from pipeline.bench_rounds import shown
from pipeline.config import Config
from pipeline.region_stream import RegionStream
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, select_cells
from pipeline.stream_window import FrameId
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

    from edge.frame import Pixels
    from musc.backbone import Backbone

DEFECT_SHARE = 0.1
MOST_CELLS = 640
"""Of one kind and without repetition there are 588 good cells; later phases see them again."""
LEFT_OUT = 2
"""First frames of a phase that are not counted: its camera process has only just started."""
WARM_SPARE = 24
"""Frames beyond a window until the judge has a threshold and every step has run once."""


class PipelineBenchError(LineError):
    """The bench cannot be run as asked; the message names the limit."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class PipelineBench:
    """What is measured."""

    frames: int = 40
    """Frames that count in each phase of a repeat, at least 2."""
    repeats: int = 9
    window: int = 32
    broker: Broker = "embedded"
    seed: int = 0
    """Which cells, and their order."""

    @property
    def phase_frames(self) -> int:
        """Frames that a camera takes in a phase."""
        return self.frames + LEFT_OUT

    @property
    def warm_frames(self) -> int:
        """Frames before the first repeat."""
        return self.window + WARM_SPARE

    @property
    def all_frames(self) -> int:
        """Frames of the whole run."""
        return self.warm_frames + 2 * self.repeats * self.phase_frames


class AloneScorer:
    """Backbone and mutual scoring as the line runs them, and nothing else.

    The line's windows also hold frames that do not vote, and each costs a product with
    every new frame; beside it, plain mutual scoring of the same frames is timed.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: Config,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start with empty windows."""
        musc = config.musc
        self._backbone = backbone
        self._timer = timer
        self._line = RegionStream(config, backbone.device, backbone.image_size, regions=1)
        self._nothing = np.zeros((math.isqrt(backbone.patches),) * 2, bool)
        self._plain = SlidingContestant(
            config.window.size_frames,
            musc.degrees,
            musc.keep_lowest,
            locality=musc.locality_patches,
            device=backbone.device,
        )
        self._seen = 0

    def look(self, pixels: Pixels) -> OwnCompute:
        """Score one frame; what it takes to prepare its pixels is not counted."""
        backbone = self._backbone
        batch = to_batch(
            [pixels],
            image_size=backbone.image_size,
            mean=backbone.mean,
            std=backbone.std,
            pixel_format="mono",
            device=backbone.device,
        )
        begin = self._timer()
        features = backbone.extract(batch)
        # One number is read back: a GPU has finished only then.
        float(features.image_features[0, 0])
        extracted = self._timer()
        tokens, feature = features.tokens[0], features.image_features[0]
        self._seen += 1
        name = FrameId(f"{0:016x}", self._seen, str(self._seen))
        self._line.score(tokens, feature, self._nothing, name)
        self._line.keep()
        scored = self._timer()
        self._plain.take(SeenFrame(tokens, feature, 0))
        if self._seen > 1:
            self._plain.score()
        plain = self._timer()
        spans = (extracted - begin, scored - extracted, plain - scored)
        return OwnCompute(*(1000 * span for span in spans))


def run_pipeline_bench(
    console: Console, bench: PipelineBench, folder: Path, stop: Callable[[], bool]
) -> PipelineReport:
    """Fetch cells and weights, and measure with a line in an empty folder.

    Raises:
        WheelError: The data set cannot be fetched.
        WeightsError: The weights cannot be fetched.
        PipelineBenchError: Fewer frames than a rate takes.
        BenchLineError: The line failed or was stopped, or a frame has not exactly one
            confirmed result of the scorer.
    """
    if bench.frames < 2:  # noqa: PLR2004 - a rate is taken between two
        msg = f"--frames {bench.frames}: at least 2"
        raise PipelineBenchError(msg)
    with console.status("preparing cells and weights (180 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        cells = select_cells(
            wheel,
            frames=min(MOST_CELLS, bench.all_frames),
            defect_share=DEFECT_SHARE,
            seed=bench.seed,
        )
        backbone, _ = load_backbone(BackboneChoice("dinov2-vits14"))
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    pixels = [_decoded(cell.png) for cell in cells]
    return measure(console, bench, backbone, pixels, folder, stop)


def measure(
    console: Console,
    bench: PipelineBench,
    backbone: Backbone,
    pictures: Sequence[Pixels],
    folder: Path,
    stop: Callable[[], bool],
    **sections: dict[str, Any],
) -> PipelineReport:
    """Measure on these pictures, which are taken again where there are too few.

    Args:
        console: Where progress is shown.
        bench: What is measured.
        backbone: What the scorer of the line has, too.
        pictures: Grey, 8 bits.
        folder: Empty, for the line.
        stop: Asked whether to give up.
        **sections: Of the line's config.

    Raises:
        BenchLineError: As ``run_pipeline_bench``.
    """
    phases = list(_phases(bench, pictures))
    folders = [_written(images, folder / f"phase-{n:02d}") for n, images in enumerate(phases)]
    # Else the first commits would wait until the pictures are on disk.
    os.sync()
    sections = {"window": {"size_frames": bench.window}, **sections}
    camera = {"id": "alone", "kind": "synthetic", "interval_ms": 1}
    alone = AloneScorer(backbone, Config.model_validate({"camera": [camera], **sections}))
    for one in phases[0]:
        alone.look(one)
    with BenchLine(folder, bench.broker, stop, **sections) as line:
        line.run(folders[0], 0)
        repeats = [
            _repeat(number, line, alone, phases, folders)
            for number in shown(console, "repeats", range(bench.repeats), bench.repeats)
        ]
    return PipelineReport(repeats, bench.broker, bench.window)


def _repeat(
    number: int,
    line: BenchLine,
    alone: AloneScorer,
    phases: Sequence[Sequence[Pixels]],
    folders: Sequence[Path],
) -> Repeat:
    """Run one phase of each kind; full load before half load, whose pace it decides."""
    at_full, at_half = 1 + 2 * number, 2 + 2 * number
    full = line.run(folders[at_full], 0)[LEFT_OUT:]
    own = [alone.look(pixels) for pixels in phases[at_full]][LEFT_OUT:]
    span_ms = (full[-1].confirmed_ns - full[0].confirmed_ns) / 1e6
    interval_ms = round(2 * span_ms / (len(full) - 1))
    half = line.run(folders[at_half], interval_ms)[LEFT_OUT:]
    own += [alone.look(pixels) for pixels in phases[at_half]][LEFT_OUT:]
    return Repeat(own, full, half)


def _phases(bench: PipelineBench, pictures: Sequence[Pixels]) -> Iterator[list[Pixels]]:
    """Yield the pictures of the warm-up, and of two phases a repeat."""
    endless = cycle(pictures)
    yield list(islice(endless, bench.warm_frames))
    for _ in range(2 * bench.repeats):
        yield list(islice(endless, bench.phase_frames))


def _written(pictures: Sequence[Pixels], folder: Path) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / f"{folder.name}-{number:03d}.bmp"), pixels)
    return folder


def _decoded(png: bytes) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
