"""The gate process: one gate a ledger, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from edge.clock import SystemClock
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.gate_loop import GateLoop
from pipeline.line_lock import ledger_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.contract import State
    from edge.frame import FrameKey
    from edge.sockets import Context
    from pipeline.config import Config


def run_gate(
    config: Config,
    *,
    supervised: bool,
    on_confirmed: Callable[[FrameKey, int], None] | None = None,
) -> None:
    """Run the gate until it is told to stop; ``on_confirmed`` is the publisher's.

    Raises:
        LineLockError: Another gate writes this ledger.
        LedgerError: The ledger failed; it can be written again, and whoever
            starts next closes what is open.
    """
    stop = stage_stop_flag(supervised=supervised)
    with ledger_lock(config.ledger.path):
        context: Context = zmq.Context()
        loop = GateLoop(config, SystemClock(), context, on_confirmed)
        announce_ready(supervised=supervised)
        last: State = "FAULT"
        try:
            loop.run(stop.is_set)
            last = "STOPPED"
        finally:
            loop.close(last)
            context.term()
