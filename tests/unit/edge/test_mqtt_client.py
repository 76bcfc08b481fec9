"""What a connection to a broker is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from brokers import LIMIT_S, make_certificates

from edge.embedded_broker import HOST
from edge.mqtt import BrokerSession
from edge.mqtt_client import BrokerError, BrokerSettings, TlsFiles, tls_context
from edge.mqtt_connection import Connection
from edge.mqtt_queue import LiveQueue

if TYPE_CHECKING:
    from pathlib import Path

    from brokers import EmbeddedBroker


def test_broker_hears_of_subscriptions_first(
    embedded_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sees a session connected gets what is published from then on."""
    done: list[str] = []

    def noted(owner: type, method: str) -> None:
        does = getattr(owner, method)

        def does_and_notes(*given: Any) -> None:
            done.append(method)
            does(*given)

        monkeypatch.setattr(owner, method, does_and_notes)

    noted(Connection, "subscribe")
    noted(LiveQueue, "open")
    session = BrokerSession(BrokerSettings(HOST, embedded_broker.port, "3.1.1", "eager"))
    session.subscribe("line/#")
    session.connect(LIMIT_S)
    session.close()

    assert done == ["subscribe", "open"]


def test_tls_files_that_go_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that is being renewed is a reason that is named, whenever it is missed."""
    monkeypatch.setattr("edge.mqtt_client._check_readable", lambda _path: None)
    gone = tmp_path / "gone.pem"
    ca = make_certificates(tmp_path).ca

    with pytest.raises(BrokerError, match=f"TLS: {gone} cannot be read: No such file"):
        tls_context(TlsFiles(gone))
    with pytest.raises(BrokerError, match=f"certificate {gone} and key {gone} cannot be read: No"):
        tls_context(TlsFiles(ca, gone))
