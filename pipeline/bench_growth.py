"""How the time of a push grows with the window, and what a large window holds in memory."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from musc.pair_store import estimated_bytes
from musc.sliding import SlidingMuSc
from pipeline.bench_race import SlidingContestant, start_contestants
from pipeline.bench_rounds import race, shown
from pipeline.config_method import MuscSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from pipeline.bench_race import SeenFrame

WINDOWS = (16, 32, 64, 128)
"""Frames in the windows whose times are compared."""

VIT_L = (4, 1369, 1024)
"""Stages, patches and channels of CLIP ViT-L-14-336 at 518 px."""


def fitting(frames: int, repeats: int) -> tuple[int, ...]:
    """Those windows that so many frames fill and feed for so many counted rounds."""
    return tuple(window for window in WINDOWS if window + 1 + repeats <= frames)


def growth_times(
    console: Console, frames: Sequence[SeenFrame], repeats: int, device: torch.device
) -> dict[int, float]:
    """Median milliseconds of a push for each window that fits, all in one race."""
    musc = MuscSettings()
    runners: dict[str, Callable[[int], object]] = {}
    for window in fitting(len(frames), repeats):
        one = SlidingContestant(
            window, musc.degrees, musc.keep_lowest, locality=None, device=device
        )
        runners |= start_contestants({str(window): one}, frames, window)
    if not runners:
        return {}
    rounds = range(1 + repeats)
    times_ms = race(runners, shown(console, "rounds of all windows", rounds, len(rounds)))
    return {int(name): statistics.median(times) for name, times in times_ms.items()}


def exponent(times_ms: Mapping[int, float]) -> float | None:
    """Fit time = a * window ** b by least squares of the logarithms, and return b."""
    if len(times_ms) < 2:  # noqa: PLR2004 - a line has two points
        return None
    windows, times = zip(*times_ms.items(), strict=True)
    return float(np.polyfit(np.log(windows), np.log(times), 1)[0])


def measure_vit_l(console: Console, window: int, repeats: int, seed: int) -> dict[str, Any]:
    """Fill a float16 window of the largest backbone's size, and tell its time and memory.

    The tokens are drawn at random around a direction of their own for each patch: what a
    push costs and holds depends on their number only. ``peak_bytes`` are the tensors that
    the window holds when it is full, summed up; ``rss_growth_bytes`` is how far the
    process's memory rose above what it had before, blocks in work included, or None
    where the system does not tell.

    Returns:
        The figures under the names of the last line.
    """
    stages, patches, channels = VIT_L
    source = torch.Generator().manual_seed(seed)
    places = torch.randn(stages, patches, channels, generator=source)
    before = _resident_bytes("VmRSS")
    _forget_peak()
    held = SlidingMuSc(window, interpolate=True, dtype=torch.float16)
    times_ms = []
    total = window + 1 + repeats
    for _ in shown(console, "frames pushed", range(total), total):
        tokens = places + torch.randn(stages, patches, channels, generator=source)
        begin = time.perf_counter_ns()
        slot = held.push(tokens, torch.ones(1))
        if len(held) > 1:
            held.patch_scores(slot)
        times_ms.append((time.perf_counter_ns() - begin) / 1e6)
    peak = _resident_bytes("VmHWM")
    grown = None if before is None or peak is None else peak - before
    return {
        "shape": "vit-l",
        "window": window,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "dtype": "float16",
        "push_ms": round(statistics.median(times_ms[-repeats:]), 1),
        "peak_bytes": held.held_bytes,
        "estimated_bytes": estimated_bytes(window, *VIT_L, dtype=torch.float16),
        "rss_growth_bytes": grown,
    }


def roofline_ms(window: int, shape: tuple[int, int, int], gflops: float) -> float:
    """Milliseconds that the products of one push take at a rate; shape is [S, P, C]."""
    stages, patches, channels = shape
    return 2e-6 * (window - 1) * stages * math.pow(patches, 2) * channels / gflops


def _forget_peak() -> None:
    """Have Linux measure the highest memory from now on, where it lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def _resident_bytes(field: str) -> int | None:
    """A figure of Linux's about this process; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    known = [line for line in lines if line.startswith(f"{field}:")]
    return int(known[0].split()[1]) * 1024 if known else None
