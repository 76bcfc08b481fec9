"""A real broker as a stage of a bench: mosquitto on a loopback port, until it is told to stop.

It runs as ``python -m pipeline.bench_mosquitto broker --config CONFIG --supervised``; the
port is the line's, and everybody on this host is let in. Nothing is kept on disk.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import LineError
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 10.0
STOP_LIMIT_S = 3.0
POLL_S = 0.05


class MosquittoError(LineError):
    """The broker is not installed or does not start; the message says which."""


def find_mosquitto() -> str | None:
    """Return the path of the program, None where it is not installed."""
    # Debian puts it where only root looks.
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def run_mosquitto(port: int, folder: Path, *, supervised: bool) -> None:
    """Run the broker until this process is told to stop.

    Raises:
        MosquittoError: It is not installed, or does not listen within START_LIMIT_S.
    """
    program = find_mosquitto()
    if program is None:
        msg = "mosquitto is not installed; on Debian: apt install mosquitto"
        raise MosquittoError(msg)
    stop = stage_stop_flag(supervised=supervised)
    settings = folder / "mosquitto.conf"
    # Started by root, mosquitto would become a user who cannot read the folder.
    user = getpass.getuser()
    settings.write_text(
        f"listener {port} {LOOPBACK}\npersistence false\nallow_anonymous true\nuser {user}\n",
        encoding="utf-8",
    )
    with subprocess.Popen([program, "-c", str(settings)], stdout=sys.stderr) as broker:
        try:
            _wait_for(port, broker)
            announce_ready(supervised=supervised)
            while not stop.is_set() and broker.poll() is None:
                time.sleep(POLL_S)
        finally:
            broker.terminate()
            try:
                broker.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                broker.kill()


def _wait_for(port: int, broker: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and broker.poll() is None:
        try:
            with socket.create_connection((LOOPBACK, port), POLL_S):
                return
        except OSError:
            time.sleep(POLL_S)
    msg = f"mosquitto does not listen on port {port} of {LOOPBACK}"
    raise MosquittoError(msg)


def main(arguments: Sequence[str]) -> None:
    """Run the broker of a line."""
    path = Path(arguments[arguments.index("--config") + 1])
    port = load_config(path).mqtt.port
    try:
        run_mosquitto(port, path.parent, supervised="--supervised" in arguments)
    except MosquittoError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
