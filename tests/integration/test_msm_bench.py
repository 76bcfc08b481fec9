"""The bench of mutual scoring on real cells and real weights."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("weights_file", "solar_cells_wheel")
def test_real_cells_are_scored_both_ways(tmp_path: Path) -> None:
    """The command ends with one JSON object of a short run, and names the images' authors."""
    command = [sys.executable, "-W", "error", "-m", "pipeline", "bench", "msm"]

    done = subprocess.run(
        [*command, "--window", "4", "--locality", "2", "--repeats", "1", "--frames", "12"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert "CC BY-NC-SA" in done.stdout
    assert said["push_gflop"] == pytest.approx(2 * 3 * 4 * 256**2 * 384 / 1e9, abs=0.005)
    assert said["push_local_ms"] > 0
    assert said["max_abs_diff"] <= 1e-5
    assert said["ratio_vs_recompute"] > 0  # of one timed round: a busy host may turn it round
    assert said["ratio_vs_unrestricted"] == pytest.approx(
        said["push_local_ms"] / said["push_ms"], abs=0.01
    )
    assert list(tmp_path.iterdir()) == []
