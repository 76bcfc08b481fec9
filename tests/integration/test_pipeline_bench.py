"""The pipeline bench on a real line: each frame is timed once, from capture to PUBACK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from pipeline.bench_line import BenchLine, BenchLineError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

SECTIONS: dict[str, Any] = {"window": {"size_frames": 17, "min_peers": 8}}


def pictures(folder: Path, count: int) -> Path:
    """Write some pictures."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.bmp"), noise.integers(0, 255, (56, 56), np.uint8))
    return folder


@pytest.mark.weights
def test_each_frame_is_timed_from_capture_to_confirmation(
    ipc_folder: Path, weights_file: Path
) -> None:
    """Two phases of one line give their frames once each, in order, and later than computed."""
    musc = {"image_size_px": 56, "offline": True, "weights": str(weights_file), "device": "cpu"}
    first, second = pictures(ipc_folder / "a", 5), pictures(ipc_folder / "b", 4)

    with BenchLine(ipc_folder, "embedded", lambda: False, musc=musc, **SECTIONS) as line:
        started = set(line.pids)
        phases = [line.run(first, 0), line.run(second, 30)]

    assert started == {"broker", "gate", "scoring"}
    assert [len(phase) for phase in phases] == [5, 4]
    frames = phases[0] + phases[1]
    assert [one.captured_ns for one in frames] == sorted(one.captured_ns for one in frames)
    assert all(one.overhead_ms > 0 for one in frames)
    gaps = [b.captured_ns - a.captured_ns for a, b in zip(phases[1], phases[1][1:], strict=False)]
    # The pace is kept by the moments of asking; a capture that lagged shortens the gap after it.
    assert min(gaps) >= 20_000_000


def test_stop_is_an_interruption(ipc_folder: Path) -> None:
    """A bench that is stopped ends its stages and says so with the shell's code."""
    with (
        pytest.raises(BenchLineError, match="interrupted") as caught,
        BenchLine(ipc_folder, "embedded", lambda: True, **SECTIONS),
    ):
        pass

    assert caught.value.exit_code == 130
