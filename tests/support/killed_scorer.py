"""An inspector with snapshots in a process of its own, for tests that kill it.

``python -m killed_scorer FOLDER FIRST LAST`` inspects frames of those numbers and prints
one line for each, ``SEQ STATE SCORE THRESHOLD PEERS``, before it is written down.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from factories import FakeBackbone, config, frame

from pipeline.inspector import Inspector
from pipeline.snapshots import Snapshots


def pixels(seq: int) -> np.ndarray:
    """Return a noisy part."""
    base = np.tile(np.arange(28, dtype=np.float64) * 4 + 40, (28, 1))
    return (base + np.random.default_rng(seq).normal(0, 2, (28, 28))).clip(0, 255).astype(np.uint8)


def main() -> None:
    """Inspect, and write windows down as often as the disk allows."""
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    began = time.monotonic()
    settings = config(window={"size_frames": 10, "min_peers": 8}, judge={"min_scores": 8})
    kept = Snapshots(folder, 0.001, time.monotonic, lambda: datetime.now(timezone.utc))
    box = Inspector(settings, FakeBackbone(), "a89d1abb", snapshots=kept)
    for seq in range(first, last):
        seen = box.inspect(frame(seq, pixels(seq)))
        if seq == first:
            sys.stderr.write(f"first result after {time.monotonic() - began:.3f} s\n")
        told = (seq, seen.state, seen.score, seen.threshold, seen.window_n)
        sys.stdout.write(" ".join(map(str, told)) + "\n")
        sys.stdout.flush()
        if box.windows.due(idle=True):
            box.windows.keep(idle=True)


if __name__ == "__main__":
    main()
