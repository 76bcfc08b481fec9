"""Real lines for integration tests: the command as a user starts it, and a listener."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tomli_w

from edge.endpoints import free_port
from edge.mqtt import BrokerError, BrokerSession, BrokerSettings
from pipeline.config_file import load_config
from pipeline.ledger import LedgerError, open_for_reading
from pipeline.queries import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.mqtt import Incoming
    from pipeline.queries import AuditLine

LIMIT_S = 90.0
"""A scorer needs seconds to import torch, more on a busy machine."""


def write_config(folder: Path, weights: Path | None, **sections: Any) -> Path:
    """Write a small fast line: 16 patches, window of 12, generous deadline."""
    base: dict[str, Any] = {
        "camera": [{"id": "c1", "kind": "synthetic", "seed": 3, "frames": 40}],
        "part": {"deadline_ms": 60_000},
        "transport": {"policy": "wait"},
        "window": {"size_frames": 12, "min_peers": 8},
        "musc": {"image_size_px": 56, "offline": True},
        "judge": {"min_scores": 8, "rejects_per_1000": 100},
        "mqtt": {"port": free_port(), "protocol": "3.1.1", "embedded": True},
    }
    if weights is not None:
        base["musc"]["weights"] = str(weights)
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values} if isinstance(values, dict) else values
    path = folder / "config.toml"
    path.write_text(tomli_w.dumps(base))
    return path


class RunningLine:
    """``musc-edge run`` in a process of its own."""

    def __init__(self, config: Path, *options: str) -> None:
        """Start the line; its log goes to a file beside the config."""
        self._attach(config)
        command = [sys.executable, "-m", "pipeline", "run", "--config", str(config), *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def _attach(self, config: Path) -> None:
        self.config = config
        self.settings = load_config(config)
        self.log = config.with_name("line.log")

    def wait(self) -> int:
        """Wait for the end of the line; return its exit code."""
        return self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """Send SIGTERM and wait."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def pids(self, stage: str) -> list[int]:
        """Return the process ids that a stage has had so far."""
        return [int(p) for p in re.findall(rf"{stage} started, pid (\d+)", self.text())]

    def text(self) -> str:
        """Return the log so far."""
        return self.log.read_text(errors="replace")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: The line ended or the limit passed before; with its log.
        """
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, f"the line ended before {what}:\n{self.text()}"
            assert time.monotonic() < end, f"no {what} within {LIMIT_S} s:\n{self.text()}"
            time.sleep(0.02)

    def results(self) -> Counter[str]:
        """Return how many rows there are by verdict or reason, open ones as 'None'."""
        return Counter(
            str(row["reason"] if row["verdict"] == "NO_RESULT" else row["verdict"])
            for row in self.rows()
        )

    def rows(self, table: str = "verdicts") -> list[dict[str, Any]]:
        """Return all rows of a table of the ledger; none before the gate has made it."""
        try:
            db = open_for_reading(self.settings.ledger.path)
        except LedgerError:
            return []
        rows = list(db.table(table).rows)
        db.close()
        return rows

    def audit(self) -> AuditLine:
        """Return the account of the first camera."""
        counters = {c.id: self.settings.counter_path(c.id) for c in self.settings.camera}
        return audit(self.settings.ledger.path, counters, self.settings.part.deadline_ms)[0]


@contextmanager
def running(config: Path, *options: str) -> Iterator[RunningLine]:
    """Run a line; whatever the test does, no process of it stays."""
    line = RunningLine(config, *options)
    try:
        yield line
    finally:
        if line.process.poll() is None:
            line.stop()
        for stage in ("broker", "gate", "scoring", "ingest c1"):
            for pid in line.pids(stage):
                _kill(pid)


class Listener:
    """A subscriber to everything below a prefix."""

    def __init__(self, port: int, protocol: str = "3.1.1") -> None:
        """Prepare; ``connect`` may have to wait for the broker."""
        self.messages: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        settings = BrokerSettings("127.0.0.1", port, protocol, f"listener-{port}")  # type: ignore[arg-type]
        self._session = BrokerSession(settings, limit_bytes=10_000_000)
        self._session.on_message = self._take

    def connect(self) -> None:
        """Connect as soon as the broker is there, and subscribe to everything."""
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                self._session.connect()
                break
            except BrokerError:
                assert time.monotonic() < end, "no broker"
                time.sleep(0.02)
        self._session.subscribe("#")

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def payloads(self, name: str) -> list[bytes]:
        """Return the payloads whose topic has ``name`` as its sixth level below the prefix."""
        with self._lock:
            return [payload for topic, payload in self.messages if topic.split("/")[6] == name]

    def _take(self, message: Incoming) -> None:
        with self._lock:
            self.messages.append((message.topic, message.payload))


def _kill(pid: int) -> None:
    """Kill a stage that outlived its supervisor; a pid that is gone is what we want."""
    command = f"/proc/{pid}/cmdline"
    try:
        with open(command, "rb") as file:  # noqa: PTH123 - procfs
            ours = b"pipeline" in file.read()
        if ours:
            os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
