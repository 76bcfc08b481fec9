"""A scorer that is killed in mid-stream is ready at its first frame after the restart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
READY = 30
"""Frames after which a box that began empty is READY for sure."""
LIMIT_S = 60.0


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
