"""The supervisor: starts the processes of a line, restarts them, stops them in order.

Start goes upstream (broker, gate, scorer, cameras), each when the one before
is ready; stop goes downstream (cameras, scorer, gate, broker), so that every
announced frame still finds an open gate. A stage that fails before it was ever
ready ends the run: its message is the reason. Later failures are restarted
for ever, at once after a good time and with back-off where they follow each
other. Each stage keeps to itself: the others run on while one is restarted.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.config import Config

log = logging.getLogger(__name__)

POLL_S = 0.05
BACKOFF_FIRST_S = 0.2
BACKOFF_LIMIT_S = 10.0
GOOD_TIME_S = 5.0
"""A stage that was ready for so long is restarted as if it had never failed."""
STOP_LIMITS_S = {"ingest": 1.4, "scoring": 1.4, "gate": 1.7, "broker": 0.5}
"""Until a stage is killed; together the 5 s that a line may take to stop."""


class StageError(LineError):
    """A stage failed before it was ready."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the exit code of the stage: 2 says that its config is wrong."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class StageCommand:
    """How one process of the line is started."""

    kind: str
    """broker, gate, scoring or ingest."""
    name: str
    arguments: tuple[str, ...]
    module: str = "pipeline"
    """What ``python -m`` runs."""


class Stage:
    """One process, as the supervisor sees it."""

    def __init__(self, command: StageCommand, stderr: IO[bytes] | None) -> None:
        """Prepare the stage; ``start`` runs it."""
        self.command = command
        self.ready = self.was_ready = self.finished = False
        self._stderr = stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_at = self._restart_at = 0.0
        self._backoff_s = BACKOFF_FIRST_S

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process in a group of its own, so that Ctrl-C reaches only the supervisor."""
        command = self.command
        self._process = subprocess.Popen(
            [sys.executable, "-m", command.module, *command.arguments, "--supervised"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        os.set_blocking(_pipe(self._process).fileno(), False)
        log.info("%s started, pid %d", command.name, self._process.pid)

    def check(self, now: float) -> None:
        """Take note of readiness and of an end; start again when the back-off is over.

        Raises:
            StageError: It ended before it was ever ready.
        """
        if self._process is None:
            if not self.finished and now >= self._restart_at:
                self._try_to_start(now)
            return
        # Looked at first: of a stage that has ended the pipe then holds all it ever said.
        code = self._process.poll()
        # Read on after it is ready: a pipe that is full would stop the stage.
        said = _pipe(self._process).read() or b""
        if not self.ready and b"ready" in said:
            self.ready = self.was_ready = True
            self._ready_at = now
        if code is not None:
            self._ended(code, now)

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, limit_s: float) -> None:
        """Wait for the end of the process; kill it when the limit is over."""
        if self._process is None:
            return
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %.1f s, killed", self.command.name, limit_s)
            self._process.kill()
            self._process.wait()
        self._close_pipes()
        self._process = None

    def _try_to_start(self, now: float) -> None:
        try:
            self.start()
        except OSError as error:
            # No memory or no process left at the moment: the line must outlive that.
            self._failed(f"cannot be started, {error.strerror or error}", 1, now)

    def _ended(self, code: int, now: float) -> None:
        self._close_pipes()
        if self.ready and now - self._ready_at >= GOOD_TIME_S:
            self._backoff_s = BACKOFF_FIRST_S
        self._process, self.ready = None, False
        if code == 0 and self.command.kind == "ingest":
            self.finished = True
            log.info("%s finished", self.command.name)
            return
        self._failed(f"ended with code {code}", code, now)

    def _failed(self, how: str, code: int, now: float) -> None:
        """Plan the next start; a stage that was never ready is given up instead."""
        if not self.was_ready:
            msg = f"{self.command.name} failed at start: {how}"
            raise StageError(msg, exit_code=code if code in {1, 2} else 1)
        log.warning("%s %s, again in %.1f s", self.command.name, how, self._backoff_s)
        self._restart_at = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_LIMIT_S)

    def _close_pipes(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


def line_commands(
    config: Config, config_path: Path, record: Path | None = None
) -> list[StageCommand]:
    """Return the processes of a line in the order of their start.

    ``record`` is the folder of a recording, which gate and cameras write.
    """
    given = ("--config", str(config_path))
    recorded = (*given, "--record", str(record)) if record is not None else given
    commands = (
        [StageCommand("broker", "broker", ("broker", *given))] if config.mqtt.embedded else []
    )
    commands.append(StageCommand("gate", "gate", ("gate", *recorded)))
    commands.append(StageCommand("scoring", "scoring", ("inspect", *given)))
    return commands + [
        StageCommand("ingest", f"ingest {camera.id}", ("ingest", *recorded, "--camera", camera.id))
        for camera in config.camera
    ]


class Supervisor:
    """Keeps the stages of one line running until it is stopped or the sources end."""

    def __init__(
        self,
        commands: list[StageCommand],
        stderr: IO[bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare the stages; nothing runs yet."""
        self.stages = [Stage(command, stderr) for command in commands]
        self._clock = clock
        self._sleep = sleep

    def run(self, stop: Callable[[], bool], tick: Callable[[], None] | None = None) -> None:
        """Run the line; ``tick`` is called about 20 times a second.

        Raises:
            StageError: A stage failed before it was ever ready; the others are stopped.
        """
        started: list[Stage] = []
        waiting = list(self.stages)
        try:
            while not stop() and not self._all_sources_finished():
                if waiting and all(s.was_ready for s in started if s.command.kind != "ingest"):
                    started.append(waiting.pop(0))
                for stage in started:
                    stage.check(self._clock())
                if tick is not None:
                    tick()
                self._sleep(POLL_S)
        finally:
            self._stop(started)

    def _all_sources_finished(self) -> bool:
        return all(stage.finished for stage in self.stages if stage.command.kind == "ingest")

    def _stop(self, started: list[Stage]) -> None:
        for kind, limit_s in STOP_LIMITS_S.items():
            stages = [stage for stage in started if stage.command.kind == kind]
            for stage in stages:
                stage.terminate()
            until = self._clock() + limit_s
            for stage in stages:
                stage.wait(max(0.0, until - self._clock()))


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        msg = "the stage has no standard output"
        raise ValueError(msg)
    return process.stdout
