"""Sessions to each broker that the box is used with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from brokers import open_sessions
from hot_folder_rig import HotFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.mqtt import BrokerSession, Protocol


@pytest.fixture
def open_session() -> Iterator[Callable[..., BrokerSession]]:
    """Connect a session to a port of this machine; it is closed after the test."""
    with open_sessions() as connect:
        yield connect


@pytest.fixture(params=["3.1.1 embedded", "3.1.1 mosquitto", "5 mosquitto"])
def broker(request: pytest.FixtureRequest) -> tuple[int, Protocol]:
    """Port and protocol of each broker that the box is used with."""
    protocol, program = request.param.split()
    name = "embedded_broker_port" if program == "embedded" else "mosquitto_port"
    return request.getfixturevalue(name), protocol


@pytest.fixture
def hot(tmp_path: Path) -> Iterator[HotFolder]:
    """An empty folder that may be watched, moved away and deleted."""
    hot = HotFolder(tmp_path / "parent" / "hot")
    yield hot
    hot.close()
