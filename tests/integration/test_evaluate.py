"""``evaluate`` as a user runs it, with real weights: killed, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from dataset_rig import write_mvtec

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.weights, pytest.mark.timeout(300)]

LIMIT_S = 120.0


def command(root: Path, out: Path, weights_file: Path) -> list[str]:
    """Return a small run of an ablation with references."""
    words = ["evaluate", "--dataset", "mvtec", "--root", str(root), "--out", str(out), "--json"]
    words += ["--weights", str(weights_file), "--image-size", "56", "--ablation", "references"]
    return [sys.executable, "-m", "pipeline", *words]


def run(root: Path, out: Path, weights_file: Path) -> subprocess.CompletedProcess[str]:
    """Run the command without a terminal."""
    return subprocess.run(
        command(root, out, weights_file),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def test_killed_run_ends_with_the_same_tables(tmp_path: Path, weights_file: Path) -> None:
    """Killed after a category and run again: that one is there, and all figures are the same."""
    root = tmp_path / "mvtec"
    write_mvtec(root, ("bottle", "cable", "pill"))
    whole = run(root, tmp_path / "whole", weights_file)
    killed = subprocess.Popen(
        command(root, tmp_path / "killed", weights_file), stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + LIMIT_S
    while not list((tmp_path / "killed").rglob("bottle.json")):
        assert killed.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "no category was finished"
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    resumed = run(root, tmp_path / "killed", weights_file)

    assert whole.returncode == resumed.returncode == 0, whole.stderr + resumed.stderr
    assert "bottle: there from an earlier run" in resumed.stdout
    last = [json.loads(one.stdout.splitlines()[-1]) for one in (whole, resumed)]
    assert last[0] == last[1]
    assert list(last[0]["MuSc+ 4-shot"]) == ["bottle", "cable", "pill", "mean"]
    for name in ("results.csv", "results.md"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
