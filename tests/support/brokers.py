"""Real MQTT brokers for tests: each on a free loopback port, each stopped by its owner."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from edge.embedded_broker import HOST, serve

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 10.0
RETRY_S = 0.02


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class EmbeddedBroker:
    """The box's own broker in a thread; it can be stopped and started again."""

    def __init__(self, port: int) -> None:
        """Prepare a broker; nothing listens yet."""
        self.port = port
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        """Listen; when this returns clients can connect."""
        ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=serve, args=(self.port, ready.set, self._stop.is_set), name="embedded-broker"
        )
        self._thread.start()
        if not ready.wait(LIMIT_S):
            msg = f"the embedded broker did not start on port {self.port}"
            raise TimeoutError(msg)

    def stop(self) -> None:
        """Stop listening and drop all clients; a stopped broker stays stopped."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LIMIT_S)
            self._thread = None


def start_mosquitto(program: str, folder: Path, *more: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start mosquitto on a free port with these lines of config; return it and the port.

    Raises:
        TimeoutError: It does not listen; the message holds what it said.
    """
    port = free_port()
    config = folder / "mosquitto.conf"
    config.write_text("\n".join((f"listener {port} {HOST}", "persistence false", *more, "")))
    log = folder / "mosquitto.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        if _listens(port):
            return process, port
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(RETRY_S)
    process.kill()
    process.wait()
    msg = f"mosquitto does not listen on port {port}: {log.read_text()}"
    raise TimeoutError(msg)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
