"""Whether the line runs while the doctor looks: then it, and nobody else, holds its things.

It is asked anew before each look at something that a running line holds, since
it may be started in the meantime. While the line's own lock is held, the locks
of its stages are not touched: one that is restarted must find them free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.line_lock import gate_runs, is_held, line_runs

if TYPE_CHECKING:
    from pipeline.config import Config


@dataclass(frozen=True, slots=True)
class Running:
    """What runs of a line."""

    gate: bool
    cameras: frozenset[str]
    """Cameras whose ingest runs."""
    who: str
    """Who that is, as a sentence; empty where nothing runs."""

    @property
    def anything(self) -> bool:
        """Whether any stage runs."""
        return bool(self.who)


def what_runs(config: Config) -> Running:
    """Look at the locks of a line, without taking one."""
    cameras = frozenset(camera.id for camera in config.camera)
    if line_runs(config.line.state_path):
        return Running(gate=True, cameras=cameras, who="the line is running")
    gate = gate_runs(config.ledger.path)
    counting = frozenset(name for name in cameras if is_held(config.counter_path(name)))
    stages = [*(["the gate"] if gate else []), *(f"camera {name}" for name in sorted(counting))]
    return Running(gate, counting, f"{', '.join(stages)} of the line runs" if stages else "")
