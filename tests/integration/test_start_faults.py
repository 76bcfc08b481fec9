"""What is wrong at start is one clear line and exit code 1, without a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lines import free_port, write_config

from pipeline.config_file import load_config
from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Return a port that somebody else holds."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def run_line(config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=environment or None,
    )


def assert_clear(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Hold a failed start to one line that has the words, exit 1 and no traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("musc-edge: ")]
    matching = [line for line in lines if all(word in line for word in words)]
    assert len(matching) == 1, done.stderr


def test_broker_that_is_not_there(tmp_path: Path) -> None:
    """A line does without its broker: it says so once, inspects, and keeps what it has to tell."""
    port = free_port()
    config = write_config(tmp_path, None, mqtt={"embedded": False, "port": port})

    done = run_line(config)

    settings = load_config(config)
    db = open_for_reading(settings.ledger.path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"MQTT broker 127.0.0.1:{port} cannot be reached") == 1
    assert db.table("verdicts").count == 40
    assert db.table("outbox").count == 80
    db.close()


def test_embedded_broker_port_in_use(tmp_path: Path, taken_port: int) -> None:
    """The port of the embedded broker is named."""
    done = run_line(write_config(tmp_path, None, mqtt={"port": taken_port}))

    assert_clear(done, "embedded MQTT broker", str(taken_port))


def test_tcp_endpoint_in_use(tmp_path: Path, taken_port: int) -> None:
    """The endpoint is named."""
    endpoint = f"tcp://127.0.0.1:{taken_port}"

    done = run_line(write_config(tmp_path, None, transport={"notices": endpoint}))

    assert_clear(done, endpoint, "in use")


def test_ledger_that_cannot_be_written(tmp_path: Path) -> None:
    """The path of the ledger is named."""
    (tmp_path / "blocked").write_text("a file, not a folder")

    done = run_line(write_config(tmp_path, None, ledger={"path": "blocked/ledger.db"}))

    assert_clear(done, "blocked")


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    """The file looked for and the command that fetches it are named."""
    empty_cache = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    done = run_line(write_config(tmp_path, None), **empty_cache)

    assert_clear(done, "model.safetensors", "musc-edge weights fetch dinov2-vits14")


@pytest.mark.weights
def test_source_that_is_not_there(tmp_path: Path, weights_file: Path) -> None:
    """The folder is named."""
    camera = [{"id": "c1", "kind": "folder", "path": "gone"}]

    done = run_line(write_config(tmp_path, weights_file, camera=camera))

    assert_clear(done, str(tmp_path / "gone"))
