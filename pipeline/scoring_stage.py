"""The scorer process: weights, inspector and loop, the only process with torch."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import zmq

from edge.clock import SystemClock
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.build import build_inspector
from pipeline.scoring import Scoring
from pipeline.snapshots import Snapshots

if TYPE_CHECKING:
    from edge.sockets import Context
    from pipeline.config import Config


def run_scoring(config: Config, *, supervised: bool) -> None:
    """Run the scorer until it is told to stop.

    Raises:
        LineError: Weights, device or memory are missing, or an endpoint cannot
            be used; the message says which.
    """
    stop = stage_stop_flag(supervised=supervised)
    # It is built where it works: each thread that multiplies has a team of threads of its
    # own, and more of them than cores would make all of them wait for one another longer.
    worker = ThreadPoolExecutor(1, "inspector")
    snapshots = _snapshots(config)
    inspector, model = worker.submit(build_inspector, config, snapshots).result()
    inspector.prepare([])
    context: Context = zmq.Context()
    loop = Scoring(config, inspector, model, SystemClock(), context, worker, inspector.windows)
    announce_ready(supervised=supervised)
    try:
        loop.run(stop.is_set)
    finally:
        loop.close()
        context.term()
    # The gate has all by now; where the time to stop is over first, the snapshot before stays.
    inspector.windows.keep_all()
    snapshots.close()
    if supervised:
        # All is sent and closed; unloading torch would take 1.4 s of the 5 s to stop.
        logging.shutdown()
        os._exit(0)


def _snapshots(config: Config) -> Snapshots:
    """Return the place of the line's windows on the disk."""
    return Snapshots(
        config.windows_path,
        config.window.snapshot_s,
        time.monotonic,
        lambda: datetime.now(timezone.utc),
    )
