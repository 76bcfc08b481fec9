"""A scorer that is killed in mid-stream is ready at its first frame after the restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lines import running, write_config

pytestmark = pytest.mark.timeout(300)

SUPPORT = Path(__file__).parents[1] / "support"
READY = 30
"""Frames after which a box that began empty is READY for sure."""
LIMIT_S = 120.0


def scorer(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    """Start an inspector with snapshots that takes frames of those numbers."""
    return subprocess.Popen(
        [sys.executable, "-m", "killed_scorer", str(folder), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}"},
    )


def killed(process: subprocess.Popen[str], after: int) -> int:
    """Kill a scorer that has said so much; return the last frame that it told of."""
    assert process.stdout is not None
    for _ in range(after):
        assert process.stdout.readline(), "the scorer ended by itself"
    process.kill()
    rest = process.stdout.read().splitlines()
    process.wait(LIMIT_S)
    process.stdout.close()
    return after + len(rest)


def test_killed_scorer_is_ready_at_once(tmp_path: Path) -> None:
    """After kill -9 the first frame is judged, with a full window and a threshold."""
    last = killed(scorer(tmp_path, 1, 1_000_000), READY)

    again = scorer(tmp_path, last + 1, last + 2)
    line, _ = again.communicate(timeout=LIMIT_S)

    seq, state, score, threshold, peers = line.split()
    assert (int(seq), state, int(peers)) == (last + 1, "READY", 9)
    assert 0 < float(score) < 2
    assert float(threshold) > 0


def test_kills_in_the_middle_of_writing_leave_a_usable_snapshot(tmp_path: Path) -> None:
    """However often it is killed while it writes all the time, the scorer goes on."""
    killed(scorer(tmp_path, 1, 1_000_000), READY)

    for first in (1_000, 2_000):
        killed(scorer(tmp_path, first, 1_000_000), 3)

    again = scorer(tmp_path, 9_000, 9_001)
    line, _ = again.communicate(timeout=LIMIT_S)
    assert line.split()[1] == "READY"


def test_line_goes_on_judging_after_its_scorer_was_killed(
    tmp_path: Path, weights_file: Path
) -> None:
    """On a real line a killed scorer costs its frames on the way and no warming."""
    window = {"size_frames": 12, "min_peers": 8, "snapshot_s": 0.05}
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    config = write_config(
        tmp_path, weights_file, camera=camera, part={"deadline_ms": 500}, window=window
    )

    with running(config) as line:
        kept = line.settings.line.state_path / "windows" / "c1" / "default.safetensors"
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        stamp = kept.stat().st_mtime_ns if kept.exists() else 0
        line.until(lambda: kept.exists() and kept.stat().st_mtime_ns > stamp, "a snapshot")
        warming = line.results()["warming"]
        judged = len(line.rows())
        os.kill(line.pids("scoring")[0], signal.SIGKILL)
        line.until(
            lambda: any(row["reason"] == "scorer_down" for row in line.rows()), "the loss of it"
        )
        line.until(
            lambda: any(
                row["verdict"] == "PASS" and row["seq"] > judged + 50 for row in line.rows()
            ),
            "PASS after the restart",
        )
        assert line.stop() == 0, line.text()

    assert line.results()["warming"] == warming, line.text()
    assert line.audit()["balanced"], line.audit()


def test_ordered_stop_keeps_the_windows(tmp_path: Path, weights_file: Path) -> None:
    """A line that is stopped and started again warms up once, without snapshots in between."""
    camera = [{"id": "c1", "kind": "synthetic", "interval_ms": 20}]
    config = write_config(
        tmp_path,
        weights_file,
        camera=camera,
        part={"deadline_ms": 500},
        window={"size_frames": 12, "min_peers": 8, "snapshot_s": 0},
    )
    with running(config) as line:
        line.until(lambda: line.results()["PASS"] > 3, "PASS")
        assert line.stop() == 0, line.text()
    judged, warming = line.results()["PASS"], line.results()["warming"]

    with running(config) as again:
        again.until(lambda: again.results()["PASS"] > judged + 3, "PASS after the start")
        assert again.stop() == 0, again.text()

    assert again.results()["warming"] == warming, again.text()
