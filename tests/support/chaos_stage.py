"""A stage of the line as the chaos test runs it: the real one, on a clock that may step.

``python -m chaos_stage gate --config X --supervised`` is ``python -m pipeline``
with two things added. The wall clock is off by what the file ``CHAOS_CLOCK``
says, in seconds. Each camera names its parts itself and writes them, one a
line, to the file ``CHAOS_BELT`` at the moment of the capture: the entry sensor
of a belt.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from edge.clock import SystemClock
from edge.sources import Source
from pipeline import ingest_stage
from pipeline.cli import main

if TYPE_CHECKING:
    from datetime import datetime

    from edge.clock import Clock
    from edge.keys import LineKeys
    from edge.sources import Capture
    from pipeline.config_camera import Camera


class Belt(Source):
    """A source that knows its parts, and an entry sensor."""

    def __init__(self, source: Source, sensor: Path) -> None:
        """Look at the same things as ``source``."""
        self._source = source
        self._sensor = sensor
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)

    def read(self) -> Capture | None:
        """Return the next capture as a part of its own, and tell the sensor's file."""
        capture = self._source.read()
        if capture is None:
            return None
        part_id = f"{self._prefix}-{next(self._numbers)}"
        with self._sensor.open("a") as file:
            file.write(f"{part_id}\n")
        return replace(capture, part_id=part_id)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def step_clock(file: Path) -> None:
    """Let the wall clock of this process be off by what the file says."""
    now = SystemClock.now

    def stepped(clock: SystemClock) -> datetime:
        return now(clock) + timedelta(seconds=float(file.read_text() or 0))

    SystemClock.now = stepped  # type: ignore[method-assign] - this process's clock


def put_on_belt(sensor: Path) -> None:
    """Let every camera of this process look at a belt."""
    open_source = ingest_stage.open_source

    def open_belt(camera: Camera, clock: Clock, keys: LineKeys | None = None) -> Source:
        return Belt(open_source(camera, clock, keys), sensor)

    ingest_stage.open_source = open_belt


if __name__ == "__main__":
    step_clock(Path(os.environ["CHAOS_CLOCK"]))
    put_on_belt(Path(os.environ["CHAOS_BELT"]))
    main()
