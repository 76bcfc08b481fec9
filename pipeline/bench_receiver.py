"""The scorer's end of the transport bench: the real loop around an inspector that only counts.

It runs as a process of its own, as ``python -m pipeline.bench_receiver CONFIG``, until
its standard input is closed. Nothing here imports torch.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from edge.clock import SystemClock
from edge.stopping import StopFlag
from pipeline.config_file import load_config
from pipeline.inspection import Inspection, Pinning
from pipeline.scoring import Scoring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Frame, Pixels
    from edge.sockets import Context

READ_ALL = "read all"
"""The origin of a frame whose every byte is to be read."""
MODEL = "0badcafe"
WINDOW = 2


class Receiver:
    """Takes frames without a look at their pixels, unless it is asked for their sum."""

    recipe = "default"
    batch_frames = 1

    def inspect(self, frame: Frame) -> Inspection:
        """Say that the frame is here; in ``detail`` the checksum that was asked for."""
        asked = frame.announcement.origin == READ_ALL
        return Inspection(
            announcement=frame.announcement,
            verdict="NO_RESULT",
            why="disabled",
            detail=checksum(frame.pixels) if asked else "",
            state="WARMING",
            window_size=WINDOW,
            recipe=self.recipe,
            model=MODEL,
            compute_ms=0.0,
        )

    def inspect_batch(self, frames: Sequence[Frame]) -> list[Inspection]:
        """Say of each that it is here."""
        return [self.inspect(frame) for frame in frames]

    def prepare(self, frames: Sequence[Frame]) -> None:
        """Make no difference."""

    def change_recipe(self, recipe: str) -> None:
        """Make no difference."""

    def reset(self, camera: str | None = None) -> None:
        """Make no difference."""

    def pin(self, camera: str, boot: str, seq: int) -> Pinning:  # noqa: ARG002 - the protocol's
        """Hold no frame."""
        return "unknown_frame"

    def unpin(self, camera: str | None = None) -> int:  # noqa: ARG002 - the protocol's
        """Hold no frame."""
        return 0

    def release(self, camera: str | None = None) -> list[str]:  # noqa: ARG002 - the protocol's
        """Keep nothing apart."""
        return []


def checksum(pixels: Pixels) -> str:
    """Return a sum over shape and every byte of contiguous pixels."""
    return f"{pixels.shape} {zlib.crc32(pixels.data):08x}"


def main() -> None:
    """Take frames until standard input is closed."""
    stop = StopFlag(sys.stdin)
    context: Context = zmq.Context()
    config = load_config(Path(sys.argv[1]))
    loop = Scoring(config, Receiver(), MODEL, SystemClock(), context)
    try:
        loop.run(stop.is_set)
    finally:
        loop.close()
        context.term()


if __name__ == "__main__":
    main()
