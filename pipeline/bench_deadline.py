"""How punctual the gate is: a line without a scorer, whose every frame ends at its deadline.

Broker, gate and ingest run as the real processes of a real line, and this one
listens as any subscriber would. Each frame must get exactly one NO_RESULT, in
the ledger and on the broker, and none before its deadline; one that was so late
that it went to history counts when it came there. How long after the deadline
the result arrives is compared with a control timer: what the host itself is
late by is not the gate's.

The commits are part of the time: the folder's disk should be that of a ledger.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tomli_w

from edge.contract import Topics
from edge.counter import read_count
from edge.endpoints import free_port
from edge.errors import LineError
from edge.mqtt import BrokerSession, BrokerSettings, Incoming
from pipeline.bar_view import BarView
from pipeline.bench_punctuality import Heard, Punctuality, find_faults, measure
from pipeline.bench_timer import ControlTimer
from pipeline.config_file import load_config
from pipeline.ledger import open_for_reading
from pipeline.supervisor import StageError, Supervisor, line_commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from pipeline.config import Config

CAMERA = "c1"
LOOPBACK = "127.0.0.1"
QUEUE_LIMIT_FRAMES = 1024
"""The most that ``transport.queue_frames`` allows."""
QUEUE_SPARE_FRAMES = 16
CONNECT_LIMIT_S = 10.0
LOG_LINES = 5
PLAIN_EVERY_S = 5.0
"""Without a terminal: a line every so many seconds."""
REFRESH_S = 1.0
"""On a terminal. Drawing holds the interpreter lock, which delays the subscriber."""
INTERRUPTED = 130
"""As a shell says of a command that Ctrl-C ended."""


class BenchError(LineError):
    """The bench cannot be run, or a frame has not exactly one result in time."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Keep the exit code: 2 says that the arguments are wrong."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class DeadlineBench:
    """What is measured."""

    frames: int
    fps: int
    """Frames a second that the camera is asked for, 1 to 1000."""
    deadline_ms: int

    @property
    def interval_ms(self) -> int:
        """Least time between two captures."""
        return max(1, round(1000 / self.fps))

    @property
    def queue_frames(self) -> int:
        """Frames that wait at the camera: none may be dropped before its deadline.

        Raises:
            BenchError: More than a camera's queue may hold.
        """
        open_frames = math.ceil(self.deadline_ms / self.interval_ms)
        if open_frames + QUEUE_SPARE_FRAMES > QUEUE_LIMIT_FRAMES:
            msg = (
                f"--deadline-ms {self.deadline_ms} at --fps {self.fps}: {open_frames} frames would "
                f"be open at once, the limit is {QUEUE_LIMIT_FRAMES - QUEUE_SPARE_FRAMES}"
            )
            raise BenchError(msg, exit_code=2)
        return min(2 * open_frames + QUEUE_SPARE_FRAMES, QUEUE_LIMIT_FRAMES)


