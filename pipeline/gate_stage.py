"""The gate process: one gate a ledger, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from edge.clock import SystemClock
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.gate_loop import GateLoop
from pipeline.line_lock import ledger_lock
from pipeline.recording_start import line_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.contract import State
    from edge.frame import FrameKey
    from pipeline.config import Config


def run_gate(
    config: Config,
    *,
    supervised: bool,
    on_confirmed: Callable[[FrameKey, int], None] | None = None,
    record: Path | None = None,
) -> None:
    """Run the gate until it is told to stop; ``on_confirmed`` is the publisher's.

    ``record`` is the folder of a recording that was begun.

    Raises:
        LineLockError: Another gate writes this ledger.
        RecordingError: The recording cannot be written.
        LedgerError: The ledger failed; it can be written again, and whoever
            starts next closes what is open.
    """
    stop = stage_stop_flag(supervised=supervised)
    with ledger_lock(config.ledger.path):
        clock, context = SystemClock(), zmq.Context()
        recorder = line_index(config, record, clock) if record else None
        loop = GateLoop(config, clock, context, on_confirmed, recorder)
        announce_ready(supervised=supervised)
        last: State = "FAULT"
        try:
            loop.run(stop.is_set)
            last = "STOPPED"
        finally:
            loop.close(last)
            context.term()
