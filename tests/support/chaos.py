"""A real line under attack: kills, stops, a broker that dies, a clock that steps.

Everything is real but, where a test asks for it, the scorer: the supervisor
with its processes, mosquitto, and the reference PLC as the command that users
run. ``ChaosLine`` does the harm and notes how long the line took to be right
again; what must hold in the end is the tests' affair.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from lines import write_config
from staged_line import LIMIT_S, SUPPORT, StagedLine, environment

from edge.mqtt import BrokerSession, BrokerSettings, Incoming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brokers import FragileMosquitto

STAGES = ("scoring", "gate", "ingest c1")
VICTIMS = (*STAGES, "broker")
DEADLINE_MS = 400
BELT_MS = 900
ROOT_TOPIC = "musc/v1/site/area/line/station"


def write_belt(folder: Path) -> Path:
    """Write the parts of the belt: good ones, bright ones that fail, a frozen one, garbage."""
    images = folder / "belt"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(36):
        pixels = rng.integers(60, 90, (64, 64), np.uint8)
        if number % 9 == 4:
            pixels = pixels + np.uint8(160)
        if number % 12 in {7, 8}:
            pixels = np.full((64, 64), 80, np.uint8)
        cv2.imwrite(str(images / f"{number:02d}.png"), pixels)
    (images / "11a.png").write_text("no image")
    (images / "23a.png").write_bytes((images / "23.png").read_bytes()[:-400])
    return images


def chaos_config(folder: Path, port: int, weights: Path | None, **sections: Any) -> Path:
    """Write the config of a line at 20 frames a second."""
    camera = [{"id": "c1", "kind": "folder", "path": "belt", "loop": True, "interval_ms": 50}]
    alarms = [
        {"name": "scorer_down", "kind": "scorer_down"},
        {"name": "camera_lost", "kind": "camera_lost"},
        {"name": "rejects", "kind": "n_of_m", "count": 2, "of_parts": 40, "latch": False},
    ]
    values: dict[str, Any] = {
        "camera": camera,
        "part": {"deadline_ms": DEADLINE_MS},
        "transport": {"policy": "drop_oldest"},
        "mqtt": {"port": port, "protocol": "5", "embedded": False},
        "alarm": alarms,
    }
    return write_config(folder, weights, **(values | sections))


class Ears:
    """A subscriber that outlives its broker, with the moment of each message."""

    def __init__(self, port: int, protocol: str = "5") -> None:
        """Listen to everything below the station, for ever."""
        self.heard: list[tuple[int, str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        """The newest payload of each topic, as a new subscriber would get it."""
        settings = BrokerSettings("127.0.0.1", port, protocol, f"ears-{protocol}")  # type: ignore[arg-type]
        self._session = BrokerSession(settings, on_connect=lambda _session: self.retained.clear())
        self._session.on_message = self._take
        self._session.subscribe(f"{ROOT_TOPIC}/#")
        self._session.start()

    def of(self, topic: str) -> list[dict[str, Any]]:
        """Return the JSON messages of a topic."""
        return [json.loads(payload) for _, name, payload in self.heard if name == topic]

    def publish(self, topic: str, payload: bytes) -> None:
        """Say something, as the plant does."""
        self._session.publish(topic, payload, qos=1)

    def close(self) -> None:
        """Listen no more."""
        self._session.close()

    def _take(self, message: Incoming) -> None:
        name = message.topic.removeprefix(f"{ROOT_TOPIC}/")
        self.heard.append((time.monotonic_ns(), name, message.payload))
        self.retained[name] = message.payload


class Plc:
    """``musc-edge plc-sim`` as a process, its sensors fed from the belt's file."""

    def __init__(self, config: Path, sensor: Path) -> None:
        """Start it; each part reaches the reject gate BELT_MS after its entry."""
        self._sensor = sensor
        self._done = threading.Event()
        arguments = ["plc-sim", "--config", str(config), "--belt-ms", str(BELT_MS), "--json"]
        with config.with_name("plc.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._feeder = threading.Thread(target=self._feed)
        self._feeder.start()

    def finish(self) -> list[dict[str, Any]]:
        """Let the belt run empty; return the decisions, one a part."""
        self._done.set()
        self._feeder.join(LIMIT_S)
        output, _ = self._process.communicate(timeout=LIMIT_S)
        rows = [json.loads(line) for line in output.decode().splitlines()]
        return [row for row in rows if "part" in row]

    def kill(self) -> None:
        """End it, whatever happens."""
        self._done.set()
        self._process.kill()
        self._process.communicate()

    def _feed(self) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        with self._sensor.open() as sensor, suppress(BrokenPipeError):
            while True:
                last = self._done.is_set()
                for line in sensor:
                    pipe.write(json.dumps({"enter": line.strip()}).encode() + b"\n")
                pipe.flush()
                if last:
                    return
                self._done.wait(0.005)


class ChaosLine(StagedLine):
    """A line whose processes, broker and clock a test may harm."""

    def __init__(
        self, config: Path, mosquitto: FragileMosquitto, *, real_scorer: bool, seed: int = 0
    ) -> None:
        """Start the line, its clock right and its belt empty."""
        folder = config.parent
        self.mosquitto = mosquitto
        self.clock = folder / "clock"
        self.sensor = folder / "belt.txt"
        self.scored_log = folder / "scored.csv"
        self.clock.write_text("0")
        self.sensor.touch()
        self.recoveries: list[tuple[str, float]] = []
        """Victim, and how long retained status and alarms were wrong after it was back, s."""
        self._random = random.Random(seed)  # noqa: S311 - which process is killed is no secret
        modules = dict.fromkeys(("broker", "gate", "ingest"), "chaos_stage")
        super().__init__(config, modules | ({} if real_scorer else {"scoring": "stand_in_scorer"}))

    def is_right(self, ears: Ears) -> bool:
        """Tell whether the retained topics say what is so: READY, and the ledger's alarms."""
        alarms = {row["name"]: row["after"] for row in self.rows("alarms")}
        said = ears.retained
        status = json.loads(said.get("status", b"{}")).get("state")
        return (
            status == "READY"
            and said.get("camera/c1/status") == b"ONLINE"
            and all(said.get(f"alarm/{name}") == state.encode() for name, state in alarms.items())
        )

    def harm(self, ears: Ears, victim: str, *, kill: bool) -> None:
        """Kill or stop one process, wait until it is back, and measure until all is right."""
        if victim == "broker":
            self._harm_broker(kill=kill)
        else:
            self._harm_stage(victim, kill=kill)
        began = time.monotonic()
        self.until(lambda: self.is_right(ears), f"right status after {victim}")
        self.recoveries.append((victim, time.monotonic() - began))

    def attack(self, ears: Ears, frames: int, kills: int) -> None:
        """Do harm until so many frames are counted and so many processes were killed."""
        order = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
        self._random.shuffle(order)
        begin = self.counted()
        for number, victim in enumerate(order):
            self.harm(ears, victim, kill=True)
            if number % 5 == 2:
                self.harm(ears, self._random.choice(VICTIMS), kill=False)
            if number == kills // 2:
                self.clock.write_text("-3600")
            if number == 3 * kills // 4:
                self.clock.write_text("86400")
        self.until(lambda: self.counted() - begin >= frames, f"{frames} frames")

    def _harm_broker(self, *, kill: bool) -> None:
        if kill:
            self.mosquitto.kill()
            time.sleep(self._random.uniform(0.0, 0.5))
            self.mosquitto.start_again()
        else:
            self.mosquitto.pause()
            time.sleep(self._random.uniform(0.3, 2.0))
            self.mosquitto.resume()

    def _harm_stage(self, name: str, *, kill: bool) -> None:
        pid = self.pid_of(name)
        if pid is None:
            return
        if kill:
            os.kill(pid, signal.SIGKILL)
            self.until(lambda: self.pid_of(name) not in {None, pid}, f"another {name}")
            self.until(self.is_up, "the whole line")
        else:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._random.uniform(0.3, 3.5))
            os.kill(pid, signal.SIGCONT)


@contextmanager
def chaos_line(
    config: Path,
    mosquitto: FragileMosquitto,
    *,
    real_scorer: bool = False,
    nan_every: int = 7,
    delay_ms: int = 10,
) -> Iterator[ChaosLine]:
    """Run a line for an attack; whatever the test does, no process of it stays."""
    folder = config.parent
    variables = {
        "PYTHONPATH": str(SUPPORT),
        "CHAOS_CLOCK": str(folder / "clock"),
        "CHAOS_BELT": str(folder / "belt.txt"),
        "STAND_IN_LOG": str(folder / "scored.csv"),
        "STAND_IN_NAN_EVERY": str(nan_every),
        "STAND_IN_DELAY_MS": str(delay_ms),
    }
    with environment(variables):
        line = ChaosLine(config, mosquitto, real_scorer=real_scorer)
        try:
            yield line
        finally:
            line.stop()
