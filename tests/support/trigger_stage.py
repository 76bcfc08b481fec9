"""An ingest whose cameras swallow some of their triggers, as a worn cable makes them.

``python -m trigger_stage ingest --config X --camera c1 --supervised`` is the real
stage. The environment says which triggers, counted from 1 for each camera, reach
no sensor: ``SWALLOW_c1=3,7``.
"""

from __future__ import annotations

import os
import sys
from itertools import count

from edge.sources.basler import BaslerDevice
from pipeline.cli import main


def swallow(camera: str) -> None:
    """Let triggers of this process's camera come to nothing."""
    lost = {int(number) for number in os.environ.get(f"SWALLOW_{camera}", "").split(",") if number}
    numbers = count(1)
    trigger = BaslerDevice.trigger

    def worn(device: BaslerDevice) -> None:
        if next(numbers) not in lost:
            trigger(device)

    BaslerDevice.trigger = worn  # type: ignore[method-assign] - this process's camera


if __name__ == "__main__":
    swallow(sys.argv[sys.argv.index("--camera") + 1])
    main()
