"""How long the backbone takes, how near that is to the machine's limit, and what it says.

The frames are real solar cells, seen by the default backbone with its real weights.
Ways to run it take turns in one race: the library's own float32 pass, which is the
reference; the line's; torch.compile where asked for; bfloat16; and the engines of
``pipeline.bench_engines``. What moves a patch score by more than 1e-3 is not the
same inspection, however fast it is.

The peak is the better of two square float32 products in the same rounds, torch's own
and the packed one that the line's blocks use. Operations are counted from the
network's shape: products of linear layers, attention and patch embedding.

Source of the count: Dosovitskiy et al., ICLR 2021, equations 1 to 3.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from edge.errors import LineError
from musc.compiled import largest_distance
from musc.lnamd import aggregate
from musc.msm import mutual_scores
from musc.packed_blocks import packed_product
from musc.preprocess import to_batch
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.bench_engines import ENGINES, other_engines
from pipeline.bench_race import PRODUCT_SIDE_CPU, square_product, square_product_flop
from pipeline.bench_rounds import race, ratio_of, shown
from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, Cell, select_cells
from pipeline.wheels import fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console
    from torch import Tensor

    from musc.vision_transformer import Backbone, FrozenTransformer
    from pipeline.bench_engines import Extract

PLAIN, LINE, COMPILED, HALVES = "plain", "line", "compiled", "bfloat16"
SQUARE, PACKED_SQUARE = "square product", "packed square product"

COLUMNS = (
    "backbone", "ms an image", "images/s", "share of peak", "time to plain",
    "cosine distance", "patch score off by",
)  # fmt: skip

BACKBONE = "dinov2-vits14"
DEFECT_SHARE = 0.1

SCORE_TOLERANCE = 1e-3
"""Largest change of a patch score with which a way is still the same inspection."""


class BackboneBenchError(LineError):
    """The bench cannot be run as asked; the message names the option and its limit."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class BackboneBench:
    """What is measured."""

    batch: int = 1
    """Frames in a call."""
    image_size_px: int = 224
    repeats: int = 15
    """Counted rounds."""
    frames: int = 16
    """Cells whose tokens and scores are compared; the race repeats them."""
    seed: int = 0
    compiled: bool = False
    """Whether torch.compile takes part; it compiles for minutes first."""


class Deviation(NamedTuple):
    """How far a way is from the plain network."""

    cosine: float
    """Largest cosine distance of a patch token."""
    patch_score: float
    """Largest change of a patch score."""


