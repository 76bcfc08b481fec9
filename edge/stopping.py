"""When to stop: a signal, or the death of the supervisor.

The handler only sets a flag; each loop asks it between two steps and shuts
down in order. A stage under the supervisor also holds its end of a pipe as
standard input: should the supervisor be killed, the pipe closes, and no stage
lives on as an orphan that keeps sockets and the ledger.
"""

from __future__ import annotations

import select
import signal
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from types import FrameType


class StopFlag:
    """Set once, by SIGTERM, SIGINT or the closing of a watched pipe."""

    def __init__(self, lifeline: TextIO | None = None) -> None:
        """Watch ``lifeline``, where given, for its end of file."""
        self._lifeline = lifeline
        self._set = False

    def install(self) -> None:
        """Take SIGTERM and SIGINT; only the main thread may call this."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def set(self) -> None:
        """Ask for the stop."""
        self._set = True

    def is_set(self) -> bool:
        """Tell whether the stop was asked for."""
        if not self._set and self._lifeline is not None:
            readable, _, _ = select.select([self._lifeline], [], [], 0)
            self._set = bool(readable)
        return self._set

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True


def stage_stop_flag(*, supervised: bool) -> StopFlag:
    """Return an installed flag for one stage of the line."""
    flag = StopFlag(sys.stdin if supervised else None)
    flag.install()
    return flag


def announce_ready(*, supervised: bool) -> None:
    """Tell the supervisor, through standard output, that the stage is set up."""
    if supervised:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
