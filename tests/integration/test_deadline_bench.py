"""The deadline bench on a real line: one NO_RESULT a frame, none before its deadline."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from pipeline import bench_deadline
from pipeline.bench_deadline import BenchError, DeadlineBench, run_deadline_bench

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "frames", "fps", "fps_measured", "deadline_ms", "over_p50_ms", "over_p99_ms", "over_p999_ms",
    "over_max_ms", "plc_p999_ms", "decided_p999_ms", "early", "timer_max_ms", "timer_p999_ms",
    "limit_ms", "held",
}  # fmt: skip


def test_every_frame_ends_once_and_not_early(ipc_folder: Path) -> None:
    """A line without a scorer gives each frame one NO_RESULT after its deadline."""
    command = [sys.executable, "-W", "error", "-m", "pipeline", "bench", "deadline"]
    done = subprocess.run(
        [*command, "--folder", str(ipc_folder), "--frames", "100", "--deadline-ms", "150"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    said = json.loads(last)
    assert set(said) == KEYS
    assert (said["frames"], said["fps"], said["deadline_ms"]) == (100, 50, 150)
    assert said["early"] == 0
    assert 0 <= said["over_p50_ms"] <= said["over_p99_ms"] <= said["over_p999_ms"]
    assert said["over_p999_ms"] <= said["over_max_ms"]
    assert said["limit_ms"] == pytest.approx(20 + said["timer_max_ms"], abs=1e-3)
    assert said["held"] == (said["over_p999_ms"] <= said["limit_ms"])
    assert any("arrival on plc" in line for line in table)
    assert list(ipc_folder.iterdir()) == [], "the line's folder stays"


def test_stop_is_an_interruption(tmp_path: Path) -> None:
    """A bench that is stopped says how far it was, and gives no figures."""
    with pytest.raises(BenchError, match="interrupted after 0 of 10 results") as caught:
        run_deadline_bench(Console(quiet=True), DeadlineBench(10, 50, 100), tmp_path, lambda: True)

    assert caught.value.exit_code == 130


def test_stage_that_fails_is_named_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_broker_port: int
) -> None:
    """A line that cannot start ends the bench with what its stage said."""
    monkeypatch.setattr(bench_deadline, "free_port", lambda: embedded_broker_port)

    with pytest.raises(BenchError, match=rf"(?s)broker failed at start.*{embedded_broker_port}"):
        run_deadline_bench(Console(quiet=True), DeadlineBench(10, 50, 100), tmp_path, lambda: False)
