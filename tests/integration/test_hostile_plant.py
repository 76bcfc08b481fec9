"""A plant that is against us: refused logins, foreign certificates, commands that are none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from brokers import FragileMosquitto, login_lines, make_certificates
from chaos import ROOT_TOPIC, ChaosLine, Ears, chaos_config, chaos_line, write_belt

from edge.mqtt import BrokerSession, BrokerSettings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)


def mqtt(port: int, **more: Any) -> dict[str, Any]:
    """Return the config of a broker."""
    return {"port": port, "protocol": "5", "embedded": False, **more}


def goes_on(line: ChaosLine) -> None:
    """Wait for more results."""
    known = len(line.rows())
    line.until(lambda: len(line.rows()) > known + 20, "more results")


def test_wrong_password_is_said_once(tmp_path: Path, mosquitto: str) -> None:
    """A refused login is one line in the log; the line goes on, and tells all when it is let in."""
    broker = FragileMosquitto(
        mosquitto, tmp_path, *login_lines(tmp_path, box="right"), anonymous=False
    )
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    user = tmp_path / "user"
    user.write_text("box\n")
    write_belt(tmp_path)
    files = {"username_file": "user", "password_file": "password"}
    config = chaos_config(tmp_path, broker.port, None, mqtt=mqtt(broker.port, **files))
    with chaos_line(config, broker) as line:
        line.until(lambda: len(line.rows()) > 60, "results without a broker")
        warnings = [text for text in line.text().splitlines() if "WARNING" in text]
        broker.kill()
        broker.start_again(*login_lines(tmp_path, box="wrong"))
        first = min(row["id"] for row in line.rows("outbox"))
        line.until(
            lambda: min((r["id"] for r in line.rows("outbox")), default=10**9) > first,
            "the outbox being sent",
        )
        line.stop()
        assert line.audit()["balanced"]
    broker.kill()

    assert sum("ot authorized" in text for text in warnings) == 1
    assert "wrong\n" not in line.text()


def test_foreign_certificate_is_said_once(tmp_path: Path, mosquitto: str) -> None:
    """A broker that our CA has not signed gets nothing, not even the login."""
    certificates = make_certificates(tmp_path)
    broker = FragileMosquitto(mosquitto, tmp_path, *certificates.lines())
    write_belt(tmp_path)
    ca = {"tls": True, "ca_file": str(certificates.foreign_ca)}
    config = chaos_config(tmp_path, broker.port, None, mqtt=mqtt(broker.port, **ca))
    with chaos_line(config, broker) as line:
        line.until(lambda: len(line.rows()) > 60, "results without a broker")
        line.stop()
        assert line.audit()["balanced"]
    broker.kill()

    assert "certificate" in line.text()
    assert line.text().count("trying again") == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_commands_that_are_none(
    tmp_path: Path, fragile_mosquitto: FragileMosquitto, protocol: str
) -> None:
    """10 MB, malformed JSON and a flood are refused and noted a few times; the line goes on."""
    write_belt(tmp_path)
    config = chaos_config(
        tmp_path,
        fragile_mosquitto.port,
        None,
        mqtt=mqtt(fragile_mosquitto.port, protocol=protocol),
        part={"deadline_ms": 5_000},  # a busy host alone must make no frame late
    )
    ears = Ears(fragile_mosquitto.port, protocol)
    enemy = BrokerSession(BrokerSettings("127.0.0.1", fragile_mosquitto.port, "5", "enemy"))
    enemy.connect()
    with chaos_line(config, fragile_mosquitto) as line:
        line.until(lambda: line.is_right(ears), "a first READY")
        enemy.publish(f"{ROOT_TOPIC}/cmd/ack", b"x" * 10_000_000, qos=1)
        enemy.publish(f"{ROOT_TOPIC}/cmd/ack", b"{", qos=1)
        enemy.publish(f"{ROOT_TOPIC}/cmd/explode", b'{"txn":"t1","by":"eve"}', qos=1)
        line.until(lambda: any(a["txn"] == "t1" for a in ears.of("cmd/result")), "an answer")
        for _ in range(5_000):
            enemy.publish(f"{ROOT_TOPIC}/cmd/ack", b"{", qos=1)
        goes_on(line)
        line.until(lambda: line.is_right(ears), "READY after the flood")
        line.stop()
        assert line.audit()["balanced"]
        events = [json.loads(e["detail"]) for e in line.rows("events")]
    enemy.close()
    ears.close()

    codes = [event.get("code") for event in events]
    assert {"not_json", "unknown_verb"} <= set(codes)
    assert codes.count("not_json") < 30
    assert line.text().count("command refused") < 40
    assert not any(row["reason"] == "late" for row in line.rows()[-10:])
