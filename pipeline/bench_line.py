"""A real line whose frames are timed from capture to confirmed publish, phase by phase.

A phase may also lose its scorer, and the time is taken until parts are judged again.

Broker, gate and scorer run from the first phase to the last, each as the process that a
plant would run; every phase has a camera process of its own, which takes the images of
one folder at one pace and ends. What is known of a frame comes from the line itself: its
capture and the scorer's compute from the ledger, the broker's acknowledgement of its
result from the gate (``pipeline.bench_gate``), all on the host's monotonic clock.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import tomli_w

from edge.endpoints import free_port
from edge.errors import LineError
from pipeline.bench_gate import confirmed_path, read_confirmed
from pipeline.config_file import load_config
from pipeline.ledger import open_for_reading
from pipeline.supervisor import Stage, StageCommand, StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import IO

    from pipeline.config import Config

CAMERA = "c1"
CONFIG_NAME = "line.toml"
DEADLINE_MS = 60_000
"""Generous: a frame that is late has no result, and the bench is about those that have."""
START_LIMIT_S, PHASE_LIMIT_S, CONFIRM_LIMIT_S = 120.0, 600.0, 20.0
STOP_LIMIT_S = 5.0
OUTAGE_INTERVAL_MS = 20
"""So slow that frames are left to come after the kill, however fast the scorer is."""
POLL_S = 0.05
LOG_LINES = 5
INTERRUPTED = 130
"""As a shell says of a command that Ctrl-C ended."""

Broker = Literal["embedded", "mosquitto"]


class BenchLineError(LineError):
    """The line failed, was stopped, or a frame has not exactly one confirmed result."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Keep the exit code."""
        super().__init__(message)
        self.exit_code = exit_code


class FrameTimes(NamedTuple):
    """One frame's way; the moments are ns on the host's monotonic clock."""

    captured_ns: int
    confirmed_ns: int
    """When the gate had the broker's acknowledgement of its ``verdict`` message."""
    compute_ms: float
    """What the scorer says that the frame took it."""

    @property
    def latency_ms(self) -> float:
        """From capture to confirmed publish."""
        return (self.confirmed_ns - self.captured_ns) / 1e6

    @property
    def overhead_ms(self) -> float:
        """What of it was not the scorer's compute."""
        return self.latency_ms - self.compute_ms


class Outage(NamedTuple):
    """A scorer that was killed, on the host's monotonic clock."""

    killed_ns: int
    judged_ns: int
    """When the broker had the first PASS or FAIL of a part that came after it."""
    unjudged: int
    """Frames of the phase that have another result."""
    warming: int
    """Those of them that a window without enough peers or scores gave no result."""


