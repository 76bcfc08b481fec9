"""A line whose processes are replaced one by one: the supervisor is real, and so are most stages.

Each stage is run as ``python -m MODULE``: a module of this folder that is the
real stage with something added, or stands for it.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lines import RunningLine

from edge.clock import SystemClock
from pipeline.recording_start import begin_recording
from pipeline.supervisor import Supervisor, line_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LIMIT_S = 180.0
"""Python starts for every stage, several times as slowly on a busy machine."""
SUPPORT = Path(__file__).parent


class StagedLine(RunningLine):
    """The supervisor in a thread; its stages are processes of their own."""

    def __init__(
        self, config: Path, modules: Mapping[str, str], record: Path | None = None
    ) -> None:
        """Start the line.

        Args:
            config: Its file; the log lies beside it.
            modules: What runs a kind of stage (ingest, scoring, gate), where it is
                not the real one.
            record: New folder to record into.
        """
        self._attach(config)
        self._stop = threading.Event()
        self._log_file = self.log.open("wb")
        if record is not None:
            begin_recording(self.settings, record, SystemClock())
        commands = [
            replace(command, module=modules.get(command.kind, command.module))
            for command in line_commands(self.settings, config, record)
        ]
        self._supervisor = Supervisor(commands, self._log_file)
        self._thread = threading.Thread(target=self._supervisor.run, args=(self._stop.is_set,))
        self._thread.start()

    def counted(self, camera: str = "c1") -> int:
        """Frames that a camera's ingest has counted on disk."""
        path = self.settings.counter_path(camera)
        return int(path.read_text() or 0) if path.exists() else 0

    def is_up(self) -> bool:
        """Tell whether every process is there and was ready."""
        return all(stage.ready and stage.pid for stage in self._supervisor.stages)

    def pid_of(self, name: str) -> int | None:
        """Return the process id of a stage at the moment."""
        return next(s.pid for s in self._supervisor.stages if s.command.name == name)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert self._thread.is_alive(), f"the line ended before {what}:\n{self.text()}"
            assert time.monotonic() < end, f"no {what} within {LIMIT_S} s:\n{self.text()[-4000:]}"
            time.sleep(0.005)

    def stop(self) -> int:
        """Stop the line in order."""
        self._stop.set()
        self._thread.join(LIMIT_S)
        self._log_file.close()
        return 0

    def join(self) -> None:
        """Wait until the sources have ended, and the line with them."""
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), f"no end within {LIMIT_S} s:\n{self.text()[-4000:]}"


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def staged_line(
    config: Path, *, ingest: str = "pipeline", record: Path | None = None, **variables: str
) -> Iterator[StagedLine]:
    """Run a line with the stand-in scorer; whatever the test does, no process of it stays.

    Args:
        config: Its file.
        ingest: Module that runs the cameras.
        record: New folder to record into.
        variables: Environment of the stages; the stand-in scorer's log is
            ``scored.csv`` beside the config unless it says otherwise.
    """
    values = {"PYTHONPATH": str(SUPPORT), "STAND_IN_LOG": str(config.with_name("scored.csv"))}
    with environment(values | variables):
        line = StagedLine(config, {"ingest": ingest, "scoring": "stand_in_scorer"}, record)
        try:
            yield line
        finally:
            line.stop()
