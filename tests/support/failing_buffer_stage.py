"""An ingest whose emulated Basler camera loses part of a picture every so often.

``python -m failing_buffer_stage ingest --config X --camera c1 --supervised`` is
the real stage. The environment says how: after every ``FAIL_EVERY`` pictures
pylon's emulator is told to let ``FAIL_BUFFERS`` buffers fail. The file
``DELIVERED_{camera}`` gets a line for each buffer that pylon delivers: whole or
failed.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from edge.sources.basler import BaslerDevice
from pipeline.cli import main

if TYPE_CHECKING:
    from edge.sources import Capture


def lose_buffers(camera: str) -> None:
    """Let buffers of this process's camera fail, and note what it delivers."""
    every, buffers = int(os.environ["FAIL_EVERY"]), int(os.environ["FAIL_BUFFERS"])
    delivered = Path(os.environ[f"DELIVERED_{camera}"])
    numbers = count(1)
    grab = BaslerDevice.grab

    def grab_some(device: BaslerDevice, timeout_s: float) -> Capture | None:
        capture = grab(device, timeout_s)
        if capture is None:
            return None
        with delivered.open("a") as file:
            file.write("whole\n" if capture.pixels is not None else "failed\n")
        if next(numbers) % every == 0:
            force_failures(device, buffers)
        return capture

    BaslerDevice.grab = grab_some  # type: ignore[method-assign] - this process's camera


def force_failures(device: BaslerDevice, buffers: int) -> None:
    """Tell the emulator to let the next buffers fail."""
    opened = device._opened
    assert opened is not None
    node_map = opened.camera.GetNodeMap()
    node_map.GetNode("ForceFailedBufferCount").SetValue(buffers)
    node_map.GetNode("ForceFailedBuffer").Execute()


if __name__ == "__main__":
    lose_buffers(sys.argv[sys.argv.index("--camera") + 1])
    main()