class BenchLine:
    """Broker, gate and scorer of one line, as a context; :meth:`run` is one phase."""

    def __init__(
        self, folder: Path, broker: Broker, stop: Callable[[], bool], **sections: dict[str, Any]
    ) -> None:
        """Prepare a line in an empty folder; ``sections`` are added to its config."""
        self._folder = folder
        self._broker = broker
        self._stop = stop
        self._sections = {
            "part": {"deadline_ms": DEADLINE_MS},
            "transport": {"policy": "wait"},
            "mqtt": {
                "port": free_port(),
                "protocol": "3.1.1",
                "embedded": broker == "embedded",
            },
            "ledger": {"synchronous": "FULL"},
            **sections,
        }
        self._stages: list[Stage] = []
        self._log: IO[bytes] | None = None
        self._phases = self._known = 0
        self._may_end = {"ingest"}

    def __enter__(self) -> BenchLine:
        """Start the stages, each when the one before is ready.

        Raises:
            BenchLineError: A stage failed; with the last lines of the log.
        """
        path, self._config = self._write(CONFIG_NAME, self._folder, 0)
        self._log = self._folder.joinpath("line.log").open("wb")
        given = ("--config", str(path))
        broker = "pipeline" if self._broker == "embedded" else "pipeline.bench_mosquitto"
        try:
            self._start(StageCommand("broker", "broker", ("broker", *given), broker))
            self._start(StageCommand("gate", "gate", ("gate", *given), "pipeline.bench_gate"))
            self._start(StageCommand("scoring", "scoring", ("inspect", *given)))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the stages, downstream."""
        self._end()

    @property
    def config(self) -> Config:
        """The line's settings, while it runs."""
        return self._config

    @property
    def config_path(self) -> Path:
        """Their file."""
        return self._folder / CONFIG_NAME

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the stages that run, by name."""
        return {one.command.name: one.pid for one in self._stages if one.pid is not None}

    def run(self, images: Path, interval_ms: int) -> list[FrameTimes]:
        """Let a camera take every image of a folder, and wait until all are confirmed.

        Args:
            images: A folder of images.
            interval_ms: Least time between two captures; with 0 each is taken as soon as
                the scorer has room for it.

        Returns:
            The frames in the order of their captures.

        Raises:
            BenchLineError: The line failed or was stopped, or a frame has no confirmed
                result of the scorer.
        """
        frames = self._begin(images, interval_ms)
        self._finish(frames)
        times = list(self._frames(frames))
        if len(times) != frames:
            msg = f"{len(times)} of {frames} frames have one confirmed result each"
            raise BenchLineError(msg)
        return times

    def outage(self, images: Path, after: int) -> Outage:
        """Let a camera take every image of a folder, and kill the scorer (SIGKILL) meanwhile.

        Args:
            images: A folder of images; more than ``after`` and what is in flight.
            after: Frames that are confirmed before.

        Raises:
            BenchLineError: The line failed or was stopped, or no part was judged afterwards.
        """
        frames = self._begin(images, OUTAGE_INTERVAL_MS)
        known = self._known
        self._until(lambda: len(self._confirmed()) >= known + after, PHASE_LIMIT_S, "no frames")
        self._may_end.add("scoring")
        killed_ns = time.monotonic_ns()
        os.kill(self.pids["scoring"], signal.SIGKILL)
        self._finish(frames)
        self._may_end.remove("scoring")
        confirmed = self._confirmed()
        rows = self._rows("captured_ns, reason, verdict", frames)
        judged = [
            confirmed[boot, seq]
            for boot, seq, captured_ns, _, verdict in rows
            if verdict != "NO_RESULT" and captured_ns > killed_ns
        ]
        if not judged:
            msg = f"none of {frames} frames was judged after the scorer was killed"
            raise BenchLineError(msg)
        return Outage(
            killed_ns,
            min(judged),
            unjudged=sum(verdict == "NO_RESULT" for *_, verdict in rows),
            warming=sum(reason == "warming" for *_, reason, _ in rows),
        )

    def _begin(self, images: Path, interval_ms: int) -> int:
        """Start a camera on a folder; return how many images it has."""
        self._phases += 1
        path, _ = self._write(f"camera-{self._phases}.toml", images, interval_ms)
        arguments = ("ingest", "--config", str(path), "--camera", CAMERA)
        self._start(StageCommand("ingest", "ingest", arguments))
        return sum(1 for _ in images.iterdir())

    def _finish(self, frames: int) -> None:
        """Wait until the camera has taken so many frames and all are confirmed."""
        camera = self._stages[-1]
        self._until(lambda: camera.finished, PHASE_LIMIT_S, "the camera has not ended")
        self._stages.remove(camera)
        wanted = self._known + frames
        self._until(
            lambda: len(self._confirmed()) >= wanted,
            CONFIRM_LIMIT_S,
            f"not all of {frames} frames are confirmed",
        )
        self._known = wanted

    def _confirmed(self) -> dict[tuple[str, int], int]:
        """Return when each frame was confirmed, by boot and number."""
        noted = read_confirmed(confirmed_path(self._config))
        return {(boot, seq): at_ns for boot, seq, at_ns in noted}

    def _frames(self, count: int) -> Iterator[FrameTimes]:
        """Yield the last ``count`` frames of the ledger that are confirmed and scored."""
        confirmed = self._confirmed()
        for boot, seq, captured_ns, compute_ms in self._rows("captured_ns, compute_ms", count):
            if (boot, seq) in confirmed and compute_ms is not None:
                yield FrameTimes(captured_ns, confirmed[boot, seq], compute_ms)

    def _rows(self, columns: str, count: int) -> list[tuple[Any, ...]]:
        """Return boot, number and columns of the last frames of the ledger, oldest first."""
        db = open_for_reading(self._config.ledger.path)
        query = f"select boot, seq, {columns} from verdicts order by seq desc limit ?"  # noqa: S608 - fixed texts
        rows = db.execute(query, [count]).fetchall()
        db.close()
        return rows[::-1]

    def _write(self, name: str, images: Path, interval_ms: int) -> tuple[Path, Config]:
        camera = {"id": CAMERA, "kind": "folder", "path": str(images), "interval_ms": interval_ms}
        path = self._folder / name
        path.write_text(tomli_w.dumps({"camera": [camera], **self._sections}), encoding="utf-8")
        return path, load_config(path)

    def _start(self, command: StageCommand) -> Stage:
        stage = Stage(command, self._log)
        self._stages.append(stage)
        self._until(lambda: stage.was_ready, START_LIMIT_S, f"{command.name} is not ready")
        return stage

    def _until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """Look after the stages until a condition holds.

        Raises:
            BenchLineError: A stage ended, the bench is to stop, or the limit is over.
        """
        until = time.monotonic() + limit_s
        while not condition():
            if self._stop():
                msg = "interrupted"
                raise BenchLineError(msg, exit_code=INTERRUPTED)
            try:
                for stage in self._stages:
                    stage.check(time.monotonic())
            except StageError as error:
                self._fail(str(error))
            ended = [s.command.name for s in self._stages if s.was_ready and not s.ready]
            if any(name not in self._may_end for name in ended):
                self._fail(f"{', '.join(ended)} has ended")
            if time.monotonic() > until:
                self._fail(f"{what} within {limit_s:.0f} s")
            time.sleep(POLL_S)

    def _fail(self, what: str) -> NoReturn:
        """Raise what went wrong with the last lines of the log."""
        log = self._folder.joinpath("line.log").read_text(errors="replace")
        raise BenchLineError("\n".join([what, *log.splitlines()[-LOG_LINES:]]))

    def _end(self) -> None:
        order = ("ingest", "scoring", "gate", "broker")
        for stage in sorted(self._stages, key=lambda one: order.index(one.command.kind)):
            stage.terminate()
            stage.wait(STOP_LIMIT_S)
        self._stages.clear()
        if self._log is not None:
            self._log.close()
