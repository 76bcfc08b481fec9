"""A recorded line, or a folder of images, through the line once more, in one process.

Frames go through the line's own ``Inspector`` and its results through the line's own gate
(``replay_gate``), on the clock of the frames: no sockets, no broker, no chance. The same
source with the same settings gives the same ledger, whatever the size of a batch.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge.recording_lines import HEAD_FILE
from pipeline.build import build_inspector
from pipeline.ledger import Ledger
from pipeline.replay_gate import ReplayGate
from pipeline.replay_recording import RecordingReplay
from pipeline.replay_sources import FolderReplay, Ordered, Seen, Unseen
from pipeline.results import LineIdentity
from pipeline.scorer_orders import ScorerOrders
from pipeline.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.config import Config
    from pipeline.feature_files import FeatureFiles
    from pipeline.inspector import Inspector
    from pipeline.replay_sources import ReplaySource, Step


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast frames come: ``factor`` times as fast as they were captured, or at once."""

    factor: float | None = None
    """None does not wait."""
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def hold(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Pass steps on, each frame when it is due; none comes too early, and none is left out."""
        begin: tuple[float, datetime] | None = None
        for step in steps:
            if self.factor is not None and isinstance(step, Seen | Unseen):
                captured = step.announcement.captured_at
                if begin is None:
                    begin = self.monotonic_s(), captured
                due_s = (captured - begin[1]).total_seconds() / self.factor
                wait_s = begin[0] + due_s - self.monotonic_s()
                if wait_s > 0:
                    self.sleep(wait_s)
            yield step


AT_ONCE = Pace()


def open_source(path: Path, config: Config | None, *, late: bool | None = None) -> ReplaySource:
    """Open a recording, or a folder of images.

    Raises:
        SourceError: No such folder, or no image in it.
        RecordingError: A recording of another version.
        ReplayError: A recording that is damaged or does not fit the config.
        ConfigError: A folder, and a config with several cameras.
    """
    if (path / HEAD_FILE).is_file():
        return RecordingReplay(path, config, late=late)
    return FolderReplay(path, config)


def run_replay(
    source: ReplaySource,
    path: Path,
    pace: Pace = AT_ONCE,
    tick: Callable[[], None] = lambda: None,
    inspector_of: Callable[[Config, Snapshots], Inspector] | None = None,
) -> None:
    """Write the ledger of a source.

    Args:
        source: What is replayed, with its settings.
        path: The ledger; nothing may be there.
        pace: When each frame comes.
        tick: Called after each frame.
        inspector_of: Makes the inspector; a new one of the source's settings without.

    Raises:
        LineError: Weights, memory or a frame are missing, or the ledger cannot be written.
    """
    config = source.config
    identity = LineIdentity(config.digest, source.boot, config.part.deadline_ms, config.judge.score)
    with ExitStack() as stack:
        snapshots = stack.enter_context(_snapshots(source))
        inspector = (inspector_of or new_inspector)(config, snapshots)
        ledger = Ledger(path, "NORMAL", identity)
        stack.callback(ledger.close)
        _run(source, inspector, ledger, pace, tick)


def new_inspector(
    config: Config, snapshots: Snapshots, files: FeatureFiles | None = None
) -> Inspector:
    """Return an inspector as ``build_inspector`` does, and with the time left out.

    No time is in the ledger but the frames' own: the same run gives the same rows.
    """
    return build_inspector(config, snapshots, lambda: 0.0, files)[0]


def _run(
    source: ReplaySource,
    inspector: Inspector,
    ledger: Ledger,
    pace: Pace,
    tick: Callable[[], None],
) -> None:
    with ledger.transaction():
        gate = ReplayGate(source, ledger)
    orders = ScorerOrders(inspector, [camera.id for camera in source.config.camera])
    for turn in _turns(pace.hold(source.steps()), inspector.batch_frames):
        seen = iter(inspector.inspect_batch([one.frame for one in turn if isinstance(one, Seen)]))
        with ledger.transaction():
            for step in turn:
                if isinstance(step, Seen):
                    gate.seen(step, next(seen))
                elif isinstance(step, Unseen):
                    gate.unseen(step)
                else:
                    gate.change(step)
                if isinstance(step, Ordered):
                    orders.answer(step.order)
        for _ in filter(_is_frame, turn):
            tick()
    with ledger.transaction():
        gate.finish()


def _turns(steps: Iterable[Step], batch_frames: int) -> Iterator[list[Step]]:
    """Yield frames, so many for the inspector at once; what changes it is the last of a turn."""
    turn: list[Step] = []
    seen = 0
    for step in steps:
        turn.append(step)
        seen += isinstance(step, Seen)
        if seen == batch_frames or not _is_frame(step):
            yield turn
            turn, seen = [], 0
    yield turn


def _is_frame(step: Step) -> bool:
    return isinstance(step, Seen | Unseen)


@contextmanager
def _snapshots(source: ReplaySource) -> Iterator[Snapshots]:
    """Yield a copy of the windows that the scorer began with, and a place for other recipes'."""
    with tempfile.TemporaryDirectory(prefix="musc-edge-windows-") as folder:
        windows = Path(folder) / "windows"
        if source.windows is not None:
            shutil.copytree(source.windows, windows)
        kept = Snapshots(windows, 0, time.monotonic, lambda: datetime.now(timezone.utc))
        try:
            yield kept
        finally:
            kept.close()
