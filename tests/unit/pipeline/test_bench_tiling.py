"""The tiling bench: the same parts for both, a fair operating point, and an honest box."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from factories import FakeBackbone, frame, inspection
from rich.console import Console

from pipeline.bench_tiling import (
    COLUMNS,
    PART_PX,
    Seen,
    TilingBench,
    TilingBenchError,
    TilingReport,
    draw_parts,
    figures,
    measure,
)
from pipeline.inspector import Inspector

SMALL = TilingBench(
    columns=3, rows=2, image_size_px=56, overlap_patches=1, warm_up=26, good=20, defective=2
)
FRAME = (100, 50, 200, 100)


def seen(score: float, scratch: tuple[float, float] | None = None, **fields: Any) -> Seen:
    """Return a part with threshold 0.5 on a grid of 10 x 10 patches of 20 x 10 px."""
    patches = np.full((10, 10), 0.1, np.float32)
    patches[4, 7] = score
    known: dict[str, Any] = {
        "score": score,
        "threshold": 0.5,
        "map_level": 0.5,
        "affine": (20.0, 0.0, 109.5, 0.0, 10.0, 54.5),
        "patch_scores": patches,
        "verdict": "FAIL" if score >= 0.5 else "PASS",
        "compute_ms": 10.0,
    }
    return Seen(inspection(**(known | fields)), scratch)


def test_operating_point_lets_five_percent_of_the_good_pass_it() -> None:
    """Two of 40 good parts may score higher; a defective part is found above the third of them."""
    good = [seen(0.01 * number) for number in range(1, 41)]
    bad = [seen(score, (250, 95)) for score in (0.37, 0.38, 0.381, 0.9)]

    reached = figures([*good, *bad], FRAME)

    assert reached.recall == 0.5


def test_scratch_is_located_by_its_box() -> None:
    """A box covers the centre with at most one patch to spare on each side."""
    good = [seen(0.3)] * 20
    centres = [(250, 95), (221, 85), (279, 104), (215, 95), (250, 115), (282, 95)]

    reached = figures([*good, *(seen(0.9, centre) for centre in centres)], FRAME)

    # The patch lies at 240 to 259 and 90 to 99, with its neighbours at 220 to 279 and 80 to 109.
    assert reached.located == 0.5
    assert (reached.box_px, reached.pitch_px) == (20, 20)


def test_judge_is_counted_by_itself() -> None:
    """Beside the operating point stands what the line's own thresholds would have rejected."""
    good = [seen(0.1)] * 19 + [seen(0.6)]
    bad = [seen(0.4, (250, 95)), seen(0.55, (250, 95))]

    reached = figures([*good, *bad], FRAME)

    assert (reached.judge_recall, reached.judge_false_rejects) == (0.5, 0.05)
    assert reached.frame_ms == 10.0


def test_nothing_found_has_no_box() -> None:
    """Without a found scratch there is no share of located ones."""
    reached = figures([seen(0.1)] * 20 + [seen(0.05, (250, 95))], FRAME)

    assert reached.recall == 0
    assert math.isnan(reached.located)


def test_both_see_the_same_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part is inspected whole and in regions, and the warm-up does not count."""
    monkeypatch.setattr("pipeline.bench_tiling.draw_parts", small_parts)
    boxes = [
        Inspector(SMALL.config(regions=regions), FakeBackbone(), "a89d1abb", timer=lambda: 0.0)
        for regions in (False, True)
    ]
    console = Console(file=StringIO())

    whole, regions = measure(console, replace(SMALL, roi_px=(0, 0, 84, 56)), boxes)

    assert [len(box.streams) for box in boxes] == [1, 6]
    assert (whole.recall, regions.recall) == (1.0, 1.0)
    assert (whole.located, regions.located) == (1.0, 1.0)
    assert regions.pitch_px < whole.pitch_px


def small_parts(bench: TilingBench) -> Any:
    """Return waves of 84 x 56 px with a little noise, on a defective part with a bright square."""
    rows, columns = np.mgrid[:56, :84]
    base = 90 + 30 * np.sin(columns / 9) + 30 * np.cos(rows / 7)
    for index, is_defective in enumerate(bench.order()):
        noise = np.random.default_rng(index).normal(0, 2, base.shape)
        pixels = (base + noise).clip(0, 255).astype(np.uint8)
        if is_defective:
            pixels[20:30, 50:60] = 255
        yield frame(index + 1, pixels), (54.5, 24.5) if is_defective else None


def test_part_without_a_verdict_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure over fewer parts than promised is never reported."""
    monkeypatch.setattr("pipeline.bench_tiling.draw_parts", small_parts)
    short = replace(SMALL, warm_up=3)
    box = Inspector(short.config(regions=True), FakeBackbone(), "a89d1abb", timer=lambda: 0.0)

    with pytest.raises(TilingBenchError, match="part 4 has no result: warming, 5 more peers"):
        measure(Console(file=StringIO()), short, [box])


def test_parts_are_cut_to_the_region_of_interest() -> None:
    """Frames say where on the sensor they begin, and a scratch's centre is in sensor pixels."""
    bench = replace(SMALL, warm_up=0, good=0, defective=1)
    x, y, width, height = PART_PX

    ((cut, place),) = draw_parts(bench)

    assert cut.offset_px == (x, y)
    assert cut.pixels.shape == (height, width)
    assert place is not None
    column, row = place
    assert x <= column < x + width
    assert y <= row < y + height


def test_same_seed_same_order() -> None:
    """The seed decides where the defective parts are; the warm-up has none."""
    order = SMALL.order()

    assert order == SMALL.order()
    assert order != replace(SMALL, seed=1).order()
    assert (sum(order), sum(order[:26]), len(order)) == (2, 0, 48)


def test_settings_that_no_line_could_have_are_refused() -> None:
    """The bench uses the line's config, with its limits."""
    with pytest.raises(TilingBenchError, match="multiple of 14") as caught:
        replace(SMALL, image_size_px=225).config(regions=True)

    assert caught.value.exit_code == 2


def test_both_configs_differ_in_the_regions_only() -> None:
    """Tiled and untiled share backbone, image size, window, judge and region of interest."""
    whole, regions = (SMALL.config(regions=flag).model_dump() for flag in (False, True))

    assert whole.pop("camera")[0] | {"columns": 3, "rows": 2} == regions.pop("camera")[0]
    assert whole == regions


def test_report_ends_in_figures_for_both() -> None:
    """The table has a row each, and the summary is JSON with settings and figures."""
    reached = figures([seen(0.1)] * 20 + [seen(0.05, (250, 95))], FRAME)
    report = TilingReport(SMALL, reached, replace(reached, recall=0.95, located=1.0), "a89d1abb")

    rows = report.table()
    summary = json.loads(json.dumps(report.summary()))

    assert [row[:2] for row in rows] == [["1 x 1", "0.00"], ["3 x 2", "0.95"]]
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert (summary["untiled_recall"], summary["tiled_recall"]) == (0.0, 0.95)
    assert (summary["untiled_located"], summary["tiled_located"]) == (None, 1.0)
    assert (summary["seed"], summary["image_size_px"], summary["window"]) == (0, 56, 32)