class Subscriber:
    """Stamps what arrives on ``verdict`` and ``plc``; as a PLC does, with QoS 0.

    A result that is too late for them is on ``history`` and ``history/part``.
    """

    def __init__(self, config: Config, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Prepare for the broker of a line, which need not be there yet."""
        line, mqtt = config.line, config.mqtt
        self._topics = Topics(mqtt.prefix, line.site, line.area, line.line, line.station)
        self._clock_ns = clock_ns
        self._verdicts: list[tuple[int, bytes]] = []
        self._parts: list[tuple[int, bytes]] = []
        self._late_parts: list[tuple[int, bytes]] = []
        self._taken_in = threading.Event()
        self._takers: dict[str, Callable[[tuple[int, bytes]], None]] = {
            self._topics.under("verdict"): self._verdicts.append,
            self._topics.under("plc"): self._parts.append,
            self._topics.under("history"): self._verdicts.append,
            self._topics.under("history/part"): self._late_parts.append,
            self._topics.under("bench"): lambda _message: self._taken_in.set(),
        }
        settings = BrokerSettings(mqtt.host, mqtt.port, mqtt.protocol, "bench-deadline")
        self._session = BrokerSession(settings)
        self._session.on_message = self._take

    @property
    def count(self) -> int:
        """Frame results so far."""
        return len(self._verdicts)

    @property
    def listens(self) -> bool:
        """Tell whether the broker has the subscriptions."""
        return self._taken_in.is_set()

    def connect(self, limit_s: float = CONNECT_LIMIT_S) -> None:
        """Connect, and wait until the broker has the subscriptions.

        Raises:
            BrokerError: The broker does not answer.
            BenchError: It does not deliver.
        """
        self._session.connect(limit_s)
        for topic in self._takers:
            self._session.subscribe(topic)
        # It takes subscriptions in order, and retained messages do not come too early for one.
        self._session.publish(self._topics.under("bench"), b"1", qos=1, retain=True)
        if not self._taken_in.wait(limit_s):
            msg = f"the broker delivered nothing within {limit_s:.0f} s"
            raise BenchError(msg)

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def heard(self) -> Heard:
        """Return what has come, read only now: parsing would delay the next stamp."""
        verdicts: dict[int, list[int]] = defaultdict(list)
        parts: dict[str, list[int]] = defaultdict(list)
        for came_ns, payload in self._verdicts:
            verdicts[json.loads(payload)["seq"]].append(came_ns)
        for came_ns, payload in self._parts:
            parts[payload.decode("ascii").split(";")[2]].append(came_ns)
        on_time = set(parts)
        for came_ns, payload in self._late_parts:
            # The gate may have had its line in time, and the message of the part was too late.
            if (part := json.loads(payload)["part"]) not in on_time:
                parts[part].append(came_ns)
        return Heard(verdicts, parts)

    def _take(self, message: Incoming) -> None:
        came_ns = self._clock_ns()
        self._takers[message.topic]((came_ns, message.payload))


class ProgressView(BarView):
    """Shows how many results have come: a bar on a terminal, a plain line otherwise."""

    def __init__(
        self, console: Console, frames: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare for a number of frames."""
        super().__init__(console, auto_refresh=False)
        self._frames = frames
        self._clock = clock
        self._every_s = REFRESH_S if console.is_terminal else PLAIN_EVERY_S
        self._next_s = clock() + self._every_s
        self._task = self._bar.add_task("results", total=frames)

    def show(self, count: int) -> None:
        """Show a count, where it is time to."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + self._every_s
        self._bar.update(self._task, completed=count, refresh=True)
        if not self._console.is_terminal:
            self._console.print(f"{count} of {self._frames} results", highlight=False)


def write_config(bench: DeadlineBench, folder: Path, port: int) -> Path:
    """Write the config of the line into an empty folder; return its path.

    Raises:
        BenchError: More frames would be open at once than a camera's queue holds.
    """
    camera = {"id": CAMERA, "kind": "synthetic", "frames": bench.frames}
    camera["interval_ms"] = bench.interval_ms
    config = {
        "camera": [camera],
        "part": {"deadline_ms": bench.deadline_ms},
        "transport": {"policy": "drop_oldest", "queue_frames": bench.queue_frames},
        "mqtt": {"port": port, "protocol": "3.1.1", "embedded": True},
        "ledger": {"synchronous": "FULL"},
    }
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(config), encoding="utf-8")
    return path


def run_deadline_bench(
    console: Console, bench: DeadlineBench, folder: Path, stop: Callable[[], bool]
) -> Punctuality:
    """Run the line in an empty folder until its camera has ended, and measure it.

    Raises:
        BenchError: The line failed, was stopped, or a frame has not exactly one
            NO_RESULT after its deadline; the message says which.
    """
    config_path = write_config(bench, folder, free_port())
    config = load_config(config_path)
    subscriber = Subscriber(config)
    with ControlTimer() as timer:
        try:
            _run_line(console, bench, config_path, subscriber, stop)
        finally:
            subscriber.close()
        record = timer.stop()
    if stop():
        msg = f"interrupted after {subscriber.count} of {bench.frames} results"
        raise BenchError(msg, exit_code=INTERRUPTED)
    db = open_for_reading(config.ledger.path)
    rows = list(db.table("verdicts").rows)
    db.close()
    heard = subscriber.heard()
    faults = find_faults(bench.frames, read_count(config.counter_path(CAMERA)), rows, heard)
    if faults:
        raise BenchError("; ".join(faults))
    return measure(bench.deadline_ms, rows, heard, record)


def _run_line(
    console: Console,
    bench: DeadlineBench,
    config_path: Path,
    subscriber: Subscriber,
    stop: Callable[[], bool],
) -> None:
    """Run broker, gate and ingest until the camera has ended.

    Raises:
        BenchError: A stage failed at start; with the last lines of the log.
    """
    commands = line_commands(load_config(config_path), config_path)
    log_path = config_path.with_name("line.log")
    with log_path.open("wb") as log, ProgressView(console, bench.frames) as view:
        supervisor = Supervisor([c for c in commands if c.kind != "scoring"], log)
        broker = supervisor.stages[0]

        def tick() -> None:
            # At once: the supervisor starts no other stage before this returns.
            if broker.ready and not subscriber.listens:
                subscriber.connect()
            view.show(subscriber.count)

        try:
            supervisor.run(stop, tick)
        except StageError as error:
            last = "\n".join(log_path.read_text(errors="replace").splitlines()[-LOG_LINES:])
            msg = f"{error}\n{last}"
            raise BenchError(msg) from error
