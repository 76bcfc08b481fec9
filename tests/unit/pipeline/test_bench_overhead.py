"""The figures of the pipeline bench: what is not compute is overhead, repeat by repeat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from edge.frame import FrameKey
from pipeline.bench_gate import Confirmed, note, read_confirmed
from pipeline.bench_line import FrameTimes
from pipeline.bench_overhead import OwnCompute, PipelineReport, Repeat
from pipeline.bench_pipeline import PipelineBench, PipelineBenchError, run_pipeline_bench

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


def line(latency_ms: float, interval_ms: float, frames: int, compute_ms: float) -> list[FrameTimes]:
    """Return frames at an even pace, all with one latency."""
    starts = [round(n * interval_ms * MS) for n in range(frames)]
    return [FrameTimes(at, at + round(latency_ms * MS), compute_ms) for at in starts]


def repeat(slow: float = 1.0, late_ms: float = 0.0) -> Repeat:
    """Return a repeat on a machine ``slow`` times as slow, one frame of ten late."""
    half = line(104 * slow, 250 * slow, 9, 100 * slow)
    half += line(104 * slow + late_ms, 250 * slow, 1, 100 * slow)
    own = [OwnCompute(60 * slow, 30 * slow, 25 * slow)] * 4
    return Repeat(own, line(208 * slow, 100 * slow, 5, 100 * slow), half)


def test_overhead_is_what_was_not_compute() -> None:
    """Half load gives overhead as a share of compute, full load the rate of confirmations."""
    said = PipelineReport([repeat()], "embedded", 32).summary()

    assert (said["compute_ms"], said["backbone_ms"], said["msm_ms"]) == (100, 60, 30)
    assert (said["overhead_p50_ms"], said["overhead_p50_share"]) == (4, 0.04)
    assert said["fps"] == 10
    assert said["fps_share"] == 0.9
    assert said["plain_fps_share"] == 0.85
    assert said["strict_overhead_p50_share"] == pytest.approx(104 / 90 - 1, abs=1e-4)
    assert said["held"]
    json.dumps(said)


def test_shares_are_taken_within_a_repeat() -> None:
    """A machine that was slower in one repeat changes no share."""
    even = PipelineReport([repeat(), repeat(), repeat()], "embedded", 32).summary()
    uneven = PipelineReport([repeat(), repeat(3.0), repeat(0.5)], "embedded", 32).summary()

    shares = [name for name in even if name.endswith("share")]
    assert [even[name] for name in shares] == [uneven[name] for name in shares]


def test_late_frame_counts_in_the_99th_percentile() -> None:
    """One frame that is far too late breaks the limit, and the median does not hide it."""
    said = PipelineReport([repeat(late_ms=30)], "mosquitto", 32).summary()

    assert said["overhead_p50_share"] == 0.04
    assert said["overhead_p99_share"] == 0.34
    assert not said["held"]


def test_confirmations_are_read_as_they_were_noted(tmp_path: Path) -> None:
    """What the gate notes is read back in order, without a line that is only half there."""
    path = tmp_path / "confirmed.csv"
    missing = read_confirmed(path)
    with path.open("w", encoding="ascii") as file:
        note(file, FrameKey("c1", "a" * 16, 1), 5)
        note(file, FrameKey("c1", "a" * 16, 2), 7)
        file.write("c1,aaaa")

    assert missing == []
    assert read_confirmed(path) == [Confirmed("a" * 16, 1, 5), Confirmed("a" * 16, 2, 7)]


def test_rate_needs_two_frames(tmp_path: Path) -> None:
    """One frame a phase has no rate: refused as a wrong argument, before anything is fetched."""
    with pytest.raises(PipelineBenchError, match="--frames 1: at least 2") as caught:
        run_pipeline_bench(Console(quiet=True), PipelineBench(frames=1), tmp_path, lambda: False)

    assert caught.value.exit_code == 2
