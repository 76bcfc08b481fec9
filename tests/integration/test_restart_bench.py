"""The restart bench on a real line: a killed scorer costs frames on their way, and no warming."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from rich.console import Console

from pipeline.bench_restart import AFTER, BEFORE, WARM_SPARE, RestartBench, measure

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = 17


@pytest.mark.timeout(300)
@pytest.mark.weights
def test_restart_is_timed_beside_what_no_start_can_leave_out(
    ipc_folder: Path, weights_file: Path
) -> None:
    """The line judges again, later than it was killed and without warming up."""
    noise = np.random.default_rng(0)
    pictures = [
        cv2.imencode(".png", noise.integers(0, 255, (56, 56), np.uint8))[1].tobytes()
        for _ in range(WINDOW + WARM_SPARE + BEFORE + AFTER)
    ]
    musc = {"image_size_px": 56, "offline": True, "weights": str(weights_file), "device": "cpu"}
    bench = RestartBench(repeats=1, window=WINDOW)

    report = measure(Console(quiet=True), bench, pictures, ipc_folder, lambda: False, musc=musc)

    (only,) = report.repeats
    assert only.judged_s > 0
    assert only.outage.warming == 0
    assert only.outage.unjudged < AFTER
    assert all(step > 0 for step in only.start)
    assert report.windows_bytes > 0
    assert report.summary()["ratio"] == pytest.approx(only.ratio, abs=1e-3)
