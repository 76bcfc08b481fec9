"""Each way in which a broker can be wrong has its own check and remedy."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from doctor_rig import found, verdicts
from factories import config

from edge.endpoints import free_port
from pipeline.doctor_broker import broker_checks
from pipeline.line_lock import ledger_lock

if TYPE_CHECKING:
    from pathlib import Path

    from brokers import EmbeddedBroker

    from pipeline.config import Config
    from pipeline.doctor import Finding


LIMIT_S = 15.0


def line(folder: Path, **mqtt: Any) -> Config:
    """Return a line with this broker."""
    return config(
        mqtt=mqtt,
        ledger={"path": str(folder / "ledger.db")},
        line={"state_path": str(folder / "state")},
    )


def looked_at(settings: Config) -> dict[str, Finding]:
    """Return what was found, by check."""
    return {one.check: one for one in found(broker_checks(settings))}


def test_secret_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set fails, and nothing is connected to."""
    monkeypatch.delenv("NO_SUCH_USER", raising=False)

    findings = looked_at(line(tmp_path, username_env="NO_SUCH_USER"))

    assert findings["broker.secrets"].verdict == "fail"
    assert "NO_SUCH_USER" in findings["broker.secrets"].detail
    assert verdicts(findings.values())["broker.reach"] == "skipped"


def test_broker_that_is_not_there(tmp_path: Path) -> None:
    """A port that nobody listens on fails, and all that builds upon it is skipped."""
    port = free_port()

    findings = looked_at(line(tmp_path, port=port))

    assert findings["broker.reach"].verdict == "fail"
    assert f"127.0.0.1:{port}" in findings["broker.reach"].remedy
    assert {one.verdict for one in list(findings.values())[2:]} == {"skipped"}


def test_name_that_cannot_be_resolved(tmp_path: Path) -> None:
    """A host that does not exist fails as out of reach."""
    finding = looked_at(line(tmp_path, host="nowhere.invalid"))["broker.reach"]

    assert finding.verdict == "fail"
    assert "mqtt.host" in finding.remedy


def test_embedded_broker_is_the_lines_own(tmp_path: Path) -> None:
    """A broker that the line starts itself is not asked for before it runs."""
    findings = looked_at(line(tmp_path, embedded=True, port=free_port()))

    assert verdicts(findings.values()) == {"broker.secrets": "ok", "broker.reach": "skipped"}


def test_embedded_broker_of_a_running_line(tmp_path: Path, embedded_broker: EmbeddedBroker) -> None:
    """While the gate runs its broker is held to an answer, and the rights are not asked for."""
    settings = line(tmp_path, embedded=True, port=embedded_broker.port)

    with ledger_lock(settings.ledger.path):
        findings = looked_at(settings)

    assert [one.check for one in findings.values() if one.verdict == "fail"] == []
    assert findings["broker.login"].verdict == "ok"
    assert findings["broker.plc"].verdict == "skipped"
    assert "the gate" in findings["broker.plc"].detail


def test_old_broker_does_not_tell(tmp_path: Path, embedded_broker: EmbeddedBroker) -> None:
    """A broker of 3.1.1 alone has no word for rights, so they are skipped, not praised."""
    findings = looked_at(line(tmp_path, protocol="3.1.1", port=embedded_broker.port))

    assert findings["broker.login"].verdict == "ok"
    assert findings["broker.plc"].verdict == "skipped"
    assert findings["broker.topics"].verdict == "skipped"


def test_protocol_that_the_broker_does_not_speak(
    tmp_path: Path, embedded_broker: EmbeddedBroker
) -> None:
    """MQTT 5 to a broker of 3.1.1 fails as that, with the other version as the remedy."""
    findings = looked_at(line(tmp_path, protocol="5", port=embedded_broker.port))

    failed = [one for one in findings.values() if one.verdict == "fail"]
    assert [one.check for one in failed] == ["broker.protocol"]
    assert 'mqtt.protocol = "3.1.1"' in failed[0].remedy


@pytest.mark.parametrize("answer", [b"\x50\x03\x00\x01\x87", b"\xe0\x01\x87", b""])
def test_broker_that_forbids_plc(tmp_path: Path, answer: bytes) -> None:
    """A broker says no with its answer, with a goodbye, or by hanging up: each is a refusal."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server, answer))
        thread.start()
        port = server.getsockname()[1]

        findings = looked_at(line(tmp_path, port=port))

    thread.join(LIMIT_S)
    assert findings["broker.login"].verdict == "ok"
    assert findings["broker.plc"].verdict == "fail"
    assert "topic write musc/v1/site/area/line/station/plc" in findings["broker.plc"].remedy


def serve(server: socket.socket, answer: bytes) -> None:
    """Let everybody in, and answer each message so; end with the last of the checks."""
    for _ in ("broker.reach", "broker.login", "broker.plc", "broker.topics"):
        client, _ = server.accept()
        with client:
            if client.recv(4096):
                client.sendall(b"\x20\x03\x00\x00\x00")
            if client.recv(4096) not in {b"", b"\xe0\x00"}:
                client.sendall(answer)


def test_port_without_encryption(tmp_path: Path, embedded_broker: EmbeddedBroker) -> None:
    """TLS to a port that does not speak it fails as that."""
    findings = looked_at(line(tmp_path, tls=True, port=embedded_broker.port))

    assert findings["broker.reach"].verdict == "ok"
    assert findings["broker.tls"].verdict == "fail"
    assert "mqtt.tls = false" in findings["broker.tls"].remedy


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_login_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Without encryption to another host there is a warning, not a fault."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        real = socket.create_connection
        here = server.getsockname()
        monkeypatch.setattr(socket, "create_connection", lambda *_: real(here, 0.1))

        finding = looked_at(line(tmp_path, host=host, port=here[1]))["broker.tls"]

    assert finding.verdict == "warn"
    assert "mqtt.tls = true" in finding.remedy
