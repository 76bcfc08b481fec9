"""Whether regions find small defects: scratches of a few pixels on parts of five megapixels.

The same pictures go through two of the line's own inspectors, one that sees the
picture whole and one that cuts it into regions; backbone, image size and all
other settings are the same. Nothing else is changed to help either: parts are
shifted, turned and lit differently, and their metal is brushed anew.

A part's score is its worst region's deciding score over that region's threshold,
as the line publishes both. Recall at 5 % false rejects is the share of defective
parts that score above the operating point: the score that not more than 5 % of the
good parts exceed, and that is itself a good part's. A scratch that is found is
located where the box around the strongest patches at that operating point, grown
by one patch on each side, covers the scratch's true centre.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from pydantic import ValidationError

from edge.errors import LineError
from edge.frame import EPOCH, Announcement, Frame
from edge.sources.synthetic import SyntheticSource
from edge.sources.synthetic_scratch import FineScratch
from pipeline.backbones import BackboneChoice, load_backbone
from pipeline.bench_rounds import shown
from pipeline.config import Config
from pipeline.heatmap import strongest_box
from pipeline.inspector import Inspector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from pipeline.inspection import Box, Inspection

CAMERA = "c1"
WIDTH_PX, HEIGHT_PX = 2448, 2048
"""A usual sensor of five megapixels."""
SENSOR_PX: Box = (0, 0, WIDTH_PX, HEIGHT_PX)
PART_PX: Box = (384, 374, 1680, 1300)
"""Where the part can be: shifted by 25 px and turned by 1.4 degrees at most."""
FALSE_REJECTS = 0.05
Place: TypeAlias = tuple[float, float]
"""Column and row in sensor pixels."""


class TilingBenchError(LineError):
    """The bench cannot be run as asked; the message says why."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class TilingBench:
    """What is measured."""

    columns: int = 3
    rows: int = 3
    overlap_patches: int = 2
    image_size_px: int = 308
    stages: tuple[int, ...] = (5,)
    degrees: tuple[int, ...] = (1,)
    keep_lowest: float = 0.3
    window: int = 32
    roi_px: Box = PART_PX
    length_px: float = 24.0
    width_px: float = 3.0
    contrast: float = 20.0
    """Of the scratches, in grey levels of 255."""
    warm_up: int = 32
    """Good parts before the first that counts."""
    good: int = 60
    defective: int = 20
    seed: int = 0

    def config(self, *, regions: bool) -> Config:
        """Return the line's config, with regions or without.

        Raises:
            TilingBenchError: Settings that no line could have.
        """
        camera: dict[str, Any] = {"id": CAMERA, "kind": "synthetic", "interval_ms": 1}
        camera |= {"roi_px": self.roi_px, "overlap_patches": self.overlap_patches}
        if regions:
            camera |= {"columns": self.columns, "rows": self.rows}
        musc = {
            "image_size_px": self.image_size_px,
            "stages": list(self.stages),
            "degrees": list(self.degrees),
            "keep_lowest": self.keep_lowest,
        }
        try:
            return Config.model_validate(
                {
                    "camera": [camera],
                    "window": {"size_frames": self.window},
                    "musc": musc,
                    "judge": {"rejects_per_1000": 1000 * FALSE_REJECTS},
                }
            )
        except ValidationError as error:
            msg = "; ".join(str(one["msg"]) for one in error.errors())
            raise TilingBenchError(msg) from error

    def order(self) -> list[bool]:
        """Return for each part in turn whether it is defective; the warm-up has none."""
        counted = [False] * self.good + [True] * self.defective
        np.random.default_rng([self.seed, self.good, self.defective]).shuffle(counted)
        return [False] * self.warm_up + counted