@dataclass(frozen=True, slots=True)
class BackboneReport:
    """What came of it."""

    bench: BackboneBench
    times_ms: Mapping[str, Sequence[float]]
    """Of a call, by way; both square products among them."""
    deviations: Mapping[str, Deviation]
    absent: Mapping[str, str]
    """Ways that took no part, and why."""
    gflop: float
    """Products of one frame, in 1e9 operations."""
    device: torch.device

    @property
    def gemm_gflops(self) -> float:
        """Best rate of either square product, in 1e9 operations a second."""
        squares = [self.times_ms.get(name, ()) for name in (SQUARE, PACKED_SQUARE)]
        best_ms = min(min(times) for times in squares if times)
        return square_product_flop(self.device) / best_ms / 1e6

    def figures(self, name: str) -> dict[str, float]:
        """Return the figures of one way under the names of the last line."""
        times = self.times_ms[name]
        image_ms = statistics.median(times) / self.bench.batch
        return {
            "ms": round(image_ms, 2),
            "min_ms": round(min(times) / self.bench.batch, 2),
            "images_per_s": round(1000 / image_ms, 2),
            "peak_share": round(1000 * self.gflop / image_ms / self.gemm_gflops, 3),
            "ratio_to_plain": round(ratio_of(times, self.times_ms[PLAIN]), 3),
            "max_cosine_distance": self.deviations[name].cosine,
            "max_patch_score_diff": self.deviations[name].patch_score,
        }

    def table(self) -> list[list[str]]:
        """Return a row for each way, those that took no part included."""
        rows = []
        for name in self.deviations:
            known = self.figures(name)
            shape = ("{:.1f}", "{:.2f}", "{:.0%}", "{:.2f}", "{:.1e}", "{:.1e}")
            keys = [key for key in known if key != "min_ms"]
            said = [one.format(known[key]) for one, key in zip(shape, keys, strict=True)]
            rows.append([name, *said])
        return rows + [[name, why, *["-"] * 5] for name, why in self.absent.items()]

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line.

        ``peak_share`` is the rate of a way over ``gemm_gflops``; ``ratio_to_plain`` is the
        median over the rounds, below 1 where a way is faster than the plain network;
        ``exact`` names the ways that change no patch score by more than 1e-3.
        """
        exact = [
            name for name, one in self.deviations.items() if one.patch_score <= SCORE_TOLERANCE
        ]
        return {
            "batch": self.bench.batch,
            "image_size": self.bench.image_size_px,
            "repeats": self.bench.repeats,
            "frames": self.bench.frames,
            "seed": self.bench.seed,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "gemm_gflops": round(self.gemm_gflops, 1),
            "image_gflop": round(self.gflop, 2),
            "ways": {name: self.figures(name) for name in self.deviations},
            "exact": exact,
            "absent": dict(self.absent),
        }


def run_backbone_bench(console: Console, bench: BackboneBench) -> BackboneReport:
    """Fetch cells and weights, and measure.

    Raises:
        BackboneBenchError: Fewer frames than a call takes, or more than there are.
        BackboneChoiceError: The image size is no multiple of the patch.
        WheelError: The data set cannot be fetched.
        WeightsError: The weights cannot be fetched.
    """
    if bench.frames < bench.batch or bench.frames % bench.batch:
        msg = f"--frames {bench.frames}: must be a multiple of --batch {bench.batch}"
        raise BackboneBenchError(msg)
    with console.status("preparing cells and weights (180 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
        try:
            cells = select_cells(
                wheel, frames=bench.frames, defect_share=DEFECT_SHARE, seed=bench.seed
            )
        except ValueError as error:
            msg = f"--frames {bench.frames}: {error}"
            raise BackboneBenchError(msg) from error
    console.print(ATTRIBUTION, end="", highlight=False, markup=False, soft_wrap=True)
    return measure(console, bench, cells)


def measure(console: Console, bench: BackboneBench, cells: Sequence[Cell]) -> BackboneReport:
    """Compare what all ways say of the cells, then race them.

    Args:
        console: Where progress is shown.
        bench: What is measured.
        cells: As many as ``bench`` has frames.
    """
    choice = BackboneChoice(BACKBONE, bench.image_size_px)
    plain, _ = load_backbone(replace(choice, execution="plain"))
    frames = [one.contiguous() for one in torch.split(_pictures(plain, cells), bench.batch)]
    with console.status("preparing the ways to run it"):
        field, absent = _field(plain, choice, frames[0], compiled=bench.compiled)
    deviations = _deviations(field, frames)
    runners: dict[str, Callable[[int], object]] = {
        name: partial(_look, extract, frames) for name, extract in field.items()
    }
    times_ms = race(
        runners | _squares(plain.device),
        shown(console, "rounds", range(1 + bench.repeats), 1 + bench.repeats),
    )
    gflop = vit_flop(plain) / 1e9
    return BackboneReport(bench, times_ms, deviations, absent, gflop, plain.device)


def vit_flop(plain: FrozenTransformer[Any]) -> int:
    """Floating-point operations of the products that one frame takes.

    Each weight of a linear layer meets every token, the patch embedding's every patch,
    and a block's attention has two products of L x L by C. One class token goes before
    the patches.
    """
    length = plain.patches + 1
    attention = plain.depth * 4 * length**2 * plain.channels
    layers = list(plain.module().modules())
    linear = sum(one.weight.numel() for one in layers if isinstance(one, nn.Linear))
    embedding = sum(one.weight.numel() for one in layers if isinstance(one, nn.Conv2d))
    return attention + 2 * length * linear + 2 * plain.patches * embedding


def _field(
    plain: FrozenTransformer[Any], choice: BackboneChoice, batch: Tensor, *, compiled: bool
) -> tuple[dict[str, Extract], dict[str, str]]:
    """The ways that take part, the plain one first, and why others do not."""
    absent: dict[str, str] = {}
    line, _ = load_backbone(choice)
    ways: dict[str, Extract | str] = {PLAIN: _extract(plain), LINE: _extract(line)}
    ways[COMPILED] = "takes part with --compiled"
    if compiled:
        one, _ = load_backbone(replace(choice, execution="compiled"))
        ways[COMPILED] = _extract(one) if one.execution == "compiled" else "no working compiler"
    halves, _ = load_backbone(replace(choice, precision="bfloat16"))
    ways[HALVES] = _extract(halves)
    on_cpu = plain.device.type == "cpu"
    others = other_engines(plain.module(), batch) if on_cpu else dict.fromkeys(ENGINES, "CPU only")
    field: dict[str, Extract] = {}
    for name, way in (ways | others).items():
        if isinstance(way, str):
            absent[name] = way
        else:
            field[name] = way
    return field, absent


def _extract(backbone: Backbone) -> Extract:
    """A backbone as an engine."""

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        seen = backbone.extract(batch)
        return seen.tokens, seen.image_features

    return run


def _look(extract: Extract, frames: Sequence[Tensor], number: int) -> float:
    """Run one call; one number is read back, which a GPU gives only when it is done."""
    tokens, _ = extract(frames[number % len(frames)])
    return float(tokens[0, 0, 0, 0])


def _squares(device: torch.device) -> dict[str, Callable[[int], object]]:
    """The products that the peak is taken from."""
    squares = {SQUARE: square_product(device)}
    packed = packed_product(PRODUCT_SIDE_CPU) if device.type == "cpu" else None
    if packed is not None:
        squares[PACKED_SQUARE] = lambda _number: packed()
    return squares


def _deviations(field: Mapping[str, Extract], frames: Sequence[Tensor]) -> dict[str, Deviation]:
    """How far each way is from the plain one, in tokens and in patch scores."""
    tokens = {
        name: torch.cat([extract(batch)[0] for batch in frames]) for name, extract in field.items()
    }
    scores = {name: mutual_scores(aggregate(one), interpolate=True) for name, one in tokens.items()}
    return {
        name: Deviation(
            max(0.0, largest_distance([tokens[name].double()], [tokens[PLAIN].double()])),
            float((scores[name] - scores[PLAIN]).abs().max()),
        )
        for name in field
    }


def _pictures(backbone: Backbone, cells: Sequence[Cell]) -> Tensor:
    """The cells as the backbone's input [N, 3, side, side]."""
    pixels: list[Any] = [
        cv2.imdecode(np.frombuffer(cell.png, np.uint8), cv2.IMREAD_GRAYSCALE) for cell in cells
    ]
    return to_batch(
        pixels,
        image_size=backbone.image_size,
        mean=backbone.mean,
        std=backbone.std,
        pixel_format="mono",
        device=backbone.device,
    )