@dataclass(frozen=True, slots=True)
class Seen:
    """One counted part, as one inspector saw it."""

    inspection: Inspection
    scratch: Place | None
    """Column and row of the true centre in sensor pixels; None on a good part."""

    @property
    def excess(self) -> float:
        """Deciding score over threshold, of the worst region."""
        score, threshold = self.inspection.score, self.inspection.threshold
        return math.nan if score is None or not threshold else score / threshold

    @property
    def pitch_px(self) -> tuple[float, float]:
        """Width and height of a patch."""
        a, b, _, d, e, _ = self.inspection.affine or (0.0,) * 6
        return abs(a) + abs(b), abs(d) + abs(e)

    def box(self, frame_px: Box, limit: float) -> Box:
        """Return the box around what exceeds ``limit`` thresholds, in sensor pixels."""
        seen = self.inspection
        if seen.patch_scores is None or seen.affine is None or seen.map_level is None:
            msg = "a part without a verdict has no box"
            raise ValueError(msg)
        return strongest_box(seen.patch_scores, seen.map_level * limit, seen.affine, frame_px)

    def located_by(self, box: Box) -> bool:
        """Tell whether a box, grown by a patch on each side, covers the scratch's centre."""
        if self.scratch is None:
            return False
        return all(
            begin - pitch <= place + 0.5 <= begin + side + pitch
            for begin, side, pitch, place in zip(
                box[:2], box[2:], self.pitch_px, self.scratch, strict=True
            )
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What one inspector reached."""

    recall: float
    """Share of defective parts above the operating point."""
    located: float
    """Share of these whose box, grown by a patch, covers the true centre."""
    box_px: float
    """Median of the longer side of their boxes."""
    pitch_px: float
    """The longer side of a patch."""
    judge_recall: float
    """Share of defective parts that the judge failed by itself."""
    judge_false_rejects: float
    """Share of good parts that it failed."""
    frame_ms: float
    """Mean time of an inspection."""


@dataclass(frozen=True, slots=True)
class TilingReport:
    """What came of it."""

    bench: TilingBench
    whole: Figures
    regions: Figures
    model: str

    def table(self) -> list[list[str]]:
        """Return a row for the whole picture and one for its regions."""
        names = ("1 x 1", f"{self.bench.columns} x {self.bench.rows}")
        return [
            [
                name,
                f"{one.recall:.2f}",
                f"{one.located:.2f}",
                f"{one.box_px:.0f}",
                f"{one.pitch_px:.0f}",
                f"{one.judge_recall:.2f}",
                f"{one.judge_false_rejects:.2f}",
                f"{one.frame_ms:.0f}",
            ]
            for name, one in zip(names, (self.whole, self.regions), strict=True)
        ]

    def summary(self) -> dict[str, Any]:
        """Return settings and figures; those of the regions without a prefix of their own."""
        known = asdict(self.bench) | {"false_rejects": FALSE_REJECTS, "model": self.model}
        for prefix, one in (("untiled_", self.whole), ("tiled_", self.regions)):
            known |= {f"{prefix}{name}": _rounded(value) for name, value in asdict(one).items()}
        return known


COLUMNS = (
    "regions",
    "recall at 5 %",
    "located",
    "box px",
    "patch px",
    "judge's recall",
    "judge's false rejects",
    "ms a part",
)
"""Of the table."""


def run_tiling_bench(console: Console, bench: TilingBench) -> TilingReport:
    """Draw the parts, inspect each one whole and in regions, and return the figures.

    Raises:
        WeightsError: The weights are missing and cannot be fetched.
        BackboneChoiceError: A size or stage that does not fit.
        TilingBenchError: Settings that do not fit, or a counted part without a verdict.
    """
    configs = [bench.config(regions=regions) for regions in (False, True)]
    with console.status("preparing weights (90 MB once, then from the cache)"):
        choice = BackboneChoice(
            "dinov2-vits14", image_size_px=bench.image_size_px, stages=bench.stages
        )
        backbone, model = load_backbone(choice)
    whole, regions = measure(
        console, bench, [Inspector(config, backbone, model) for config in configs]
    )
    return TilingReport(bench, whole, regions, model)


def measure(console: Console, bench: TilingBench, inspectors: Sequence[Inspector]) -> list[Figures]:
    """Show every part to each inspector; return the figures of each.

    Raises:
        TilingBenchError: A counted part has no verdict.
    """
    order = bench.order()
    seen: list[list[Seen]] = [[] for _ in inspectors]
    parts = shown(console, "parts drawn and inspected", draw_parts(bench), len(order))
    for number, (frame, scratch) in enumerate(parts):
        for inspector, kept in zip(inspectors, seen, strict=True):
            inspection = inspector.inspect(frame)
            if number < bench.warm_up:
                continue
            if inspection.verdict == "NO_RESULT":
                msg = f"part {frame.key.seq} has no result: {inspection.why}, {inspection.detail}"
                raise TilingBenchError(msg)
            kept.append(Seen(inspection, scratch))
    return [figures(kept, bench.roi_px) for kept in seen]


def draw_parts(bench: TilingBench) -> Iterator[tuple[Frame, Place | None]]:
    """Draw each part in turn, cut to the region of interest, with the centre of its scratch."""
    x, y, width, height = bench.roi_px
    good, bad = (
        SyntheticSource(
            bench.seed,
            width_px=WIDTH_PX,
            height_px=HEIGHT_PX,
            defect_rate=rate,
            scratch=FineScratch(bench.length_px, bench.width_px, bench.contrast / 255),
        )
        for rate in (0.0, 1.0)
    )
    for index, is_defective in enumerate(bench.order()):
        part = (bad if is_defective else good).part(index)
        announcement = Announcement(
            camera=CAMERA,
            boot=f"{bench.seed:016x}",
            seq=index + 1,
            part_id=f"S{index:06d}",
            captured_at=EPOCH,
            captured_ns=0,
        )
        pixels = part.pixels[y : y + height, x : x + width]
        centre = np.argwhere(part.mask).mean(axis=0)[::-1] if is_defective else None
        place = None if centre is None else (float(centre[0]), float(centre[1]))
        yield Frame(announcement, pixels, "mono", 8, (x, y)), place


def figures(seen: Sequence[Seen], frame_px: Box) -> Figures:
    """Return the figures of counted parts.

    Args:
        seen: Good parts and defective ones, at least one of each.
        frame_px: The picture in sensor pixels.
    """
    good = sorted((one.excess for one in seen if one.scratch is None), reverse=True)
    bad = [one for one in seen if one.scratch is not None]
    limit = good[math.floor(FALSE_REJECTS * len(good))]
    found = [one for one in bad if one.excess > limit]
    boxes = [one.box(frame_px, limit) for one in found]
    hits = [one.located_by(box) for one, box in zip(found, boxes, strict=True)]
    failed = [one.scratch is not None for one in seen if one.inspection.verdict == "FAIL"]
    return Figures(
        recall=len(found) / len(bad),
        located=sum(hits) / len(hits) if hits else math.nan,
        box_px=median(max(box[2:]) for box in boxes) if boxes else math.nan,
        pitch_px=max(seen[0].pitch_px),
        judge_recall=sum(failed) / len(bad),
        judge_false_rejects=(len(failed) - sum(failed)) / len(good),
        frame_ms=sum(one.inspection.compute_ms for one in seen) / len(seen),
    )


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
